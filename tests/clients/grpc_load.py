"""Calls of grpcio from several threads until the input ends, and messages on a stream that lives as long.

    grpc_load.py SERVICE ADDRESS [STATUS...]     a call that ends with another status than OK and these ends it
"""

import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc

from grpc_calls import SECONDS, connect

THREADS = 8


def main():
    service, address, *allowed = sys.argv[1:]
    over, seen = threading.Event(), Counter()
    with ThreadPoolExecutor(THREADS) as pool:
        loops = [pool.submit(loop, service, address, allowed, over, seen) for _ in range(THREADS)]
        print("begun", flush=True)
        sys.stdin.read()
        over.set()
        for one in loops:
            one.result()
    print(", ".join(f"{count} {status}" for status, count in sorted(seen.items())))


def loop(service, address, allowed, over, seen):
    # A channel of its own: channels with equal options would share one connection.
    with connect(address) as channel:
        unary = channel.unary_unary(f"{service}Unary")
        calls = 0
        while calls < 100 or not over.is_set():
            calls += 1
            try:
                answer = unary(b"m", timeout=SECONDS)
                assert answer.endswith(b"m"), answer
                seen["OK"] += 1
            except grpc.RpcError as error:
                if error.code().name not in allowed:
                    raise
                seen[error.code().name] += 1


main()
