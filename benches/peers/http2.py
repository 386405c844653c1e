"""HTTP/2 as far as a client needs it that sends the same requests again and again: frames, fields, windows."""

import struct

from edge import PLAIN, connect

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Types of frames (RFC 9113 section 6).
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
HEAD = 9
# Settings.
INITIAL_WINDOW = 4
MOST_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65535
# What of the static table (RFC 7541 appendix A) requests here need.
STATIC = {
    (":method", "GET"): 2, (":method", "POST"): 3, (":path", "/"): 4, (":scheme", "http"): 6, (":scheme", "https"): 7,
}
STATIC_SIZE = 61
# `:status: 200`, the first field of a good answer.
STATUS_200 = 0x80 | 8
BUFFER = 1 << 18


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def settings(values=()):
    """A SETTINGS frame of (identifier, value) pairs."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in values))


def window_update(stream, bytes_more):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", bytes_more))


def reset(stream, code=8):
    """By default of CANCEL."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def integer(value, bits, pattern):
    """An integer with a prefix of so many bits (RFC 7541 section 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([pattern | value])
    value -= most
    out = [pattern | most]
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    return bytes([*out, value])


def literal(name, value, indexed=False):
    """A field with a name of its own, which enters the dynamic table if `indexed`."""
    texts = b"".join(integer(len(text), 7, 0) + text.encode() for text in (name, value))
    return (b"\x40" if indexed else b"\x00") + texts


class Encoder:
    """Writes each field as a literal once, and as a reference to it from then on, as clients do."""

    def __init__(self):
        self.sent = []

    def encode(self, fields):
        return b"".join(self.one(*pair) for pair in fields)

    def one(self, name, value):
        if (name, value) in STATIC:
            return integer(STATIC[name, value], 7, 0x80)
        if (name, value) in self.sent:
            return integer(STATIC_SIZE + len(self.sent) - self.sent.index((name, value)), 7, 0x80)
        self.sent.append((name, value))
        return literal(name, value, indexed=True)


def request_fields(method, path, authority, scheme="http", fields=()):
    """All fields of a request, its pseudo-header first."""
    pseudo = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
    return pseudo + [(name.lower(), value) for name, value in dict(fields).items()]


class Closed(Exception):
    """The proxy has closed a connection, or a stream, before its answer was complete."""


class Client:
    """A connection which sends requests without a body or with a small one, and reads their answers to the end."""

    def __init__(self, port, edge=PLAIN, window=DEFAULT_WINDOW):
        self.socket = connect(port, edge)
        self.encoder = Encoder()
        self.data = bytearray()
        self.stream = -1
        self.socket.sendall(PREFACE + settings([(INITIAL_WINDOW, window)]))

    def fileno(self):
        return self.socket.fileno()

    def close(self):
        self.socket.close()

    def send(self, fields, body=b"", count=1):
        """Sends the request so many times, on a stream each."""
        out = []
        for _ in range(count):
            self.stream += 2
            flags = END_HEADERS if body else END_HEADERS | END_STREAM
            out.append(frame(HEADERS, flags, self.stream, self.encoder.encode(fields)))
            if body:
                out.append(frame(DATA, END_STREAM, self.stream, body))
        self.socket.sendall(b"".join(out))

    def finish(self, count=1):
        """Reads until so many answers are complete, each with status 200."""
        replies = bytearray()
        while count > 0:
            for kind, flags, _, payload in self.frames():
                count -= self.ended(kind, flags, payload)
                replies += self.reply(kind, flags, payload)
        if replies:
            self.socket.sendall(replies)

    def ended(self, kind, flags, payload):
        """Whether the frame is the last of its answer."""
        if kind in (GOAWAY, RST_STREAM):
            raise Closed(f"frame of type {kind}: {payload.hex()}")
        # Every answer here has a body, so only its trailers, which have no status, end it without one.
        if kind == HEADERS and (payload[0] == STATUS_200) == bool(flags & END_STREAM):
            raise Closed(f"not an answer with status 200: {payload.hex()}")
        return kind in (HEADERS, DATA) and bool(flags & END_STREAM)

    def reply(self, kind, flags, payload):
        """What the proxy has to be told after such a frame."""
        if kind == SETTINGS and not flags & ACK:
            return frame(SETTINGS, ACK, 0)
        if kind == PING and not flags & ACK:
            return frame(PING, ACK, 0, payload)
        # Of the connection only: no answer here is longer than the window of its stream.
        return window_update(0, len(payload)) if kind == DATA and payload else b""

    def frames(self):
        """The frames that are complete after one read: type, flags, stream and payload."""
        more = self.socket.recv(BUFFER)
        if not more:
            raise Closed("the proxy closed a connection")
        self.data += more
        complete, at = [], 0
        while len(self.data) - at >= HEAD:
            end = at + HEAD + int.from_bytes(self.data[at : at + 3], "big")
            if len(self.data) < end:
                break
            kind, flags, stream = struct.unpack(">BBI", self.data[at + 3 : at + HEAD])
            complete.append((kind, flags, stream, bytes(self.data[at + HEAD : end])))
            at = end
        del self.data[:at]
        return complete
