"""Parallel requests of httpx, over HTTP/2, until the input ends. Any that fails ends it.

    httpx_load.py URL CA...
"""

import asyncio
import ssl
import sys
import threading
from pathlib import Path

import httpx

PARALLEL = 50


async def main():
    url, *authorities = sys.argv[1:]
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    count = connections = 0
    while connections < 4 or not over.is_set():
        # A new connection each time, which may get another certificate than the one before.
        trust = ssl.create_default_context()
        for file in authorities:
            trust.load_verify_locations(cadata=Path(file).read_text())
        async with httpx.AsyncClient(http1=False, http2=True, verify=trust, timeout=30, trust_env=False) as client:
            for _ in range(4):
                answers = await asyncio.gather(*(client.get(f"{url}/api/v1/todos?n={n}") for n in range(PARALLEL)))
                wrong = [answer for answer in answers if (answer.status_code, answer.http_version) != (200, "HTTP/2")]
                assert not wrong, wrong
                count += PARALLEL
        connections += 1
        print(f"{count} requests over {connections} connections", flush=True)


asyncio.run(main())
