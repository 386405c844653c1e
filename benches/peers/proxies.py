"""The processes of a run: backends, proxies, and how each is started and ended.

Everything listens on loopback, on ports that were free a moment ago, keeps its files in one
temporary folder, and is ended by its pid.
"""

import os
import re
import resource
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edge import PLAIN
from workloads import FILES, GRPC_MESSAGE

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# How long a daemon may take to accept connections; under valgrind a start takes seconds.
START_SECONDS = 60
STOP_SECONDS = 15
# What the peers are configured for, if a run does not need more.
CLIENTS = 4096


class Failed(Exception):
    """Ends the run with a message instead of a stack trace."""


def free_ports(count):
    """Free ports, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def fill(template, target, **values):
    """Writes a template of this folder to `target`."""
    text = string.Template((HERE / "templates" / template).read_text())
    target.write_text(text.substitute({name: str(value) for name, value in values.items()}))
    return target


def need(program, package=None):
    """The path of a program; as root, installs its Debian package when it is missing."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path:
        return path
    package = package or program
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-q"], stdout=sys.stderr, check=False)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", package]
        subprocess.run(command, stdout=sys.stderr, env=environment, check=False)
        path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if not path:
        raise Failed(f"{program} is missing; install it with: apt-get install {package}")
    return path


def allow_files(count):
    """Raises the limit on open files to at least `count`; processes started later inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise Failed(f"only {hard} files may be open, {count} are needed: ulimit -Hn {count}, or fewer clients")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class Process:
    """A child process and its children, ended by pid at the end of the `with` block."""

    def __init__(self, command, log, cpus=None):
        self.log = log
        with open(log, "ab") as output:
            pin = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
            self.child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=pin
            )
        self.pid = self.child.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_for(self, port):
        """Returns when the port accepts connections."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                raise Failed(f"{self.child.args[0]} ended at once:\n{self.tail()}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise Failed(f"{self.child.args[0]} does not listen on port {port}:\n{self.tail()}")

    def tail(self):
        return "\n".join(Path(self.log).read_text(errors="replace").splitlines()[-15:])

    def pids(self):
        """This process and its children (the workers of nginx)."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def cpu_ticks(self):
        """User and system time so far of all threads of all processes, in clock ticks."""
        user = system = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            user += int(fields[11])
            system += int(fields[12])
        return user, system

    def memory(self, field="VmHWM"):
        """Resident memory in KiB: `VmHWM` is the peak, `VmRSS` the present value."""
        status = (Path(f"/proc/{pid}/status").read_text() for pid in self.pids())
        return sum(int(re.search(rf"{field}:\s+(\d+)", text).group(1)) for text in status)

    def settled_memory(self, seconds):
        """Resident memory in KiB once two readings agree: idle threads return memory about every second."""
        deadline = time.monotonic() + seconds
        last = None
        while time.monotonic() < deadline:
            now = self.memory("VmRSS")
            if last is not None and abs(now - last) <= 64:
                return now
            last = now
            time.sleep(1.5)
        raise Failed("the memory does not settle")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def stop(self):
        """SIGTERM, then SIGKILL; returns the exit status."""
        # Twice: nginx without a master does not notice one which arrives just before it waits for events.
        for seconds in (STOP_SECONDS / 3, STOP_SECONDS):
            if self.child.poll() is None:
                self.child.send_signal(signal.SIGTERM)
                try:
                    self.child.wait(seconds)
                except subprocess.TimeoutExpired:
                    continue
        self.child.kill()
        return self.child.wait()


class Backends(Process):
    """Four ports, each answering a small response, and the files of the workloads below /files/.

    Four more speak gRPC in HTTP/2 without TLS, and answer every call with the same message.
    """

    def __init__(self, directory, cpus=None):
        ports = free_ports(8)
        self.ports, self.grpc_ports = ports[:4], ports[4:]
        values = {
            "listens": "\n".join(f"        listen 127.0.0.1:{port};" for port in self.ports),
            "grpc_listens": "\n".join(f"        listen 127.0.0.1:{port} http2;" for port in self.grpc_ports),
        }
        files = directory / "root" / "files"
        files.mkdir(parents=True, exist_ok=True)
        for name, size in FILES.items():
            (files / name).write_bytes(b"x" * size)
        (files / "grpc").write_bytes(GRPC_MESSAGE)
        config = fill("backends.conf", directory / "backends.conf", directory=directory, **values)
        command = [need("nginx"), "-p", str(directory), "-c", str(config), "-e", f"{directory}/backends.log"]
        super().__init__(command, directory / "backends.out", cpus)

    def ports_for(self, edge):
        return self.grpc_ports if edge.grpc else self.ports


class Weir:
    """Weir, built with `cargo build --release`."""

    name = "weir"
    template = "weir.toml"

    def __init__(self, binary):
        self.binary = str(binary)
        if not os.access(self.binary, os.X_OK):
            raise Failed(f"{self.binary} is missing; build it with: cargo build --release --bin weir")

    def version(self):
        return first_line([self.binary, "--version"])

    def config(self, directory, port, backends, workers, clients=CLIENTS, edge=PLAIN):
        values = {
            "servers": ", ".join(f'"127.0.0.1:{one}"' for one in backends),
            "protocol": "grpc" if edge.grpc else "http1",
            "tls": weir_tls(directory) if edge.tls else "",
            "connections": max(clients, 1024),
        }
        return fill(self.template, directory / f"weir-{port}.toml", port=port, workers=workers, **values)

    def command(self, directory, port, backends, workers, alone=False, clients=CLIENTS, edge=PLAIN):
        return [self.binary, "run", "--config", str(self.config(directory, port, backends, workers, clients, edge))]

    def serves(self, edge):
        """Whether it can be measured at such an edge."""
        return True

    def refusal(self):
        """Why `weir check` refuses the configuration, or None if it does not."""
        with tempfile.TemporaryDirectory(prefix="weir-check-") as directory:
            config = self.config(Path(directory), 8080, [8081], 1)
            command = [self.binary, "check", str(config)]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode == 0:
            return None
        return first_of(done.stdout)


class WeirTcp(Weir):
    """Weir as an L4 proxy."""

    name = "weir-tcp"
    template = "weir-tcp.toml"

    def serves(self, edge):
        return edge == PLAIN


class Nginx:
    """nginx from Debian."""

    name = "nginx"

    def __init__(self):
        self.binary = need("nginx")

    def version(self):
        return first_line([self.binary, "-v"])

    def serves(self, edge):
        return True

    def command(self, directory, port, backends, workers, alone=False, clients=CLIENTS, edge=PLAIN):
        """`alone` keeps all work in the process that was started, where callgrind counts it."""
        own = directory / f"nginx-{port}"
        own.mkdir()
        values = {
            "servers": "\n".join(f"        server 127.0.0.1:{one};" for one in backends),
            "master": "off" if alone else "on",
            # Those to the backends count too, and nginx closes idle ones before it uses the last sixteenth.
            "connections": 3 * clients,
            "listen": " ssl" * edge.tls + " http2" * edge.http2,
            "tls": nginx_tls(directory) if edge.tls else "",
        }
        config = fill("nginx.conf", own / "nginx.conf", directory=own, port=port, workers=workers, **values)
        return [self.binary, "-p", str(own), "-c", str(config), "-e", f"{own}/nginx.log"]


class Haproxy:
    """HAProxy from Debian."""

    name = "haproxy"
    template = "haproxy.cfg"

    def __init__(self):
        self.binary = need("haproxy")

    def version(self):
        return first_line([self.binary, "-v"])

    def serves(self, edge):
        return True

    def command(self, directory, port, backends, workers, alone=False, clients=CLIENTS, edge=PLAIN):
        protocol = " proto h2" * edge.grpc
        values = {
            "servers": "\n".join(f"    server b{i} 127.0.0.1:{one}{protocol}" for i, one in enumerate(backends)),
            "connections": clients,
            "scheme": edge.scheme,
            "bind": haproxy_bind(directory, edge),
        }
        config = fill(self.template, directory / f"{self.name}-{port}.cfg", port=port, workers=workers, **values)
        return [self.binary, "-db", "-f", str(config)]


class HaproxyTcp(Haproxy):
    """HAProxy as an L4 proxy."""

    name = "haproxy-tcp"
    template = "haproxy-tcp.cfg"

    def serves(self, edge):
        return edge == PLAIN


def certify(directory):
    """Makes a certificate for localhost with a key on P-256 in this folder, unless it is there already.

    Returns the paths of the certificate, of its key, and of both in one file as HAProxy wants them.
    """
    certificate, key, both = (directory / f"edge.{end}" for end in ("crt", "key", "pem"))
    if not both.exists():
        command = [need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        both.write_bytes(certificate.read_bytes() + key.read_bytes())
    return certificate, key, both


def weir_tls(directory):
    certificate, key, _ = certify(directory)
    return f'tls             = {{ certificates = [{{ cert = "{certificate}", key = "{key}" }}] }}'


def nginx_tls(directory):
    certificate, key, _ = certify(directory)
    lines = ("ssl_protocols TLSv1.2 TLSv1.3", f"ssl_certificate {certificate}", f"ssl_certificate_key {key}")
    return "\n".join(f"        {line};" for line in lines)


def haproxy_bind(directory, edge):
    """What a `bind` says besides its address."""
    if not edge.tls:
        return " proto h2" * edge.http2
    return f" ssl crt {certify(directory)[2]} alpn {'h2,' * edge.http2}http/1.1"


def first_line(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return first_of(done.stdout)


def first_of(text):
    return text.splitlines()[0] if text else "unknown"
