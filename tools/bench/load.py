"""A light load generator for any etcd endpoint, on the project's own HTTP/2 codec.

One process and one event loop: connections × clients in flight, each client sending its next
request when the last one was answered (closed loop). Requests are encoded before the clock matters,
answers are recognised and not decoded, and each connection writes once per turn, so that the
generator takes a small part of the CPU that it shares with what it measures.

A request that fails is counted with its text and the client goes on after a short pause. A
connection that is lost fails its requests in flight and is opened again, at the same endpoint.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, cast

from tools.bench.errors import BenchFailed
from tools.bench.place import Place, places_of
from tools.bench.plan import PATHS, Plan, Requests
from tools.bench.report import Report, make_report
from tools.bench.watch_load import measure_watch
from transport.errors import ConnectionLost, StreamsExhausted
from transport.grpc import CallEnded, ConnectionClosed, UnaryReply

_PAUSE_S: Final = 0.02
"""Between a failure and the next try of the same client."""


class Run:
    """What all connections of one run share: the requests, the clock, the figures."""

    def __init__(self, plan: Plan, done: Callable[[], None]) -> None:
        self.path = PATHS[plan.workload]
        self.latencies: list[float] = []
        self.errors: Counter[str] = Counter()
        self.started = 0.0
        self.ended = 0.0
        self._requests = Requests(plan)
        self._left = plan.total or -1
        self._duration = plan.duration_s
        self._active = plan.clients
        self._done = done

    def start(self) -> None:
        """Start the clock."""
        self.started = self.ended = time.perf_counter()

    def next_request(self) -> bytes | None:
        """Give one more request, or None when enough were made."""
        if self._left == 0:
            return None
        if self._duration and time.perf_counter() - self.started >= self._duration:
            return None
        self._left -= 1
        return self._requests.encode_next()

    def leave(self) -> None:
        """Count a client out; the last one ends the run."""
        self._active -= 1
        if self._active == 0:
            self._done()


class LoadConnection(asyncio.Protocol):
    """One connection with its share of the clients."""

    def __init__(self, run: Run, place: Place, clients: int) -> None:
        self._run = run
        self._place = place
        self._clients = clients
        self._in_flight: dict[int, float] = {}
        self._grpc = place.codec()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._going = False

    async def connect(self) -> None:
        """Open the connection.

        Raises:
            OSError: the endpoint does not take it.
        """
        self._grpc = self._place.codec()
        await self._place.connect(self)

    @property
    def connected(self) -> bool:
        """Whether there is a connection just now."""
        return self._transport is not None

    @property
    def in_flight(self) -> int:
        """Requests that are not answered."""
        return len(self._in_flight)

    def go(self) -> None:
        """Let all clients send their first request."""
        self._going = True
        if not self.connected:  # it was lost before all the others stood
            self._reopen(self._clients)
            return
        for _ in range(self._clients):
            self._send_next()
        self._flush()

    def close(self) -> None:
        """End the connection for good."""
        self._going = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface."""
        self._transport = cast(asyncio.Transport, transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take answers; each lets a client go on."""
        now = time.perf_counter()
        run, in_flight = self._run, self._in_flight
        for event in self._grpc.receive(data, now):
            if type(event) is UnaryReply:
                run.latencies.append(now - in_flight.pop(event.call_id))
                self._send_next()
            elif isinstance(event, CallEnded):
                self._end_call(event, now)
            elif isinstance(event, ConnectionClosed) and self._transport is not None:
                self._transport.abort()
        run.ended = now
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what was in flight, and open the connection again."""
        self._transport = None
        if not self._going:
            return
        lost = len(self._in_flight)
        self._in_flight.clear()
        self._run.errors["connection lost"] += lost
        self._loop.call_later(_PAUSE_S, self._reopen, lost)

    def _end_call(self, event: CallEnded, now: float) -> None:
        started = self._in_flight.pop(event.call_id)
        if event.status == 0:
            self._run.latencies.append(now - started)
            self._send_next()
            return
        self._run.errors[event.text] += 1
        self._loop.call_later(_PAUSE_S, self._retry, 1)

    def _send_next(self) -> None:
        request = self._run.next_request()
        if request is None:
            self._run.leave()
            return
        try:
            call_id = self._grpc.unary(self._run.path, request)
        except (ConnectionLost, StreamsExhausted) as error:
            self._run.errors[type(error).__name__] += 1
            self._loop.call_later(_PAUSE_S, self._retry, 1)
        else:
            self._in_flight[call_id] = time.perf_counter()

    def _retry(self, clients: int) -> None:
        if self._transport is None:
            self._loop.call_later(_PAUSE_S, self._retry, clients)
            return
        for _ in range(clients):
            self._send_next()
        self._flush()

    def _reopen(self, clients: int) -> None:
        self._opening = self._loop.create_task(self._open_again(clients))

    async def _open_again(self, clients: int) -> None:
        while self._going:
            try:
                await self.connect()
            except OSError:
                await asyncio.sleep(_PAUSE_S)
            else:
                self._retry(clients)
                return

    def _flush(self) -> None:
        if self._transport is not None:
            data = self._grpc.data_to_send()
            if data:
                self._transport.write(data)


async def _measure(plan: Plan) -> Report:
    finished = asyncio.Event()
    run = Run(plan, finished.set)
    places = places_of(plan)
    connections = [
        LoadConnection(run, places[number % len(places)], share)
        for number, share in enumerate(plan.shares)
    ]
    try:
        async with asyncio.timeout(plan.patience_s):
            await asyncio.gather(*(connection.connect() for connection in connections))
        run.start()
        for connection in connections:
            connection.go()
        if not await _finish(run, finished, plan.patience_s):
            run.errors["not answered in time"] += sum(one.in_flight for one in connections)
    except (OSError, TimeoutError) as error:
        raise BenchFailed(f"cannot connect: {error or 'timed out'}") from error
    finally:
        for connection in connections:
            connection.close()
    return make_report(plan, run.latencies, run.errors, run.ended - run.started)


async def _finish(run: Run, finished: asyncio.Event, patience_s: float) -> bool:
    """Wait for the end of a run; False = nothing moved any more for as long as one waits."""
    while True:
        before = run.ended
        try:
            await asyncio.wait_for(finished.wait(), patience_s)
        except TimeoutError:
            if run.ended == before:
                return False
        else:
            return True


def measure(plan: Plan) -> Report:
    """Carry a plan out and sum it up. Blocks; runs an event loop of its own.

    Raises:
        BenchFailed: no connection could be made.
    """
    import uvloop  # only the process that makes load pays for it

    work = measure_watch(plan) if plan.workload == "watch" else _measure(plan)
    collecting = gc.isenabled()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    finally:
        if collecting:
            gc.enable()
