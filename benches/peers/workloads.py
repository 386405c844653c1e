"""The exchanges that are measured: what a client sends, and which answer it gets.

Each workload has its own number of requests for callgrind. The number is fixed, because the work at the start
of a connection is spread over it: counts are comparable only between runs with the same number.
"""

import struct
from dataclasses import dataclass, field

from edge import GRPC, GRPC_TLS, H2, H2C, PLAIN, TLS, Edge

CONNECTIONS = 16
KIB = 1024
# What the backends serve besides the small answer: name and size.
FILES = {"64k": 64 * KIB, "1m": KIB * KIB}
SMALL = "/api/v1/todos"
GRPC_CALL = "/todo.v1.Todos/List"
# Its length goes before a message, after a byte which says whether it is compressed.
GRPC_MESSAGE = struct.pack(">BI", 0, 61) + b"\x0a\x3b" + b"x" * 59
GRPC_FIELDS = {"TE": "trailers", "Content-Type": "application/grpc", "User-Agent": "weir-bench/1"}
FEW_FIELDS = {"User-Agent": "weir-bench/1", "Accept": "*/*"}
# As Chrome sends them on Linux; 13 with Host.
BROWSER_FIELDS = {
    "Cache-Control": "max-age=0",
    "sec-ch-ua": '"Chromium";v="140", "Not=A?Brand";v="24", "Google Chrome";v="140"',
    "Upgrade-Insecure-Requests": "1",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Referer": "https://todo.example.com/lists/groceries?sort=due&page=2",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.8",
    "Cookie": "session=4f1c2b7a9d3e48c6b05d7e1f2a3b4c5d; theme=dark; _ga=GA1.1.1234567890.1700000000",
}


@dataclass(frozen=True)
class Handshake:
    """A handshake of TLS which is no longer than that: the client ends the session at once."""

    version: str
    resumed: bool = False


@dataclass(frozen=True)
class Workload:
    """One kind of exchange."""

    name: str
    title: str
    # Of the shorter run under callgrind; the other one has twice as many. A multiple of CONNECTIONS.
    requests: int
    path: str = SMALL
    fields: dict = field(default_factory=lambda: FEW_FIELDS)
    body: bytes = b""
    # Whether a connection carries more than one request.
    keep_alive: bool = True
    edge: Edge = PLAIN
    # Of HTTP/2: how many requests each connection has at a time, and how many connections there are.
    streams: int = 1
    connections: int = 0
    # What is measured in place of requests.
    handshake: Handshake | None = None

    @property
    def method(self):
        return "POST" if self.body else "GET"

    def all_fields(self):
        """The fields besides Host and Content-Length."""
        return self.fields if self.keep_alive else {**self.fields, "Connection": "close"}

    def message(self, host):
        """The bytes of a request."""
        fields = {"Host": host, **self.all_fields()}
        if self.body:
            fields["Content-Length"] = str(len(self.body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{self.method} {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + self.body


def http2(name, edge, streams, connections):
    over = "HTTP/2" if edge.tls else "h2c"
    title = f"small GET, {over}, {streams} streams"
    return Workload(name, title, 4000, edge=edge, streams=streams, connections=connections)


def grpc(name, edge, title):
    values = {"path": GRPC_CALL, "fields": GRPC_FIELDS, "body": GRPC_MESSAGE, "streams": 10, "connections": 8}
    return Workload(name, title, 4000, edge=edge, **values)


def handshake(name, version, resumed=False):
    title = f"{'resumed' if resumed else 'full'} handshake, TLS {version}"
    return Workload(name, title, 400, edge=TLS, handshake=Handshake(version, resumed))


SMALL_GET = Workload("small_get", "small GET", 8000)
WORKLOADS = {
    one.name: one
    for one in (
        SMALL_GET,
        Workload("browser_head", "browser-like head, 13 fields", 4000, fields=BROWSER_FIELDS),
        Workload("answer_64k", "64 KiB answer", 800, path="/files/64k"),
        Workload("answer_1m", "1 MiB answer", 96, path="/files/1m"),
        Workload("post_10k", "10 KiB POST", 1600, body=b"x" * (10 * KIB)),
        Workload("no_keep_alive", "a connection per request", 1600, keep_alive=False),
        Workload("tls_small_get", "small GET, TLS 1.3", 4000, edge=TLS),
        http2("h2_10", H2, 10, 8),
        http2("h2_100", H2, 100, 2),
        http2("h2c_10", H2C, 10, 8),
        http2("h2c_100", H2C, 100, 2),
        grpc("grpc", GRPC, "gRPC call, h2c"),
        grpc("grpc_tls", GRPC_TLS, "gRPC call, TLS"),
        handshake("full_13", "1.3"),
        handshake("resumed_13", "1.3", resumed=True),
        handshake("full_12", "1.2"),
        handshake("resumed_12", "1.2", resumed=True),
    )
}
