"""Many watchers of one prefix: what a put costs then, and that each of them is told everything.

    python -m tools.bench.crowd [--watchers 10000] [--connections 100] [--puts 50] [--json]

This cluster and a real etcd in turn, with the same watchers, spread over connections as etcd's own
client does: all of a connection on one stream. A put is sent when every watcher has seen the last
one. Every watcher must be told of every put exactly once and in order; otherwise the run fails.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Final, cast

import msgspec
import uvloop

from node.proto import rpc
from tools.bench.compare import Row
from tools.bench.errors import BenchFailed
from tools.bench.plan import PATHS
from tools.bench.report import percentile_ms
from tools.bench.side import ConclaveSide, EtcdSide, Side
from transport.grpc import CallEnded, ConnectionClosed, GrpcClient, MessageReceived, UnaryReply

SCHEMA: Final = "conclave/crowd.v1"
_PATIENCE_S: Final = 120.0
_PREFIX: Final = b"crowd/"
_MIB: Final = 1 << 20
_VALUE: Final = bytes(256)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one side did."""

    alone_ms: float
    """Median of a put that nobody watches."""
    watched_ms: float
    """Median of a put with all watchers."""
    watched_p99_ms: float
    told_ms: float
    """Median from sending a put to the last watcher's event."""
    growth_bytes: int
    """How much memory of all members the idle watchers took."""


class Crowd:
    """Watchers over connections, and one more connection that writes."""

    def __init__(self) -> None:
        self.told: list[tuple[_Member, bytes]] = []
        """Messages of watch streams since the last round."""
        self._members: list[_Member] = []
        self._news = asyncio.Event()
        self._failure = ""

    async def open(self, endpoints: Sequence[str], connections: int, watchers: int) -> None:
        """Connect, and create all watchers.

        Raises:
            BenchFailed: that cannot be done.
        """
        self._writer = await self._connect(endpoints[0])
        # A member that is behind must not tell its watchers of what was before them.
        revision, _ = await self._write(b"uncrowded")
        for number in range(connections):
            member = await self._connect(endpoints[number % len(endpoints)])
            member.watch(watchers // connections + (number < watchers % connections), revision + 1)
            self._members.append(member)
        await self._until_told(watchers)

    async def put(self, number: int) -> tuple[float, float]:
        """Put a key and wait for all watchers.

        Returns: seconds to the answer, and to the last watcher's event.

        Raises:
            BenchFailed: somebody was told something else than this put, or nothing.
        """
        self.told.clear()
        watchers = sum(member.watchers for member in self._members)
        began = time.perf_counter()
        revision, at = await self._write(_PREFIX + b"%d" % number)
        await self._until_told(watchers)
        told = time.perf_counter()
        self._verify(revision)
        return at - began, told - began

    def close(self) -> None:
        """Disconnect."""
        for member in (self._writer, *self._members):
            member.close()

    def take(self, member: _Member, message: bytes) -> None:
        """A message for a watcher has come."""
        self.told.append((member, message))
        self._news.set()

    def fail(self, reason: str) -> None:
        """A connection or stream has ended."""
        self._failure = self._failure or reason
        self._news.set()

    async def _write(self, key: bytes) -> tuple[int, float]:
        request = rpc.PutRequest(key=key, value=_VALUE)
        answered = self._writer.put(request.SerializeToString())
        message, at = await asyncio.wait_for(answered, _PATIENCE_S)
        return rpc.PutResponse.FromString(message).header.revision, at

    async def _connect(self, endpoint: str) -> _Member:
        host, _, port = endpoint.rpartition(":")
        loop = asyncio.get_running_loop()
        member = _Member(self, endpoint)
        await loop.create_connection(lambda: member, host.strip("[]"), int(port))
        return member

    async def _until_told(self, messages: int) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while len(self.told) < messages and not self._failure:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError as error:
            missing = messages - len(self.told)
            raise BenchFailed(f"{missing} of {messages} watchers were told nothing") from error
        if self._failure:
            raise BenchFailed(self._failure)

    def _verify(self, revision: int) -> None:
        seen = set()
        for member, message in self.told:
            response = rpc.WatchResponse.FromString(message)
            if [event.kv.mod_revision for event in response.events] != [revision]:
                raise BenchFailed(f"a watcher was told something else than {revision}: {response}")
            seen.add((id(member), response.watch_id))
        if len(seen) != len(self.told):
            raise BenchFailed(f"some watchers were told twice of revision {revision}")


class _Member(asyncio.Protocol):
    """One connection."""

    def __init__(self, crowd: Crowd, authority: str) -> None:
        self.watchers = 0
        self._crowd = crowd
        self._grpc = GrpcClient(authority)
        self._put = -1
        """The call of the last put."""
        self._answer: asyncio.Future[tuple[bytes, float]]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface."""
        self._transport = cast(asyncio.Transport, transport)
        self._flush()

    def watch(self, watchers: int, start: int) -> None:
        """Create watchers, on one stream, from revision `start` on."""
        self.watchers = watchers
        create = rpc.WatchCreateRequest(
            key=_PREFIX, range_end=_PREFIX[:-1] + b"0", start_revision=start
        )
        message = rpc.WatchRequest(create_request=create).SerializeToString()
        stream = self._grpc.start(PATHS["watch"])
        for _ in range(watchers):
            self._grpc.send(stream, message)
        self._flush()

    def put(self, request: bytes) -> asyncio.Future[tuple[bytes, float]]:
        """Send a put; its answer and when it came."""
        self._answer = asyncio.get_running_loop().create_future()
        self._put = self._grpc.unary(PATHS["put"], request)
        self._flush()
        return self._answer

    def close(self) -> None:
        """End the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Sort what came."""
        now = time.perf_counter()
        for event in self._grpc.receive(data, now):
            match event:
                case UnaryReply(call, message) | MessageReceived(call, message):
                    if call == self._put:
                        self._answer.set_result((message, now))
                    else:
                        self._crowd.take(self, message)
                case CallEnded(_, status, text) if status:
                    self._crowd.fail(text)
                case ConnectionClosed(reason):
                    self._crowd.fail(reason)
                case _:
                    pass
        self._flush()

    def _flush(self) -> None:
        data = self._grpc.data_to_send()
        if data:
            self._transport.write(data)


async def measure_crowd(side: Side, watchers: int, connections: int, puts: int) -> Figures:
    """Puts without watchers, then with all of them.

    Raises:
        BenchFailed: a watcher lost an event, or could not be had.
    """
    alone = Crowd()
    await alone.open(side.endpoints, 0, 0)
    lonely = [(await alone.put(number))[0] for number in range(max(puts, 20))]
    alone.close()
    before = sum(side.memory_bytes())
    crowd = Crowd()
    try:
        await crowd.open(side.endpoints, connections, watchers)
        growth = sum(side.memory_bytes()) - before
        rounds = [await crowd.put(number) for number in range(puts)]
    finally:
        crowd.close()
    answers = sorted(answered for answered, _ in rounds)
    return Figures(
        alone_ms=percentile_ms(sorted(lonely), 0.5),
        watched_ms=percentile_ms(answers, 0.5),
        watched_p99_ms=percentile_ms(answers, 0.99),
        told_ms=round(median(told for _, told in rounds) * 1e3, 3),
        growth_bytes=growth,
    )


def rows(conclave: Figures, etcd: Figures, watchers: int) -> list[Row]:
    """Both sides' figures, one to a row."""

    def row(title: str, unit: str, name: str, divisor: int = 1) -> Row:
        ours, theirs = (getattr(side, name) / divisor for side in (conclave, etcd))
        return Row(title=title, unit=unit, conclave=round(ours, 3), etcd=round(theirs, 3))

    return [
        row("put without watchers, p50", "ms", "alone_ms"),
        row(f"put with {watchers} watchers, p50", "ms", "watched_ms"),
        row("the same, p99", "ms", "watched_p99_ms"),
        row("until the last watcher knows, p50", "ms", "told_ms"),
        row("memory of all members for them", "MiB", "growth_bytes", _MIB),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison from the command line; gives the exit code."""
    parser = argparse.ArgumentParser(prog="tools.bench.crowd", description=__doc__)
    parser.add_argument("--watchers", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--puts", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    gc.disable()
    figures = []
    try:
        for make in (ConclaveSide, EtcdSide):
            with make() as side, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                crowd = measure_crowd(side, options.watchers, options.connections, options.puts)
                figures.append(runner.run(crowd))
    except (BenchFailed, OSError) as error:
        print(f"bench: {str(error) or 'timed out'}", file=sys.stderr)
        return 1
    conclave, etcd = figures
    found = rows(conclave, etcd, options.watchers)
    if options.json:
        entries = [{**msgspec.structs.asdict(row), "ratio": round(row.ratio, 3)} for row in found]
        print(json.dumps({"schema": SCHEMA, "watchers": options.watchers, "rows": entries}))
    else:
        print(f"{'':<34} {'conclave':>11} {'etcd':>11}         ratio")
        print("\n".join(row.line() for row in found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
