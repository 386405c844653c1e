"""Handshakes of TLS, one after another: `handshakes.py PORT 1.2|1.3 full|resumed SECONDS`.

Each begins on a connection of its own and ends with `close_notify` of both sides, so the proxy has finished it too.
Resumed ones all take up one session, which a request has got before. Prints how many milliseconds each took.
"""

import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from edge import TLS, connect, context
from proxies import Failed

THREADS = 4


class Handshakes:
    """A client which makes an exact number of them."""

    def __init__(self, port, version, resumed):
        self.port = port
        self.context = context(version=version)
        self.session = self.new_session() if resumed else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def new_session(self):
        """TLS 1.3 gives it after the handshake, so an answer has to be read."""
        with self.wrapped(None) as one:
            one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while one.recv(4096):
                pass
            return one.session

    def wrapped(self, session):
        return self.context.wrap_socket(connect(self.port), server_hostname="localhost", session=session)

    def send(self, count):
        for _ in range(count):
            self.make()

    def make(self):
        with self.wrapped(self.session) as one:
            if one.session_reused != bool(self.session):
                raise Failed(f"session_reused is {one.session_reused}")
            try:
                one.unwrap().close()
            except (ssl.SSLError, OSError):
                # The proxy may close without `close_notify`, or send something else before it.
                pass

    def make_until(self, deadline):
        """The milliseconds of each."""
        took = []
        while (began := time.monotonic()) < deadline:
            self.make()
            took.append((time.monotonic() - began) * 1000)
        return took


def main():
    port, version, kind, seconds = sys.argv[1:]
    client = Handshakes(int(port), version, kind == "resumed")
    deadline = time.monotonic() + float(seconds)
    with ThreadPoolExecutor(THREADS) as threads:
        runs = [threads.submit(client.make_until, deadline) for _ in range(THREADS)]
    print("\n".join(f"{one:.3f}" for run in runs for one in run.result()))


if __name__ == "__main__":
    main()
