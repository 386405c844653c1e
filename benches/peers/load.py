"""Load: wrk for times, and a client that sends an exact number of requests for counts."""

import re
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass

from proxies import Failed, need
from workloads import CONNECTIONS, SMALL_GET

UNITS = {"us": 1e-3, "ms": 1.0, "s": 1000.0, "m": 60000.0}
BUFFER = 1 << 18


@dataclass
class Throughput:
    """The result of one run of wrk."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float


def wrk(port, seconds, connections, threads=1, cpus=None, workload=SMALL_GET):
    """Runs wrk; any failed request fails the run, because its times would mean nothing."""
    command = [need("wrk"), "--latency", f"-t{threads}", f"-c{connections}", f"-d{seconds}s"]
    if cpus:
        command = ["taskset", "-c", ",".join(map(str, sorted(cpus))), *command]
    for name, value in workload.all_fields().items():
        command += ["-H", f"{name}: {value}"]
    with script(workload) as arguments:
        command += [*arguments, f"http://127.0.0.1:{port}{workload.path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    report = done.stdout + done.stderr
    if done.returncode or "Socket errors" in report or "Non-2xx" in report:
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
                self.sockets.append(connect(port))
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
                self.sockets = [connect(self.port) for _ in self.sockets]
            for one in self.sockets:
                one.sendall(self.request)
            for one in self.sockets:
                self.read(one)

    def read(self, one):
        read_response(one)
        if not self.workload.keep_alive and one.recv(1):
            raise Failed("bytes after the only response of a connection")


def connect(port, timeout=60):
    one = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one


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
