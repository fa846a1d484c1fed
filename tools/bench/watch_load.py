"""How long a change takes from its put to the watchers of its key.

One writer puts, `clients` watchers of that key wait, and the next put is sent when all saw the
last one. A latency is the time from sending the put to one watcher's event.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Final, cast

from node.proto import rpc
from tools.bench.errors import BenchFailed
from tools.bench.place import Place, places_of
from tools.bench.plan import PATHS, Plan, Requests
from tools.bench.report import Report, make_report
from transport.grpc import CallEnded, ConnectionClosed, MessageReceived

_CREATED_WAIT_S: Final = 30.0


class Stage:
    """What the writer and the watchers share."""

    def __init__(self, watchers: int) -> None:
        self.latencies: list[float] = []
        self.errors: Counter[str] = Counter()
        self.sent = 0.0
        self._watchers = watchers
        self._expected = watchers
        self._seen = asyncio.Event()

    def arrived(self, now: float) -> None:
        """Count one response: a created watcher, or an event at one."""
        if self.sent:
            self.latencies.append(now - self.sent)
        self._expected -= 1
        if self._expected == 0:
            self._seen.set()

    def failed(self, reason: str) -> None:
        """Note what ended a watcher or a put; the run ends with it."""
        self.errors[reason] += 1
        self._seen.set()

    async def all_seen(self) -> None:
        """Wait until every watcher has its response; then get ready for the next round."""
        async with asyncio.timeout(_CREATED_WAIT_S):
            await self._seen.wait()
        self._expected = self._watchers
        self._seen.clear()


class WatchConnection(asyncio.Protocol):
    """One connection with some watchers; also the writer's, which has none."""

    def __init__(self, stage: Stage, place: Place, watchers: int, key: bytes) -> None:
        self._stage = stage
        self._grpc = place.codec()
        self._watchers = watchers
        self._key = key
        self._writes: set[int] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the watches."""
        self._transport = cast(asyncio.Transport, transport)
        create = rpc.WatchRequest(create_request=rpc.WatchCreateRequest(key=self._key))
        for _ in range(self._watchers):
            self._grpc.send(self._grpc.start(PATHS["watch"]), create.SerializeToString())
        self._flush()

    def put(self, request: bytes) -> None:
        """Send a put."""
        self._writes.add(self._grpc.unary(PATHS["put"], request))
        self._flush()

    def close(self) -> None:
        """End the connection, and the watches with it."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what the watchers were sent."""
        now = time.perf_counter()
        for event in self._grpc.receive(data, now):
            if isinstance(event, MessageReceived) and event.call_id not in self._writes:
                self._stage.arrived(now)
            elif isinstance(event, CallEnded) and event.status != 0:
                self._stage.failed(event.text)
            elif isinstance(event, ConnectionClosed):
                self._stage.failed(event.reason)
        self._flush()

    def _flush(self) -> None:
        data = self._grpc.data_to_send()
        if data:
            self._transport.write(data)


async def measure_watch(plan: Plan) -> Report:
    """Carry out a plan whose workload is "watch".

    Raises:
        BenchFailed: the watchers could not be set up.
    """
    places = places_of(plan)
    stage = Stage(plan.clients)
    requests = Requests(plan, bytes(plan.key_bytes))
    key = plan.prefix + bytes(plan.key_bytes)
    connections: list[WatchConnection] = []

    async def connect(place: Place, watchers: int) -> WatchConnection:
        connection = WatchConnection(stage, place, watchers, key)
        await place.connect(connection)
        connections.append(connection)
        return connection

    started = ended = time.perf_counter()
    try:
        for number, share in enumerate(plan.shares):
            await connect(places[number % len(places)], share)
        writer = await connect(places[0], 0)
        await stage.all_seen()
        started = time.perf_counter()
        rounds = 0
        while not stage.errors and _goes_on(plan, rounds, started):
            stage.sent = time.perf_counter()
            writer.put(requests.encode_next())
            await stage.all_seen()
            rounds += 1
        ended = time.perf_counter()
    except (OSError, TimeoutError) as error:
        raise BenchFailed(f"cannot watch: {error or 'timed out'}") from error
    finally:
        for connection in connections:
            connection.close()
    return make_report(plan, stage.latencies, stage.errors, ended - started)


def _goes_on(plan: Plan, rounds: int, started: float) -> bool:
    if plan.total and rounds >= plan.total:
        return False
    return not plan.duration_s or time.perf_counter() - started < plan.duration_s
