"""A client which sends small requests at a steady rate and notes how long each takes."""

import statistics
import time

from edge import PLAIN, connect
from load import read_response

# From start to start, whatever the last one took.
PERIOD_SECONDS = 0.005
# One request of so many is on a connection of its own.
NEW_EVERY = 10
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: weir-bench/1\r\n\r\n"


class Probe:
    """Its times in milliseconds, of requests on one connection and of those with a connection of their own.

    They count from when the request was due: one that waits behind a slow one has waited too.
    """

    def __init__(self, port, edge=PLAIN):
        self.port = port
        self.edge = edge
        self.kept, self.new, self.failures = [], [], []

    def run(self, seconds):
        """Sends requests for so long."""
        start = time.monotonic()
        connection = connect(self.port, self.edge)
        for number in range(int(seconds / PERIOD_SECONDS)):
            due = start + number * PERIOD_SECONDS
            time.sleep(max(0, due - time.monotonic()))
            try:
                if number % NEW_EVERY:
                    self.exchange(connection)
                else:
                    with connect(self.port, self.edge) as new:
                        self.exchange(new)
            except Exception as failure:  # whatever it is, a client was not served
                self.failures.append(repr(failure))
                connection.close()
                connection = connect(self.port, self.edge)
            (self.kept if number % NEW_EVERY else self.new).append((time.monotonic() - due) * 1000)
        connection.close()
        return self

    @staticmethod
    def exchange(connection):
        connection.sendall(REQUEST)
        read_response(connection)

    def report(self):
        kept, new = (statistics.quantiles(times, n=100) for times in (self.kept, self.new))
        return {
            "p50_ms": kept[49], "p99_ms": kept[98], "new_p50_ms": new[49], "new_p99_ms": new[98],
            "requests": len(self.kept) + len(self.new), "failures": len(self.failures),
        }
