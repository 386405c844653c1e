"""A gRPC server without generated code: messages are bytes, and every answer begins with the server's name.

    grpc_target.py NAME [CERTIFICATE KEY]     prints its port once it listens; SIGTERM drains it
"""

import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

SERVING = b"\x08\x01"
DRAIN_SECONDS = 20
# A call without a deadline has one that is further away.
YEAR = 365 * 24 * 3600


class Echo(grpc.GenericRpcHandler):
    """One method of each kind, two that fail, and the health service."""

    def __init__(self, name):
        self.name = name.encode()

    def service(self, call):
        name = self.name
        handlers = {
            "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(lambda _message, _call: SERVING),
            "/echo.Echo/Unary": grpc.unary_unary_rpc_method_handler(lambda message, _call: name + message),
            "/echo.Echo/Upload": grpc.stream_unary_rpc_method_handler(lambda stream, _call: name + b"".join(stream)),
            "/echo.Echo/Download": grpc.unary_stream_rpc_method_handler(download),
            "/echo.Echo/Chat": grpc.stream_stream_rpc_method_handler(
                lambda stream, _call: (name + message for message in stream)
            ),
            "/echo.Echo/Fail": grpc.unary_unary_rpc_method_handler(fail),
            "/echo.Echo/Slow": grpc.unary_unary_rpc_method_handler(slow),
            "/echo.Echo/Left": grpc.unary_unary_rpc_method_handler(left),
        }
        return handlers.get(call.method)


def download(message, _call):
    count, size = map(int, message.split())
    return (b"x" * size for _ in range(count))


def fail(message, call):
    call.set_trailing_metadata((("reason", "asked-for"),))
    call.abort(grpc.StatusCode(next(c.value for c in grpc.StatusCode if c.value[0] == int(message))), "as asked for")


def slow(_message, call):
    """Until the client leaves or its deadline passes."""
    over = threading.Event()
    # False if the client has left already.
    if call.add_callback(over.set):
        over.wait()
    return b""


def left(_message, call):
    """The time that the client says it still waits, in milliseconds; nothing if it does not say."""
    left = call.time_remaining()
    return b"" if left is None or left > YEAR else str(int(left * 1000)).encode()


def main():
    name, *files = sys.argv[1:]
    server = grpc.server(ThreadPoolExecutor(32), handlers=[Echo(name)], options=[("grpc.so_reuseport", 0)])
    if files:
        certificate, key = (Path(file).read_bytes() for file in files)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    server.start()
    print(port, flush=True)
    ended.wait()
    server.stop(DRAIN_SECONDS).wait()


main()
