# A TaskOverflow replica. Build it from the root of the repository:
#
#   docker build -f examples/deploy/taskoverflow.Dockerfile -t taskoverflow .
#
# The arguments are those of the Dockerfile there. RUNTIME_BASE needs a C library: the binary resolves the
# names of database servers with it.

ARG BUILD_BASE=rust:1-slim-bookworm
ARG RUNTIME_BASE=debian:bookworm-slim
ARG BINARY=build

FROM ${BUILD_BASE} AS build
WORKDIR /src
COPY . .
RUN cargo build --locked --release --package taskoverflow \
 && install -D target/release/taskoverflow /rootfs/usr/local/bin/taskoverflow

FROM ${BINARY} AS binary

FROM ${RUNTIME_BASE}
COPY --from=binary /rootfs/ /
# A new volume mounted here takes over the owner.
RUN install -d -o 65532 -g 65532 /data
USER 65532:65532
STOPSIGNAL SIGTERM
EXPOSE 6400
VOLUME /data
ENTRYPOINT ["/usr/local/bin/taskoverflow"]
CMD ["--listen", "0.0.0.0", "--database", "/data/todos.db"]
