"""Clients that watch: streams at one member after the other, resumed where the last one ended.

A watcher has one stream at a time with one or two subscriptions on it. Each subscription knows the
next revision that it wants, from events and progress marks. When the member dies, or the client
breaks the stream off, the next stream goes on from there at another member; when the server ends a
watch because of a compaction, from the revision that it names.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any, Final

from node.api.call import StreamCall
from node.proto import rpc
from tests.simulator.history import Recorder
from tests.simulator.observer import fail
from tests.simulator.wire import WATCHING, Wire
from tests.simulator.workload import EVERY, KEYS
from tools.check.convert import watch_created, watch_record
from tools.check.history import WatchCanceled, WatchEnded

_NO_PUT: Final = rpc.WatchCreateRequest.NOPUT
_NO_DELETE: Final = rpc.WatchCreateRequest.NODELETE


class Subscription:
    """What is watched, and from where it goes on. `watch` None: not open on the stream."""

    def __init__(self, name: str, chance: Random) -> None:
        kind = chance.random()
        key, end = chance.choice(
            ((EVERY, EVERY), (EVERY, EVERY), (b"k", b"l"), (KEYS[1], KEYS[5]), (KEYS[0], b""))
        )
        self.name = name
        self.asked: dict[str, Any] = {
            "key": key,
            "range_end": end,
            "prev_kv": chance.random() < 0.4,
            "progress_notify": chance.random() < 0.4,
            "filters": [_NO_DELETE] if kind < 0.15 else [_NO_PUT] if kind < 0.3 else [],
        }
        self.next = 0
        """0 = whatever comes from now on."""
        self.watch: int | None = None
        self.ended = False


class Watcher:
    """One client, and its stream."""

    def __init__(self, name: str, recorder: Recorder, nature: Random, chance: Random) -> None:
        """`nature` draws what it watches, `chance` what it does."""
        self.name = name
        self._recorder = recorder
        self._chance = chance
        self.subscriptions = [
            Subscription(f"{name}.{number}", nature) for number in range(nature.choice((1, 1, 2)))
        ]
        self.wire: Wire | None = None
        self._call: StreamCall | None = None
        self._streams = 0
        self._records = 0
        self._created: deque[tuple[Subscription, rpc.WatchCreateRequest]] = deque()
        self._paused = False
        self._settling = False
        self.progress = 0
        """The latest mark that was told to the whole stream."""

    def act(self, wire: Wire) -> None:
        """Do one thing; `wire` is where a new stream would go."""
        self.notice()
        if self.wire is None:
            self.open(wire)
            return
        self.go_on()
        kind = self._chance.random()
        if kind < 0.25:
            self.ask_progress()
        elif kind < 0.35:
            self._slow(not self._paused)
        elif kind < 0.45:
            self._cancel(self._chance.choice(self.subscriptions))
        elif kind < 0.6:
            self.leave()

    def notice(self) -> None:
        """Look whether the member still lives."""
        if self.wire is not None and not self.wire.alive:
            self.leave()

    def open(self, wire: Wire) -> None:
        """Open a stream, and everything on it that was not ended for good."""
        self._streams += 1
        self._records = 0
        self._paused = False
        self._created.clear()
        self.progress = 0
        self.wire = wire
        self._call = wire.open(WATCHING, self._told)
        if self._call.over:  # a learner refuses before there is a stream to leave
            wire.forget(self._call)
            self.wire = self._call = None
            return
        self.go_on()

    def go_on(self) -> None:
        """Watch again what is not watched at the moment."""
        waiting = {subscription.name for subscription, _ in self._created}
        for subscription in self.subscriptions:
            idle = subscription.watch is None and not subscription.ended
            if idle and subscription.name not in waiting:
                self._create(subscription)

    def _create(self, subscription: Subscription) -> None:
        first = self._streams == 1 and not subscription.next and not self._settling
        if first and self._chance.random() < 0.5:
            subscription.next = max(1, self._recorder.revision + self._chance.randrange(-30, 4))
        asked = rpc.WatchCreateRequest(start_revision=subscription.next, **subscription.asked)
        self._created.append((subscription, asked))
        self._send(rpc.WatchRequest(create_request=asked))

    def ask_progress(self) -> None:
        """Ask for a mark of the whole stream."""
        self._send(rpc.WatchRequest(progress_request=rpc.WatchProgressRequest()))

    def _slow(self, paused: bool) -> None:
        self._paused = paused
        if self.wire is not None and self._call is not None:
            self.wire.slow(self._call, paused=paused)

    def _cancel(self, subscription: Subscription) -> None:
        if subscription.watch is not None:
            cancel = rpc.WatchCancelRequest(watch_id=subscription.watch)
            self._send(rpc.WatchRequest(cancel_request=cancel))

    def leave(self, due_revision: int = 0) -> None:
        """End the stream; `due_revision` as in `WatchEnded`."""
        wire, call = self.wire, self._call
        if wire is None or call is None:
            return
        at_ns = self._recorder.clock()
        for subscription in self.subscriptions:
            if subscription.watch is not None:
                end = WatchEnded(
                    self._stream, self._position(), subscription.watch, at_ns, due_revision
                )
                self._recorder.watches.append(end)
                subscription.watch = None
        if wire.alive:
            wire.cancel(call)
        else:
            wire.forget(call)
        self.wire = self._call = None

    # The end of a run.

    def settle(self, wire: Wire, revision: int) -> None:
        """Read again and be open, so that everything up to `revision` comes."""
        self._settling = True
        self.notice()
        for subscription in self.subscriptions:
            if subscription.next > revision + 1:
                # A mark of the stream would have to wait for what may never come.
                subscription.ended = True
                self._cancel(subscription)
        if self.wire is None:
            self.open(wire)
        self._slow(False)
        self.go_on()

    def up_to_date(self, revision: int) -> bool:
        """Whether all subscriptions have been told that they have seen everything."""
        live = [each for each in self.subscriptions if not each.ended]
        return all(each.watch is not None for each in live) and (
            not live or self.progress >= revision
        )

    # What comes.

    @property
    def _stream(self) -> str:
        return f"{self.name}/{self._streams}"

    def _position(self) -> int:
        self._records += 1
        return self._records

    def _send(self, request: rpc.WatchRequest) -> None:
        if self.wire is not None and self._call is not None:
            self.wire.send(self._call, request.SerializeToString())

    def _told(self, message: bytes | None, error: str) -> None:
        if message is None:
            self.leave()
            return
        told = rpc.WatchResponse.FromString(message)
        place: dict[str, Any] = {
            "stream": self._stream,
            "position": self._position(),
            "at_ns": self._recorder.clock(),
        }
        if told.created:
            self._begun(told, place)
            return
        record = watch_record(told, **place)
        self._recorder.watches.append(record)
        self._recorder.revision = max(self._recorder.revision, told.header.revision)
        if isinstance(record, WatchCanceled):
            self._ended(record)
            return
        reached = record.revision
        if record.events:
            reached = record.events[-1].kv.mod_revision
        elif record.watch == -1:
            self.progress = record.revision
        for subscription in self.subscriptions:
            if subscription.watch is not None and record.watch in (-1, subscription.watch):
                subscription.next = max(subscription.next, reached + 1)

    def _begun(self, told: rpc.WatchResponse, place: dict[str, Any]) -> None:
        subscription, asked = self._created.popleft()
        if told.canceled or self.wire is None:
            fail("a watch is refused", stream=self._stream, reason=told.cancel_reason)
        endpoint = f"n{self.wire.node.id}"
        record = watch_created(
            told, asked, subscription=subscription.name, endpoint=endpoint, **place
        )
        self._recorder.watches.append(record)
        subscription.watch = told.watch_id
        subscription.next = asked.start_revision or told.header.revision + 1
        if subscription.ended:
            self._cancel(subscription)

    def _ended(self, record: WatchCanceled) -> None:
        for subscription in self.subscriptions:
            if subscription.watch == record.watch:
                subscription.watch = None
                subscription.next = max(subscription.next, record.compact_revision)
