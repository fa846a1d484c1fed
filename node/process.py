"""The running process around a member: timers, signals, the lifeline, and how it ends.

    serve ──► turns, until the state with which it starts has been compared with the others'
      └──► "serving" ──► turns ──SIGTERM──► hand leadership over, finish calls ──► 0
                              ├──removed from the cluster──► finish calls ──► 76
                              ├──SIGINT──► finish calls (everybody stops, nobody to lead) ──► 0
                              └──lifeline closed: the supervisor is gone──► gone at once

A member that nobody supervises has no lifeline.

Every call that the event loop makes into a turn is guarded: an exception that escapes one means
that an invariant is broken or that this program has a bug, and a member that goes on after that
would be a guess. It leaves a trace in its log and dies with code 72, or with 71 if it was its disk
that gave back something else than was written, or 70 if that could not be read at all. What escapes
a client's connection ends that connection, unless it says that the member or its disk cannot be
trusted.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from node.api.server import ClientPort
from node.loop import Loop
from node.parts import Parts, Reporter
from node.publisher import Publisher
from node.raft.ready import Role
from store.fatal import EXIT_INVARIANT, EXIT_QUARANTINE, EXIT_STORAGE
from store.leveldb import describe_failure

EXIT_LIFELINE = 143
"""The supervisor is gone; nobody is left to read this."""
STOP_GRACE_SECONDS = 2.0
"""How long open calls may take to end once a stop was asked for."""
LEAVE_GRACE_SECONDS = 0.5
"""The same once this member has been removed: what is answered already can still go out."""
SWITCH_SECONDS = 0.0005
CAMPAIGN_SECONDS_MAX = 3.0
"""How long the first leader of a new cluster tries to reach its peers at every tick."""


@dataclass(frozen=True, slots=True)
class Fatal:
    """Errors after which a member must not go on, wherever they come to light."""

    broken: tuple[type[BaseException], ...]
    """The code is wrong."""
    damaged: tuple[type[BaseException], ...]
    """The disk cannot be trusted; the next start would find the same, or not even notice."""
    refused: tuple[type[BaseException], ...] = ()
    """Those of them that say nothing about the disk's contents: a system call failed. The next
    start may find all well."""


class Process:
    """One member between its composition and its exit."""

    def __init__(
        self,
        events: asyncio.AbstractEventLoop,
        loop: Loop,
        parts: Parts,
        port: ClientPort,
        publisher: Publisher,
        reporter: Reporter,
        fatal: Fatal,
    ) -> None:
        """Join what the composition root has made."""
        self._fatal = fatal
        self._events = events
        self._loop = loop
        self._parts = parts
        self._port = port
        self._publisher = publisher
        self._reporter = reporter
        self._stopping = False
        self._signal = 0

    def serve(
        self,
        host: str,
        client_port: int,
        wakeups: list[int],
        lifeline_fd: int | None,
        *,
        listeners: Sequence[socket.socket] = (),
        tick_seconds: float,
        campaign_first: bool,
    ) -> int:
        """Listen, turn, and return once stopped: the signal that asked for it, 0 = none.

        `listeners` take the place of `host` and `client_port`.

        Raises:
            OSError: the client port cannot be bound.
        """
        events = self._events
        events.set_exception_handler(self._escaped)
        for fd in wakeups:
            events.add_reader(fd, self._loop.wake)
        if lifeline_fd is not None:
            events.add_reader(lifeline_fd, partial(os._exit, EXIT_LIFELINE))
        events.add_signal_handler(signal.SIGTERM, self._stop, signal.SIGTERM)
        events.add_signal_handler(signal.SIGINT, self._stop, signal.SIGINT)
        # One run of the event loop from here to the end: a signal between two would be lost.
        opening = events.create_task(
            self._open(host, client_port, listeners, tick_seconds, campaign_first=campaign_first)
        )
        events.run_forever()
        if opening.done():
            opening.result()
        return self._signal

    async def _open(
        self,
        host: str,
        client_port: int,
        listeners: Sequence[socket.socket],
        tick_seconds: float,
        *,
        campaign_first: bool,
    ) -> None:
        tune_interpreter()
        self._tick(tick_seconds)
        while not self._parts.consistency.may_serve():
            await asyncio.sleep(tick_seconds)
        if self._stopping:
            return
        try:
            bound = await self._port.start(host, client_port, listeners)
        except OSError:
            self._events.stop()
            raise
        self._reporter.report("serving", pid=os.getpid(), client_port=bound)
        if campaign_first:
            self._campaign(time.monotonic() + CAMPAIGN_SECONDS_MAX, tick_seconds)

    def _tick(self, seconds: float) -> None:
        if self._parts.membership.removed:
            self._leave()
        self._events.call_later(seconds, self._tick, seconds)
        self._loop.wake()
        self._publisher.tick(time.monotonic())

    def _campaign(self, until: float, seconds: float) -> None:
        """The very first election need not wait for a timeout, only for the peers to be there."""
        if self._loop.leader or time.monotonic() > until:
            return
        if self._loop.role in (Role.FOLLOWER, Role.PRE_CANDIDATE):  # else votes are on their way
            self._parts.core.campaign()
            self._loop.wake()
        self._events.call_later(seconds, self._campaign, until, seconds)

    def _stop(self, number: signal.Signals) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._signal = number
        self._reporter.report("stopping", signal=number.name)
        if number == signal.SIGTERM:
            self._hand_over()
        self._events.create_task(self._drain(STOP_GRACE_SECONDS))

    def _leave(self) -> None:
        """Who is no member any more can serve nobody and must not try to be elected."""
        if not self._stopping:
            self._stopping = True
            self._events.create_task(self._drain(LEAVE_GRACE_SECONDS))

    def _hand_over(self) -> None:
        """Leave the cluster a leader: the voter that is furthest along."""
        parts = self._parts
        status = parts.core.status()
        voters = [peer for peer in parts.conf.voters if peer in status.progress]
        others = [peer for peer in voters if peer != parts.member_id]
        alive = [peer for peer in others if status.progress[peer].recent_active]
        if status.role == Role.LEADER and alive:
            parts.core.transfer_leader(max(alive, key=lambda peer: status.progress[peer].match))
            self._loop.wake()

    async def _drain(self, grace_seconds: float) -> None:
        until = time.monotonic() + STOP_GRACE_SECONDS / 2
        while self._parts.core.status().transferee and time.monotonic() < until:
            await asyncio.sleep(0.002)
        await self._port.close(grace_seconds)
        self._events.stop()

    def _escaped(self, events: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._reporter.log("exception", message=repr(context.get("message")))
        if not isinstance(error, BaseException):
            return
        if isinstance(error, (*self._fatal.broken, *self._fatal.damaged)):
            end(error, self._fatal, self._reporter)
        else:
            traceback.print_exception(error, file=sys.stderr)


def guarded(turn: Callable[[], None], reporter: Reporter, fatal: Fatal) -> Callable[[], None]:
    """A turn that ends the process if anything escapes it."""

    def run() -> None:
        try:
            turn()
        except BaseException as error:
            end(error, fatal, reporter)

    return run


def end(error: BaseException, fatal: Fatal, reporter: Reporter) -> None:
    """Say why, and die."""
    traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, fatal.refused):
        reporter.report(
            "storage_failed", reason=f"the disk refused a read: {describe_failure(error)}"
        )
        code = EXIT_STORAGE
    elif isinstance(error, fatal.damaged):
        reporter.report("quarantined", reason=f"found while serving: {describe_failure(error)}")
        code = EXIT_QUARANTINE
    else:
        reporter.report("invariant", reason=f"{type(error).__name__}: {error}")
        code = EXIT_INVARIANT
    sys.stderr.flush()
    os._exit(code)


def tune_interpreter() -> None:
    """Fit the interpreter to one loop thread beside one writer thread.

    The writer needs the interpreter lock after each sync; by default it would wait 5 ms for a busy
    loop, or the loop for it. Cyclic garbage hardly arises, so its collection may wait longer.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    collect_rarely()


def collect_rarely() -> None:
    """What exists now stays; the young generation may grow before it is looked through."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
