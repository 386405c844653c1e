# Weir in an image of one static binary.
#
#   docker build -t weir .
#   docker run --read-only -v ./my-weir:/etc/weir:ro -p 8080:8080 weir
#
# BUILD_BASE needs cargo, a linker and the static archive of the C library. RUNTIME_BASE needs nothing,
# because the binary is linked statically. Name other images where these cannot be pulled:
#
#   docker build --build-arg BUILD_BASE=my/rust --build-arg RUNTIME_BASE=my/base -t weir .
#
# Where a build cannot reach the crate registry, put the crates into the build context:
#
#   cargo vendor --locked >> .cargo/config.toml
#
# FEATURES are features of the crate: `engines` by default, so that the image scales on Docker, Swarm,
# Kubernetes and ECS, and without the offline commands (`tools`). An empty value leaves the engines out as well:
#
#   docker build --build-arg FEATURES= -t weir .
#
# BINARY names an image with /rootfs/usr/local/bin/weir, which is packed instead of building one here.
# BuildKit then skips the build stage.

ARG BUILD_BASE=rust:1-slim-bookworm
ARG RUNTIME_BASE=scratch
ARG BINARY=build

FROM ${BUILD_BASE} AS build
WORKDIR /src
COPY . .
ARG FEATURES=engines
# For `weir --version`, because the build context has no git repository: $(git rev-parse HEAD).
ARG WEIR_COMMIT=
# Symbols are an eighth of the binary. Without them a panic still names its file and line.
ENV CARGO_PROFILE_RELEASE_STRIP=symbols
# Packed relocations save a megabyte of the file; a static binary brings the code that reads them. Where Rust
# links with LLD, functions that are equal are folded into one, which saves half a megabyte.
# With --target the flags do not apply to build scripts and procedural macros, which cannot be static.
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
 && case "$target" in x86_64-unknown-linux-gnu) folded="-C link-arg=-Wl,--icf=all" ;; *) folded= ;; esac \
 && RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs $folded" \
    cargo build --locked --release --package weir --bin weir --no-default-features --features "$FEATURES" --target "$target" \
 && install -D "target/$target/release/weir" /rootfs/usr/local/bin/weir \
 && install -d /rootfs/etc/weir
# Certificate authorities, to verify AWS and API servers. A base without the file builds an image without it.
RUN certificates=/etc/ssl/certs/ca-certificates.crt \
 && if [ -e "$certificates" ]; then install -D -m 644 "$certificates" "/rootfs$certificates"; fi

FROM ${BINARY} AS binary

FROM ${RUNTIME_BASE}
LABEL org.opencontainers.image.title="weir" \
      org.opencontainers.image.description="A load balancer for HTTP and TCP: one binary, one TOML file" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=binary /rootfs/ /
# A number, because there is no /etc/passwd. In a container this user may bind ports below 1024.
USER 65532:65532
STOPSIGNAL SIGTERM
EXPOSE 8080
# Needs the admin listener, which the configuration has to turn on.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/usr/local/bin/weir", "health"]
ENTRYPOINT ["/usr/local/bin/weir"]
# Reads /etc/weir/weir.toml, or the file which WEIR_CONFIG names.
CMD ["run"]
