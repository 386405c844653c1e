"""Load: wrk, h2load and handshakes for times, and clients that send an exact number of requests for counts."""

import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass

from edge import connect
from handshakes import Handshakes
from http2 import Client, request_fields
from proxies import HERE, Failed, need
from workloads import CONNECTIONS, SMALL_GET

UNITS = {"us": 1e-3, "ms": 1.0, "s": 1000.0, "m": 60000.0}
BUFFER = 1 << 18


@dataclass
class Throughput:
    """The result of one run."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float


def load(port, seconds, connections, cpus, workload):
    """Loads a proxy with a workload for so long."""
    if workload.handshake:
        return handshakes(port, seconds, cpus, workload)
    if workload.edge.http2:
        return h2load(port, seconds, cpus, workload)
    return wrk(port, seconds, connections, cpus=cpus, workload=workload)


def pinned(command, cpus):
    """The command, on these processors only."""
    return ["taskset", "-c", ",".join(map(str, sorted(cpus))), *command] if cpus else command


def finished(command, seconds):
    """What a program wrote that runs for so long, and whether it succeeded."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    return done.stdout + done.stderr, done.returncode == 0


def wrk(port, seconds, connections, threads=1, cpus=None, workload=SMALL_GET):
    """Runs wrk; any failed request fails the run, because its times would mean nothing."""
    command = pinned([need("wrk"), "--latency", f"-t{threads}", f"-c{connections}", f"-d{seconds}s"], cpus)
    for name, value in workload.all_fields().items():
        command += ["-H", f"{name}: {value}"]
    with script(workload) as arguments:
        command += [*arguments, f"{workload.edge.scheme}://127.0.0.1:{port}{workload.path}"]
        report, succeeded = finished(command, seconds)
    if not succeeded or "Socket errors" in report or "Non-2xx" in report:
        raise Failed(f"wrk saw failures:\n{report}")
    return Throughput(
        requests=int(re.search(r"(\d+) requests in", report).group(1)),
        per_second=float(re.search(r"Requests/sec:\s+([\d.]+)", report).group(1)),
        p50_ms=latency(report, 50),
        p99_ms=latency(report, 99),
    )


@contextmanager
def script(workload):
    """The arguments which make wrk send the body of a workload."""
    if not workload.body:
        yield []
        return
    with tempfile.NamedTemporaryFile("w", prefix="weir-wrk-", suffix=".lua") as file:
        file.write(f'wrk.method = "{workload.method}"\nwrk.body = "{workload.body.decode("ascii")}"\n')
        file.flush()
        yield ["-s", file.name]


def latency(report, percent):
    value, unit = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)$", report, re.MULTILINE).groups()
    return float(value) * UNITS[unit]


def h2load(port, seconds, cpus, workload):
    """Runs h2load; any failed request fails the run."""
    with tempfile.TemporaryDirectory(prefix="weir-h2load-") as directory:
        log, body = f"{directory}/log", f"{directory}/body"
        command = pinned([need("h2load", "nghttp2-client"), f"-c{workload.connections}", f"-m{workload.streams}"], cpus)
        command += ["-D", str(seconds), f"--log-file={log}"]
        for name, value in workload.all_fields().items():
            command += ["-H", f"{name.lower()}: {value}"]
        if workload.body:
            with open(body, "wb") as file:
                file.write(workload.body)
            command += ["-d", body]
        report, succeeded = finished([*command, f"{workload.edge.scheme}://127.0.0.1:{port}{workload.path}"], seconds)
        counts = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", report)
        if not succeeded or not counts or counts[1] != counts[2] or counts[1] == "0":
            raise Failed(f"h2load saw failures:\n{report}")
        with open(log, encoding="ascii") as file:
            rows = [line.split("\t") for line in file]
    if any(status != "200" for _, status, _ in rows):
        raise Failed(f"h2load saw other answers than 200:\n{report}")
    return throughput([int(microseconds) / 1000 for *_, microseconds in rows], int(counts[1]), seconds)


def handshakes(port, seconds, cpus, workload):
    """Makes handshakes in a process of its own."""
    kind = "resumed" if workload.handshake.resumed else "full"
    command = [sys.executable, str(HERE / "handshakes.py"), str(port), workload.handshake.version, kind, str(seconds)]
    report, succeeded = finished(pinned(command, cpus), seconds)
    if not succeeded:
        raise Failed(f"handshakes failed:\n{report}")
    took = [float(line) for line in report.split()]
    return throughput(took, len(took), seconds)


def throughput(milliseconds, requests, seconds):
    """Of the times that requests took."""
    cuts = statistics.quantiles(milliseconds, n=100)
    return Throughput(requests, requests / seconds, cuts[49], cuts[98])


def exact_client(port, workload):
    """A client whose `send` makes an exact number of requests."""
    if workload.handshake:
        return Handshakes(port, workload.handshake.version, workload.handshake.resumed)
    return ExactHttp2Client(port, workload) if workload.edge.http2 else ExactClient(port, workload)


class ExactHttp2Client:
    """The same in HTTP/2: each turn every connection sends as many requests as it has streams."""

    def __init__(self, port, workload):
        self.workload = workload
        self.fields = request_fields(
            workload.method, workload.path, f"127.0.0.1:{port}", workload.edge.scheme, workload.all_fields()
        )
        self.clients = [Client(port, workload.edge) for _ in range(workload.connections)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.close()

    def send(self, count):
        """Sends `count` requests, a multiple of all streams, and reads their answers."""
        for _ in range(count // (len(self.clients) * self.workload.streams)):
            for client in self.clients:
                client.send(self.fields, self.workload.body, self.workload.streams)
            for client in self.clients:
                client.finish(self.workload.streams)


class ExactClient:
    """Connections in lock step: all send, then all read, an exact number of times.

    The same requests in the same order make the counts of callgrind repeatable.
    """

    def __init__(self, port, workload=SMALL_GET, connections=CONNECTIONS):
        self.port = port
        self.workload = workload
        self.request = workload.message(f"127.0.0.1:{port}")
        self.sockets = []
        try:
            for _ in range(connections):
                self.sockets.append(connect(port, workload.edge))
        except OSError:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for one in self.sockets:
            one.close()

    def send(self, count):
        """Sends `count` requests, a multiple of the connections, and reads their responses."""
        for turn in range(count // len(self.sockets)):
            if turn and not self.workload.keep_alive:
                self.close()
                self.sockets = [connect(self.port, self.workload.edge) for _ in self.sockets]
            for one in self.sockets:
                one.sendall(self.request)
            for one in self.sockets:
                self.read(one)

    def read(self, one):
        read_response(one)
        if not self.workload.keep_alive and one.recv(1):
            raise Failed("bytes after the only response of a connection")


def read_response(one):
    """Reads a response with a length to its end."""
    head, data = read_head(one)
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise Failed(f"not a 200: {head.decode(errors='replace')}")
    rest = int(re.search(rb"(?i)\r\ncontent-length:\s*(\d+)", head).group(1)) - len(data)
    while rest > 0:
        rest -= len(received(one))


def read_head(one):
    """The head of a response, and what has come of its body with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(one)
    head, _, data = data.partition(b"\r\n\r\n")
    return head, data


def received(one):
    data = one.recv(BUFFER)
    if not data:
        raise Failed("the proxy closed a connection in the middle of a response")
    return data
