"""What clients speak to a proxy: TLS or not, HTTP/1.1 or HTTP/2; and the client's side of TLS."""

import socket
import ssl
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Edge:
    """What a client speaks to a proxy; the proxy speaks HTTP/1.1 to its backends, or gRPC as its client does."""

    tls: bool = False
    http2: bool = False
    grpc: bool = False

    @property
    def scheme(self):
        return "https" if self.tls else "http"


PLAIN = Edge()
TLS = Edge(tls=True)
H2C = Edge(http2=True)
H2 = Edge(tls=True, http2=True)
GRPC = Edge(http2=True, grpc=True)
GRPC_TLS = Edge(tls=True, http2=True, grpc=True)
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@cache
def context(http2=False, version=None):
    """Of clients, which trust any certificate: it is the run's own."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.set_alpn_protocols(["h2" if http2 else "http/1.1"])
    if version:
        made.minimum_version = made.maximum_version = VERSIONS[version]
    return made


def connect(port, edge=PLAIN, timeout=60):
    """A connection to a proxy, with its handshake made."""
    one = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return secure(one, edge)


def secure(one, edge):
    """The connection with its handshake made, if the edge has one."""
    if not edge.tls:
        return one
    return context(edge.http2).wrap_socket(one, server_hostname="localhost")
