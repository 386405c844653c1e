"""A backend whose answers last as long as the client stays: `origin.py PORT`.

    /websocket  upgrades, and answers whatever comes with a text frame
    /wait       never answers
    /half       sends the first half of an answer and no more
    /large      sends 10 MB, as fast as they are taken; /large/N sends N bytes
    /sink       takes the body of a request, and answers then
    others      a small answer
"""

import asyncio
import base64
import hashlib
import re
import signal
import sys

LARGE = 10_000_000
PIECE = b"x" * 65536
# More than nginx holds back of an answer.
HALF = b"x" * 16384
SMALL = b'{"todos":[{"id":1,"title":"build a weir","completed":false}]}'
FRAME = b"\x81\x02ok"
# RFC 6455 section 1.3.
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def main():
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    await ended.wait()


async def serve(reader, writer):
    try:
        while True:
            await answer(await reader.readuntil(b"\r\n\r\n"), reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def answer(head, reader, writer):
    """Answers one request; returns when the connection may carry the next one."""
    path = head.split(b" ", 2)[1]
    if path == b"/websocket":
        await upgrade(head, reader, writer)
    elif path == b"/wait":
        await reader.read()
    elif path == b"/half":
        writer.write(head_of(2 * len(HALF)) + HALF)
        await reader.read()
    elif path.startswith(b"/large"):
        await send_large(writer, int(path.removeprefix(b"/large").strip(b"/") or LARGE))
    elif path == b"/sink":
        await take_body(head, reader)
        writer.write(head_of(len(SMALL)) + SMALL)
    else:
        writer.write(head_of(len(SMALL)) + SMALL)
    if reader.at_eof():
        raise ConnectionResetError


async def upgrade(head, reader, writer):
    key = re.search(rb"(?i)\r\nsec-websocket-key: *(\S+)", head).group(1)
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    while await reader.read(4096):
        writer.write(FRAME)


async def send_large(writer, length):
    writer.write(head_of(length))
    for start in range(0, length, len(PIECE)):
        writer.write(PIECE[: length - start])
        await writer.drain()


async def take_body(head, reader):
    left = int(re.search(rb"(?i)\r\ncontent-length: *(\d+)", head).group(1))
    while left > 0:
        left -= len(await reader.read(len(PIECE)))


def head_of(length):
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % length


if __name__ == "__main__":
    asyncio.run(main())
