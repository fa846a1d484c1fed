"""The HTTP/1.1 side: curl as a foreign client, raw sockets for what curl would not send."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from transport.http1 import Http1Protocol, Limits, Request, Responder

DEADLINE = 10.0
CURL = shutil.which("curl")


class Site:
    """A few resources, and what became of their clients."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.started = asyncio.Event()
        self.drained = asyncio.Event()
        self.waiting: Responder | None = None

    def handle(self, request: Request, responder: Responder) -> None:
        match request.path:
            case "/echo":
                text = f"{request.method} {request.query} ".encode()
                responder.respond(200, [("x-seen", request.headers["host"])], text + request.body)
            case "/stream":
                responder.start(200, [("content-type", "application/x-ndjson")])
                for number in range(3):
                    responder.write(b"%d\n" % number)
                responder.end()
            case "/follow":
                responder.on_disconnect = self.gone.set
                responder.start(200)
                responder.write(b"first\n")
            case "/flood":
                responder.on_drain = self.drained.set
                responder.start(200)
                while responder.write(bytes(65_536)):
                    pass
                self.waiting = responder
                self.started.set()
            case "/later":
                responder.on_disconnect = self.gone.set
                self.waiting = responder
                self.started.set()
            case _:
                responder.respond(404, body=b"not found\n")


@asynccontextmanager
async def serving(site: Site) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    limits = Limits(body_bytes_max=1000, head_bytes_max=2000)
    server = await loop.create_server(lambda: Http1Protocol(site.handle, limits), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def run(scenario: Callable[[Site, int], Awaitable[None]]) -> None:
    """Run a scenario against a running site, with a deadline."""

    async def main() -> None:
        site = Site()
        async with serving(site) as port, asyncio.timeout(DEADLINE):
            await scenario(site, port)

    asyncio.run(main())


async def exchange(port: int, raw: bytes) -> bytes:
    """Send bytes and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    answer = await reader.read()
    writer.close()
    return answer


async def curl(port: int, path: str, *arguments: str) -> str:
    assert CURL is not None
    process = await asyncio.create_subprocess_exec(
        *(CURL, "-sS", "-i", *arguments, f"http://127.0.0.1:{port}{path}"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return output.decode()


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
def test_curl_gets_answers() -> None:
    async def scenario(site: Site, port: int) -> None:
        posted = await curl(port, "/echo?a=1&a=2&b=", "-d", "body")
        streamed = await curl(port, "/stream")
        head = await curl(port, "/echo", "-I")
        missing = await curl(port, "/nothing")

        assert posted.startswith("HTTP/1.1 200")
        assert posted.endswith("POST {'a': ['1', '2'], 'b': ['']} body")
        assert "transfer-encoding: chunked" in streamed.lower()
        assert streamed.endswith("0\n1\n2\n")
        assert head.startswith("HTTP/1.1 200")
        assert missing.startswith("HTTP/1.1 404")

    run(scenario)


def test_pipelined_requests_are_answered_in_order() -> None:
    async def scenario(site: Site, port: int) -> None:
        one = b"GET /echo?n=%d HTTP/1.1\r\nhost: a\r\n\r\n"
        last = b"GET /stream HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"

        answer = await exchange(port, one % 1 + one % 2 + last)

        assert answer.count(b"HTTP/1.1 200") == 3
        assert answer.index(b"['1']") < answer.index(b"['2']") < answer.index(b"2\n\r\n0")

    run(scenario)


def test_request_cut_anywhere_is_answered() -> None:
    raw = b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody"

    class Recorder(asyncio.Transport):
        def __init__(self) -> None:
            super().__init__()
            self.written = b""
            self.closing = False

        def write(self, data: bytes | bytearray | memoryview) -> None:
            self.written += data

        def is_closing(self) -> bool:
            return self.closing

        def close(self) -> None:
            self.closing = True

        def pause_reading(self) -> None: ...

        def resume_reading(self) -> None: ...

    def answer(*pieces: bytes) -> bytes:
        transport, protocol = Recorder(), Http1Protocol(Site.handle.__get__(site))
        protocol.connection_made(transport)
        protocol.feed_initial(pieces[0])
        for piece in pieces[1:]:
            protocol.data_received(piece)
        return transport.written

    async def main() -> None:
        whole = answer(raw)
        assert b"POST {} body" in whole
        for cut in range(1, len(raw)):
            assert answer(raw[:cut], raw[cut:]) == whole

    site = Site.__new__(Site)
    asyncio.run(main())


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\x00\x01\x02 garbage\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 4000, b"431"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n" + bytes(1001), b"413"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", b"501"),
        (b"GET http://[bad HTTP/1.1\r\nhost: a\r\n\r\n", b"400"),
        (b"GET /?" + b"a&" * 100 + b" HTTP/1.1\r\nhost: a\r\n\r\n", b"400"),
    ],
    ids=["garbage", "no-host", "head", "body", "announced", "length", "coding", "target", "fields"],
)
def test_bad_request_is_answered_and_closed(raw: bytes, status: bytes) -> None:
    async def scenario(site: Site, port: int) -> None:
        answer = await exchange(port, raw)

        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b"connection: close" in answer.lower()

    run(scenario)


def test_streaming_client_that_leaves_is_noticed() -> None:
    async def scenario(site: Site, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /follow HTTP/1.1\r\nhost: a\r\n\r\n")
        await reader.readuntil(b"first\n")

        writer.close()

        await site.gone.wait()

    run(scenario)


def test_answer_given_later_reaches_a_half_closed_client() -> None:
    async def scenario(site: Site, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /later HTTP/1.1\r\nhost: a\r\n\r\n")
        writer.write_eof()
        await site.started.wait()
        assert site.waiting is not None

        site.waiting.respond(200, body=b"late")

        assert (await reader.read()).endswith(b"late")

    run(scenario)


def test_answer_to_a_client_that_left_is_ignored() -> None:
    async def scenario(site: Site, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /later HTTP/1.1\r\nhost: a\r\n\r\n")
        await site.started.wait()
        assert site.waiting is not None
        linger_zero = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero)
        writer.transport.abort()
        await site.gone.wait()

        site.waiting.respond(200, body=b"late")

        assert not site.waiting.connected

    run(scenario)


def test_slow_reader_is_waited_for() -> None:
    async def scenario(site: Site, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /flood HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        await site.started.wait()
        assert site.waiting is not None
        assert not site.drained.is_set()

        reading = asyncio.create_task(reader.read())
        await site.drained.wait()
        site.waiting.end()

        assert len(await reading) > 65_536

    run(scenario)
