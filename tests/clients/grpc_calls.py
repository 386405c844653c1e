"""Calls of grpcio, of all kinds; says how many.

    grpc_calls.py SERVICE ADDRESS [CA]
    grpc_calls.py --one SERVICE ADDRESS     one call, and what it answered
"""

import sys
from pathlib import Path

import grpc

SECONDS = 30
MIB = 1 << 20


def connect(address, ca=None):
    """A channel that does not retry: what Weir answers is what is seen."""
    options = [("grpc.enable_retries", 0), ("grpc.max_receive_message_length", 64 * MIB)]
    if ca:
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(Path(ca).read_bytes()), options)
    return grpc.insecure_channel(address, options)


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--one"]
    service, *where = arguments
    with connect(*where) as channel:
        if "--one" in sys.argv:
            print(channel.unary_unary(f"{service}Unary")(b"", timeout=SECONDS).decode())
            return
        kinds(channel, service)
        errors(channel, service)
        deadlines(channel, service)
    print(f"{service} {'TLS' if len(where) > 1 else 'h2c'}: all kinds")


def kinds(channel, service):
    unary = channel.unary_unary(f"{service}Unary")
    for size in (0, 1, 100, 64 * 1024, 3 * MIB):
        answer = unary(b"m" * size, timeout=SECONDS)
        assert answer.endswith(b"m" * size), f"{len(answer)} of {size}"
    upload = channel.stream_unary(f"{service}Upload")(iter([b"u" * 10_000] * 200), timeout=SECONDS)
    assert upload.endswith(b"u" * 2_000_000)
    download = list(channel.unary_stream(f"{service}Download")(b"200 50000", timeout=SECONDS))
    assert download == [b"x" * 50_000] * 200, len(download)
    chat(channel.stream_stream(f"{service}Chat"))


def chat(method):
    """Each message is sent when the one before was answered."""
    answered, sent = [], [b"first"]

    def messages():
        for number in range(50):
            yield sent[-1]
            while len(answered) <= number:
                pass
            sent.append(b"%d" % number)

    for answer in method(messages(), timeout=SECONDS):
        assert answer.endswith(sent[-1]), (answer, sent[-1])
        answered.append(answer)
    assert len(answered) == 50


def errors(channel, service):
    fail = channel.unary_unary(f"{service}Fail")
    for code in (3, 5, 7, 8, 13, 14, 16):
        error = failure(fail, str(code).encode())
        assert error.code().value[0] == code, error
        assert error.details() == "as asked for", error
        assert dict(error.trailing_metadata())["reason"] == "asked-for", error
    unknown = failure(channel.unary_unary(f"{service}Unknown"), b"")
    assert unknown.code() == grpc.StatusCode.UNIMPLEMENTED, unknown


def deadlines(channel, service):
    late = failure(channel.unary_unary(f"{service}Slow"), b"", timeout=0.3)
    assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED, late
    left = int(channel.unary_unary(f"{service}Left")(b"", timeout=20))
    # It is rounded up when it is sent.
    assert 0 < left <= 21_000, left
    assert channel.unary_unary(f"{service}Left")(b"") == b""
    # A client that leaves is told of to the target, which would wait for ever otherwise.
    call = channel.unary_unary(f"{service}Slow").future(b"")
    assert call.cancel()


def failure(method, message, timeout=SECONDS):
    try:
        method(message, timeout=timeout)
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call did not fail")


if __name__ == "__main__":
    main()
