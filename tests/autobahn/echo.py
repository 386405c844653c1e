"""A WebSocket server that sends every message back; prints its port once it listens."""

import asyncio
import logging

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory


async def echo(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except ConnectionClosed:
        pass  # some cases close without a Close frame


async def main():
    # A third of the cases compress a thousand messages each; the lowest level is the fastest.
    deflate = ServerPerMessageDeflateFactory(compress_settings={"level": 1})
    # Some cases send messages of 16 MiB.
    limits = {"max_size": None, "ping_interval": None}
    async with serve(echo, "127.0.0.1", 0, compression=None, extensions=[deflate], **limits) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


logging.disable(logging.CRITICAL)
asyncio.run(main())
