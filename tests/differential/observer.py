"""The watch streams of an episode at one side: what they were told, and what they still wait for.

Beside the streams that the episode asks for, each side has one that watches everything from the
beginning. Its events say which ones every other watcher has to be told, so an observer knows when
all of them have come, without looking at a clock and without touching the store. How events are
divided into responses is a server's own business within etcd's promises, which are asserted; a
watcher's story is therefore a list of tellings, one for each event.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

import grpc  # type: ignore[import-untyped]

from node.proto import kv, rpc
from node.watch.watcher import watched_interval
from tests.differential.side import BEGIN, Disturbed, Side, plain
from tests.differential.step import line
from tests.support.api_client import failure

WATCH = "/etcdserverpb.Watch/Watch"
PATIENCE_SECONDS = 20.0
EVERYTHING = rpc.WatchCreateRequest(key=b"\0", range_end=b"\0", prev_kv=True)
NO_WATCHER = -1


@dataclass
class Watcher:
    """One watcher, and what it was told."""

    request: rpc.WatchCreateRequest
    next_revision: int
    """The first revision whose events it is told."""
    story: list[str] = field(default_factory=list)
    events: list[kv.Event] = field(default_factory=list)
    dies: bool = False
    """It began below what is kept, so that it will be canceled."""
    over: bool = False

    def wants(self, event: kv.Event) -> bool:
        """Whether an event is one of its own."""
        lo, hi = watched_interval(self.request)
        deleted = event.type == kv.Event.DELETE
        unwanted = rpc.WatchCreateRequest.NODELETE if deleted else rpc.WatchCreateRequest.NOPUT
        return (
            not self.dies
            and event.kv.mod_revision >= self.next_revision
            and lo <= event.kv.key
            and (hi is None or event.kv.key < hi)
            and unwanted not in self.request.filters
        )


class Stream:
    """One watch stream; responses are taken in by a thread of its own."""

    def __init__(self, side: Side) -> None:
        """Open it."""
        self.watchers: dict[int, Watcher] = {}
        self.story: list[str] = []
        """What was said to no watcher in particular."""
        self._side = side
        self._responses: queue.SimpleQueue[rpc.WatchResponse | grpc.RpcError] = queue.SimpleQueue()
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._call: Any = side.home.channel.stream_stream(WATCH)(iter(self._requests.get, None))
        self._parts: list[kv.Event] = []
        threading.Thread(target=self._read, daemon=True).start()

    def close(self) -> None:
        """Cancel the call."""
        self._requests.put(None)
        self._call.cancel()

    def send(self, request: rpc.WatchRequest) -> None:
        """Send a request."""
        self._requests.put(self._side.numbering.to_server(request).SerializeToString())

    def until(self, holds: Callable[[], bool]) -> bool:
        """Take responses until something holds; False = it did not come about."""
        deadline = monotonic() + PATIENCE_SECONDS
        while not holds():
            try:
                response = self._responses.get(timeout=max(0.0, deadline - monotonic()))
            except queue.Empty:
                return False
            self.take(response)
        return True

    def take(self, response: rpc.WatchResponse | grpc.RpcError) -> rpc.WatchResponse:
        """Put a response into the stories."""
        if isinstance(response, grpc.RpcError):
            raise Disturbed(f"{self._side.name}: {failure(response)}")
        plain(response)
        watcher = self.watchers.get(response.watch_id)
        if response.created or watcher is None:
            self.story.append(line(response))
        elif response.canceled:
            watcher.over = True
            watcher.story.append(line(response))
        else:
            self._parts += response.events
            if not response.fragment:
                self._tell(watcher, response)
        return response

    def next_response(self) -> rpc.WatchResponse | None:
        """The answer to a request of this stream, which has nothing else to say."""
        try:
            return self.take(self._responses.get(timeout=PATIENCE_SECONDS))
        except queue.Empty:
            return None

    def _tell(self, watcher: Watcher, response: rpc.WatchResponse) -> None:
        events, self._parts = self._parts, []
        revisions = [event.kv.mod_revision for event in events]
        last = watcher.events[-1].kv.mod_revision if watcher.events else 0
        assert revisions, f"{self._side.name}: neither events nor anything else: {response}"
        assert revisions == sorted(revisions), f"{self._side.name}: out of order: {response}"
        assert revisions[0] > last, f"{self._side.name}: a revision in two responses: {response}"
        assert response.header.revision >= revisions[-1], f"{self._side.name}: {response.header}"
        watcher.events += events
        watcher.story += [line(event) for event in events]

    def _read(self) -> None:
        try:
            for message in self._call:
                response = rpc.WatchResponse.FromString(message)
                self._responses.put(self._side.numbering.from_server(response))
        except grpc.RpcError as error:
            self._responses.put(error)


class Observer:
    """All watch streams of an episode at one side."""

    def __init__(self, side: Side) -> None:
        """Watch everything from here on."""
        self._side = side
        self.revision = 1
        """What the store is known to have reached."""
        self.compacted = 1
        """What is known to be compacted."""
        self._streams: dict[int, Stream] = {}
        self._everything = Stream(side)
        self._all = self._create(self._everything, EVERYTHING)
        self._all.events.append(kv.Event(kv=kv.KeyValue(key=BEGIN, mod_revision=1)))

    def close(self) -> None:
        """End all streams."""
        for stream in (self._everything, *self._streams.values()):
            stream.close()

    def request(self, number: int, request: rpc.WatchRequest) -> None:
        """Ask something of a stream, and wait for the answer if there is to be one.

        Everything that is due is waited for before, so that the order of an answer and the events
        of other watchers is no matter.
        """
        self.settle()
        stream = self._streams.get(number)
        if stream is None:
            stream = self._streams[number] = Stream(self._side)
        match request.WhichOneof("request_union"):
            case "create_request":
                if self._comparable(stream, request.create_request):
                    self._create(stream, request.create_request)
            case "cancel_request":
                self._cancel(stream, request.cancel_request.watch_id)
            case _:
                self._progress(stream, request)

    def settle(self) -> None:
        """Wait until every watcher was told all that it is due."""
        events = self._all.events
        reached = partial(_reached, events, self.revision)
        self._must(self._everything, reached, f"events up to {self.revision}")
        for stream in self._streams.values():
            for watcher in stream.watchers.values():
                due = sum(map(watcher.wants, events))
                self._must(stream, partial(_has, watcher, due), f"events of {watcher.request}")

    def stories(self) -> Iterator[tuple[str, list[str]]]:
        """Everything that was told, by whom."""
        yield "watcher of everything", self._all.story
        for number, stream in self._streams.items():
            yield f"stream {number}", stream.story
            for watch_id, watcher in stream.watchers.items():
                yield f"stream {number} watcher {watch_id}", watcher.story

    def _comparable(self, stream: Stream, request: rpc.WatchCreateRequest) -> bool:
        """Whether what a new watcher is told is decided by etcd's promises alone.

        - etcd never gives the id of a watcher free that compaction has ended; here it may be used
          again.
        - Before 3.5.18 compaction takes a deletion that is exactly where it stops, so that a watch
          from there on misses it.
        - A watcher of the past to which nothing has happened yet gives no sign when it has caught
          up: a compaction may come before, or not.
        """
        if any(
            watcher.dies and (watcher.request.watch_id or request.watch_id)
            for watcher in stream.watchers.values()
        ):
            return False
        start = request.start_revision
        if not self.compacted <= start <= self.revision:
            return True
        events = self._all.events
        if start == self.compacted and any(
            event.kv.mod_revision == start and event.type == kv.Event.DELETE for event in events
        ):
            return False
        return any(map(Watcher(request, start).wants, events))

    def _must(self, stream: Stream, holds: Callable[[], bool], what: str) -> None:
        if not stream.until(holds):
            stream.story.append(f"did not come at {self._side.name}: {what}")

    def _create(self, stream: Stream, request: rpc.WatchCreateRequest) -> Watcher:
        stream.send(rpc.WatchRequest(create_request=request))
        response = stream.next_response()
        watcher = Watcher(request, request.start_revision)
        if response is None:
            stream.story.append(f"not created: {request}")
        elif not response.canceled:
            watcher.next_revision = request.start_revision or response.header.revision + 1
            watcher.dies = watcher.next_revision < self.compacted
            before = stream.watchers.get(response.watch_id)
            if before is not None:
                watcher.story = before.story
            stream.watchers[response.watch_id] = watcher
        return watcher

    def _cancel(self, stream: Stream, watch_id: int) -> None:
        watcher = stream.watchers.get(watch_id)
        if watcher is not None and watcher.dies:
            return  # to etcd it still is there to be canceled
        request = rpc.WatchRequest(cancel_request=rpc.WatchCancelRequest(watch_id=watch_id))
        stream.send(request)
        if watcher is not None and not watcher.over:
            self._must(stream, lambda: watcher.over, f"end of {watch_id}")

    def _progress(self, stream: Stream, request: rpc.WatchRequest) -> None:
        """Only where every version of etcd answers alike: all watchers are there already."""
        living = [watcher for watcher in stream.watchers.values() if not watcher.over]
        if living and all(watcher.next_revision <= self.revision for watcher in living):
            stream.send(request)
            stream.next_response()


def _reached(events: list[kv.Event], revision: int) -> bool:
    return events[-1].kv.mod_revision >= revision


def _has(watcher: Watcher, events: int) -> bool:
    return watcher.over or (len(watcher.events) >= events and not watcher.dies)
