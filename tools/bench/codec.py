"""What one unary call costs the codec, without sockets: bytes to event, answer to bytes.

    python -m tools.bench.codec

Server and client role are fed by each other, 100 calls in flight as one busy connection has them.
The heads are compressed by `hpack` with every field in its table, as grpc-go does it; with a
deadline each call's head differs, and no cache of whole blocks can help.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from hpack import Encoder

from tools.bench.plan import PATHS, Plan, Requests
from transport.grpc import GrpcClient, GrpcServer, UnaryCall, UnaryReply
from transport.grpc.head import request_headers
from transport.grpc.message import encode_message
from transport.http2 import Headers, frame

_IN_FLIGHT: Final = 100
_ANSWER: Final = bytes(30)
"""As long as a PutResponse with its header."""


def measure_server(calls: int, *, deadlines: bool) -> float:
    """Give the microseconds that the server role takes for one call and its answer."""
    server = GrpcServer(unary=frozenset(PATHS.values()), message_bytes_max=1 << 20)
    server.receive(frame.PREFACE + frame.encode_settings({}), 0.0)
    server.receive(frame.encode_word(frame.WINDOW_UPDATE, 0, 1 << 30), 0.0)
    batches = _batches(calls, deadlines)

    def work() -> int:
        answered = 0
        for batch in batches:
            for event in server.receive(batch, 0.0):
                if isinstance(event, UnaryCall):
                    server.reply(event.call_id, _ANSWER)
                    answered += 1
            server.data_to_send()
        return answered

    return _time(work, calls)


def measure_client(calls: int) -> float:
    """Give the microseconds that the client role takes for one call and its answer."""
    server = GrpcServer(unary=frozenset(PATHS.values()), message_bytes_max=1 << 20)
    client = GrpcClient("localhost")
    client.receive(server.data_to_send(), 0.0)
    requests = Requests(Plan(endpoints=("-",)))
    spent = 0.0
    for _ in range(calls // _IN_FLIGHT):
        began = time.perf_counter()
        for _ in range(_IN_FLIGHT):
            client.unary(PATHS["put"], requests.encode_next())
        data = client.data_to_send()
        spent += time.perf_counter() - began
        for event in server.receive(data, 0.0):
            if isinstance(event, UnaryCall):
                server.reply(event.call_id, _ANSWER)
        data = server.data_to_send()
        began = time.perf_counter()
        answered = sum(isinstance(event, UnaryReply) for event in client.receive(data, 0.0))
        spent += time.perf_counter() - began
    return spent / calls * 1e6 if answered == _IN_FLIGHT else float("nan")


def _batches(calls: int, deadlines: bool) -> list[bytes]:
    encoder, requests = Encoder(), Requests(Plan(endpoints=("-",)))
    head = request_headers(PATHS["put"], "127.0.0.1:2379", "grpc-go/1.71.1")
    batches, batch = [], b""
    for number in range(calls):
        left: Headers = ((b"grpc-timeout", b"%du" % (4_999_000 - 7 * number)),)
        block = bytes(encoder.encode(head + left if deadlines else head))
        body = encode_message(requests.encode_next())
        stream_id = 2 * number + 1
        batch += frame.encode_block(stream_id, block, 0, 16_384)
        batch += frame.encode(frame.DATA, frame.END_STREAM, stream_id, body)
        if (number + 1) % _IN_FLIGHT == 0:
            batches.append(batch)
            batch = b""
    return batches


def _time(work: Callable[[], int], calls: int) -> float:
    began = time.perf_counter()
    answered = work()
    spent = time.perf_counter() - began
    return spent / calls * 1e6 if answered == calls else float("nan")


def main() -> None:
    """Print the figures: the best of five, because everything else is the machine's noise."""
    calls = 9_000
    rows: dict[str, Callable[[], float]] = {
        "server, heads repeat": lambda: measure_server(calls, deadlines=False),
        "server, each head has a deadline of its own": lambda: measure_server(
            calls, deadlines=True
        ),
        "client, heads repeat": lambda: measure_client(calls),
    }
    for title, measure in rows.items():
        print(f"{title:<46} {min(measure() for _ in range(5)):6.2f} µs per call")


if __name__ == "__main__":
    main()
