"""Load: wrk for times, and a client that sends an exact number of requests for counts."""

import re
import socket
import subprocess
from dataclasses import dataclass

from proxies import Failed, need

PATH = "/api/v1/todos"
HEADERS = {"User-Agent": "weir-bench/1", "Accept": "*/*"}
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1000.0, "m": 60000.0}


@dataclass
class Throughput:
    """The result of one run of wrk."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float


def wrk(port, seconds, connections, threads=1, cpus=None):
    """Runs wrk; any failed request fails the run, because its times would mean nothing."""
    command = [need("wrk"), "--latency", f"-t{threads}", f"-c{connections}", f"-d{seconds}s"]
    if cpus:
        command = ["taskset", "-c", ",".join(map(str, sorted(cpus))), *command]
    for name, value in HEADERS.items():
        command += ["-H", f"{name}: {value}"]
    command.append(f"http://127.0.0.1:{port}{PATH}")
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


def latency(report, percent):
    value, unit = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)$", report, re.MULTILINE).groups()
    return float(value) * UNITS[unit]


class ExactClient:
    """Keep-alive connections in lock step: all send, then all read, an exact number of times.

    The same requests in the same order make the counts of callgrind repeatable.
    """

    def __init__(self, port, connections=16):
        self.sockets = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(connections)]
        for one in self.sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fields = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        self.request = f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{fields}\r\n".encode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in self.sockets:
            one.close()

    def send(self, count):
        """Sends `count` requests, a multiple of the connections, and reads their responses."""
        for _ in range(count // len(self.sockets)):
            for one in self.sockets:
                one.sendall(self.request)
            for one in self.sockets:
                self.read(one)

    @staticmethod
    def read(one):
        data = b""
        while b"\r\n\r\n" not in data:
            data += received(one)
        head, _, body = data.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise Failed(f"not a 200: {head.decode(errors='replace')}")
        length = int(re.search(rb"(?i)\r\ncontent-length:\s*(\d+)", head).group(1))
        while len(body) < length:
            body += received(one)


def received(one):
    data = one.recv(65536)
    if not data:
        raise Failed("the proxy closed a connection in the middle of a response")
    return data
