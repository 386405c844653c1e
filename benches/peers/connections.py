"""What a client costs a proxy in memory: growth of its resident size by thousands of clients.

Resident memory of all processes of the proxy is read with a few clients of the same kind and again with all of them,
each time when it has settled. Buffers of the kernel are not included, and neither is what a proxy sets aside for
clients when it starts.
"""

import select
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from edge import H2, H2C, PLAIN, TLS, Edge, connect
from http2 import Client, Closed, request_fields
from load import read_head, read_response, received
from proxies import HERE, Failed, Process, allow_files, free_ports
from workloads import FEW_FIELDS

# They stay during both readings: code and tables which the first clients need are not counted.
FIRST = 64
TIMEOUT_SECONDS = 60
# Every proxy closes clients which do nothing for a minute.
IDLE_SECONDS = 45
# Of a client that does not read: as on Ethernet, so that the kernel takes little of the answer.
SEGMENT = 1400
WINDOW = 32768
# How many begin at a time: fewer than a listener's backlog. HAProxy holds the beginning of an answer back for 200 ms.
BATCH = 50
# A masked text frame `ok`.
FRAME = b"\x81\x82\x00\x00\x00\x00ok"


@dataclass(frozen=True)
class Kind:
    """A kind of client: what it asks for, and how far it goes until it does nothing more."""

    name: str
    title: str
    path: str
    # What the client does after it has sent its request.
    go_on: Callable = lambda _: None
    fields: str = ""
    reads: bool = True
    # How many begin at the same time.
    batch: int = BATCH
    edge: Edge = PLAIN
    # Idle clients share a few connections to the backend; of all others each has one of its own.
    idle: bool = False

    def open(self, port, count, origin, clients):
        """Adds so many new clients, each of which is where it is to stay."""
        while count > 0:
            new = [self.begin(port) for _ in range(min(count, self.batch))]
            clients += new
            for client in new:
                self.go_on(client)
            if not self.idle:
                wait_for_connections(origin, len(clients))
            count -= len(new)

    def begin(self, port):
        """A client which has sent its request."""
        if self.edge.http2:
            client = Client(port, self.edge)
            client.send(request_fields("GET", self.path, f"127.0.0.1:{port}", self.edge.scheme, FEW_FIELDS))
            return client
        if self.reads:
            client = connect(port, self.edge, TIMEOUT_SECONDS)
        else:
            client = socket.socket()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
            client.settimeout(TIMEOUT_SECONDS)
            client.connect(("127.0.0.1", port))
        few = "".join(f"{name}: {value}\r\n" for name, value in FEW_FIELDS.items())
        client.sendall(f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{few}{self.fields}\r\n".encode())
        return client


def begin_answer(client):
    _, data = read_head(client)
    if not data:
        received(client)


def begin_websocket(client):
    head, _ = read_head(client)
    if b" 101 " not in head.split(b"\r\n", 1)[0]:
        raise Failed(f"not a 101: {head.decode(errors='replace')}")
    client.sendall(FRAME)
    received(client)


UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
KINDS = {
    one.name: one
    for one in (
        Kind("idle", "idle keep-alive client", "/", read_response, batch=1, idle=True),
        Kind("waiting", "client that waits for its answer", "/wait"),
        Kind("active", "client in the middle of its answer", "/half", begin_answer),
        Kind("unread", "client that never reads its 10 MB", "/large", reads=False),
        Kind("websocket", "idle WebSocket", "/websocket", begin_websocket, UPGRADE),
        Kind("idle_tls", "idle keep-alive client, TLS", "/", read_response, batch=1, edge=TLS, idle=True),
        Kind("idle_h2c", "idle HTTP/2 client, h2c", "/", Client.finish, batch=1, edge=H2C, idle=True),
        Kind("idle_h2", "idle HTTP/2 client, TLS", "/", Client.finish, batch=1, edge=H2, idle=True),
    )
}


def bytes_per_client(proxy, kind, count, directory):
    """Growth of the proxy's memory by `count` clients of a kind, for each of them."""
    allow_files((1 if kind.idle else 2) * (count + FIRST) + 200)
    directory = Path(tempfile.mkdtemp(dir=directory))
    directory.chmod(0o755)
    origin_port, port = free_ports(2)
    origin = Process([sys.executable, str(HERE / "origin.py"), str(origin_port)], directory / "origin.out")
    clients = []
    with origin:
        origin.wait_for(origin_port)
        command = proxy.command(directory, port, [origin_port], 1, clients=count + FIRST + 100, edge=kind.edge)
        with Process(command, directory / "proxy.out") as process:
            process.wait_for(port)
            try:
                return growth(process, kind, port, count, origin, clients) / count
            except (Failed, Closed, OSError) as failure:
                raise Failed(f"{proxy.name}, {kind.title}: {failure}\n{process.tail()}") from None
            finally:
                for client in clients:
                    client.close()


def growth(process, kind, port, count, origin, clients):
    """In bytes. Fills `clients`, which the caller closes."""
    started = time.monotonic()
    kind.open(port, FIRST, origin, clients)
    before = process.settled_memory(IDLE_SECONDS)
    kind.open(port, count, origin, clients)
    after = process.settled_memory(IDLE_SECONDS)
    gone = closed(clients)
    if gone:
        seconds = time.monotonic() - started
        raise Failed(f"{gone} of {len(clients)} clients of the kind `{kind.name}` were closed within {seconds:.0f} s")
    return (after - before) * 1024


def wait_for_connections(origin, count):
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while origin.open_files() < count:
        if time.monotonic() > deadline:
            raise Failed(f"the backend has {origin.open_files()} connections, not {count}")
        time.sleep(0.005)


def closed(clients):
    """How many clients the proxy has closed."""
    poll = select.poll()
    for client in clients:
        poll.register(client, select.POLLRDHUP)
    return len(poll.poll(0))
