"""The watch hub: streams of watchers, fed live where they keep up and from history where not.

            create, start > now                     publish: sent at once
    ───────────────────────────────► synced ◄──┐
            create, start <= now        │      │ reached the present
    ───────────► behind ◄───────────────┘      │
                   │      stream does not drain│
                   ├───── catch_up ────────────┘
                   └───── next revision compacted ──► canceled

A watcher is either in the index of the synced or in the queue of those behind, and only there. Both
ways end in one output list, which its owner takes each turn, so a stream's responses keep the order
in which they were made. That is what makes progress notifications true: whatever was queued before
them is sent before them.

A stream whose client does not read is paused by its owner; one that got more than a few MiB in one
turn counts as paused until the output is taken. Events for their watchers are not kept: the watcher
falls behind and reads them from history later. So the memory per stream is bounded and no event is
ever dropped.

Nothing in here knows sockets or time; `tick` is told by the loop.
Source: etcd server/storage/mvcc/watchable_store.go, server/etcdserver/api/v3rpc/watch.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from node.machine.answer import Event
from node.proto import rpc
from node.watch import response
from node.watch.response import Encoder
from node.watch.stream import FRAGMENT_BYTES_MAX, Stream
from node.watch.watcher import Watcher, WatcherIndex

CATCH_UP_BYTES_MAX = 1 << 20
"""Event bytes of one step of catching up, so that its responses stay below gRPC's usual limits."""
CATCH_UP_WATCHERS_MAX = 1024
CATCH_UP_OUTPUT_BYTES_MAX = 4 << 20
"""What one step may say to all its watchers together, up to one revision more. A hundred who start
over at once were once told a MiB each in one turn; it took a second, and the leader its
leadership."""
PUBLISH_BYTES_MAX = 16 << 20
"""Output of all streams together beyond which publishing leaves the rest to catching up."""
EVENT_BYTES = 64
"""What telling an event costs beside its bytes, in bytes."""
PROGRESS_NOTIFY_TICKS = 60_000


class History(Protocol):
    """What the hub asks of the machine."""

    @property
    def revision(self) -> int:
        """The newest revision."""

    @property
    def compact_revision(self) -> int:
        """The oldest revision whose events can be told."""

    def events(self, lo: int, hi: int) -> Iterator[Event]:
        """What happened in the revisions `[lo, hi)`, in order."""

    def previous_kv(self, event: Event) -> bytes | None:
        """The KeyValue before the event, as field 2."""


class WatchHub:
    """All watch streams of one member."""

    def __init__(
        self,
        history: History,
        header: Callable[[int], bytes],
        *,
        progress_notify_ticks: int = PROGRESS_NOTIFY_TICKS,
    ) -> None:
        """`header(revision)` is the encoded header field of a response; revision 0 = none."""
        self._history = history
        self._header = header
        self._progress_notify_ticks = progress_notify_ticks
        self._ticks = 0
        self._streams: dict[int, Stream] = {}
        self._last_stream_id = 0
        self._synced = WatcherIndex()
        self._behind: dict[Watcher, None] = {}
        """Queue of watchers that read history; those of paused streams are parked there."""
        self._output: list[tuple[int, bytes]] = []
        self._queued = 0
        """Bytes of responses that were made since the output was taken."""
        self.revision = history.revision
        """What has been published. Synced watchers have seen everything up to it."""
        self.events_told = 0
        """Events that were sent to watchers, once for each of them."""

    # Streams.

    def open_stream(self, fragment_bytes_max: int = FRAGMENT_BYTES_MAX) -> int:
        """Open a stream; its id is never used again."""
        self._last_stream_id += 1
        self._streams[self._last_stream_id] = Stream(self._last_stream_id, fragment_bytes_max)
        return self._last_stream_id

    def close_stream(self, stream_id: int) -> None:
        """End a stream with its watchers; its output that was not taken is dropped."""
        stream = self._streams.pop(stream_id)
        for watcher in stream.watchers.values():
            self._unlink(stream, watcher)
        if stream.queued:
            self._output = [entry for entry in self._output if entry[0] != stream_id]

    def pause(self, stream_id: int) -> None:
        """Send a stream nothing but answers to its own requests."""
        stream = self._streams[stream_id]
        stream.paused = True
        for watcher in stream.watchers.values():
            if not watcher.synced:
                self._behind.pop(watcher, None)
                stream.parked[watcher] = None

    def resume(self, stream_id: int) -> None:
        """Let the watchers of a paused stream catch up."""
        stream = self._streams[stream_id]
        stream.paused = False
        self._behind |= stream.parked
        stream.parked.clear()

    @property
    def watchers(self) -> int:
        """How many watchers there are."""
        return sum(len(stream.watchers) for stream in self._streams.values())

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    @property
    def watchers_unsynced(self) -> int:
        """How many watchers are not in the present, those of paused streams included."""
        return len(self._behind) + sum(len(stream.parked) for stream in self._streams.values())

    @property
    def watchers_behind(self) -> int:
        """How many of them wait for a step of catching up."""
        return len(self._behind)

    # Requests.

    def handle(self, stream_id: int, request: rpc.WatchRequest) -> None:
        """Do what a client asks of its stream; odd requests are ignored, as etcd does."""
        stream = self._streams[stream_id]
        match request.WhichOneof("request_union"):
            case "create_request":
                self._create(stream, request.create_request)
            case "cancel_request":
                self._cancel(stream, request.cancel_request.watch_id)
            case "progress_request":
                self._tell_progress(stream)
            case _:
                pass

    def reject(self, stream_id: int, reason: str) -> None:
        """Answer a create request that its client may not make; the stream goes on."""
        header = self._header(self.revision)
        self._emit(self._streams[stream_id], response.rejected(header, reason))

    def _create(self, stream: Stream, request: rpc.WatchCreateRequest) -> None:
        header = self._header(self.revision)
        reason = stream.objection(request)
        if reason:
            self._emit(stream, response.rejected(header, reason))
            return
        watcher = Watcher(stream.id, request.watch_id or stream.free_id(), request)
        stream.watchers[watcher.id] = watcher
        self._emit(stream, response.created(header, watcher.id))
        watcher.next_revision = watcher.start_revision or self.revision + 1
        if watcher.next_revision > self.revision:
            self._become_synced(watcher)
        else:
            self._become_behind(stream, watcher)

    def _cancel(self, stream: Stream, watcher_id: int) -> None:
        watcher = stream.watchers.pop(watcher_id, None)
        if watcher is not None:
            self._unlink(stream, watcher)
            self._emit(stream, response.canceled(self._header(self.revision), watcher_id))

    def _tell_progress(self, stream: Stream) -> None:
        """Answer for the whole stream, if all of it is up to date; else the client asks again."""
        watchers = stream.watchers.values()
        if stream.lagging or not watchers:
            return
        if all(self._is_current(watcher) for watcher in watchers):
            header = self._header(self.revision)
            self._emit(stream, response.progress(header, response.NO_WATCHER))

    # What happens in the store.

    def publish(self, events: Sequence[Event]) -> None:
        """Tell the synced watchers of one revision: all of its events, right after it is applied.

        The effects must be staged already.
        """
        revision = events[0].revision
        self.revision = revision
        if not self._synced:
            return
        affected: dict[Watcher, list[Event]] = {}
        for event in events:
            for watcher in self._synced.at(event.key):
                if watcher.wants(event):
                    affected.setdefault(watcher, []).append(event)
        encoder = Encoder(self._history.previous_kv, self._header(self.revision))
        for watcher, wanted in affected.items():
            stream = self._streams[watcher.stream_id]
            if stream.lagging or self._queued > PUBLISH_BYTES_MAX:
                watcher.next_revision = revision
                self._synced.discard(watcher)
                self._become_behind(stream, watcher)
            else:
                self._send(stream, watcher, wanted, encoder)

    def replace_history(self, history: History) -> None:
        """Go on with the state of an installed snapshot: all watchers read what they missed."""
        seen = self.revision
        self._history = history
        self.revision = history.revision
        for stream in self._streams.values():
            for watcher in stream.watchers.values():
                if watcher.synced:
                    watcher.next_revision = max(watcher.next_revision, seen + 1)
                    self._synced.discard(watcher)
                    self._become_behind(stream, watcher)

    def catch_up(self, events_max: int) -> bool:
        """Do one bounded step for watchers that are behind; True = there is more to do.

        Serves the watcher at the head of the queue and all that can use the same stretch of
        history. A step ends between two revisions.
        """
        group = self._next_group()
        if group:
            self._read_on(group, events_max)
        return bool(self._behind)

    def _next_group(self) -> list[Watcher]:
        """The head of the queue and those that are not before it; cancels who comes too late."""
        group: list[Watcher] = []
        for watcher in list(islice(self._behind, CATCH_UP_WATCHERS_MAX)):
            stream = self._streams[watcher.stream_id]
            if watcher.next_revision < self._history.compact_revision:
                self._end_compacted(stream, watcher)
            elif watcher.next_revision > self.revision:
                self._become_synced(watcher)
            elif not stream.lagging and (
                not group or watcher.next_revision >= group[0].next_revision
            ):
                group.append(watcher)
        return group

    def _read_on(self, group: list[Watcher], events_max: int) -> None:
        index = WatcherIndex()
        for watcher in group:
            index.add(watcher)
        lo, hi = group[0].next_revision, self.revision + 1
        wanted: dict[Watcher, list[Event]] = {watcher: [] for watcher in group}
        size, told, revision = 0, 0, lo
        for count, event in enumerate(self._history.events(lo, hi)):
            if event.revision != revision:
                if (
                    count >= events_max
                    or size >= CATCH_UP_BYTES_MAX
                    or told >= CATCH_UP_OUTPUT_BYTES_MAX
                ):
                    hi = event.revision
                    break
                revision = event.revision
            size += len(event.kv)
            for watcher in index.at(event.key):
                if watcher.wants(event):
                    wanted[watcher].append(event)
                    told += len(event.kv) + EVENT_BYTES
        self._advance(wanted, hi)

    def _advance(self, wanted: dict[Watcher, list[Event]], hi: int) -> None:
        """Send what was found and move the watchers on to revision `hi`, to the queue's end.

        A revision that is large by itself may be too much for all of them: the others keep their
        places at the queue's head.
        """
        encoder = Encoder(self._history.previous_kv, self._header(self.revision))
        size = 0
        for watcher, events in wanted.items():
            if watcher.next_revision >= hi:
                continue
            if size >= 2 * CATCH_UP_OUTPUT_BYTES_MAX:
                break
            stream = self._streams[watcher.stream_id]
            if stream.lagging:
                continue  # others of its stream have filled it in this very step
            if events:
                size -= stream.queued
                self._send(stream, watcher, events, encoder)
                size += stream.queued
            watcher.next_revision = hi
            del self._behind[watcher]
            if hi > self.revision:
                self._mark_synced(watcher)
            else:
                self._behind[watcher] = None

    # Time.

    def tick(self) -> None:
        """One tick has passed; now and then watchers that heard nothing are told the revision."""
        self._ticks += 1
        if self._ticks < self._progress_notify_ticks:
            return
        self._ticks = 0
        header = self._header(self.revision)
        for stream in self._streams.values():
            for watcher in stream.watchers.values():
                if watcher.progress_notify:
                    self._notify(stream, watcher, header)

    def _notify(self, stream: Stream, watcher: Watcher, header: bytes) -> None:
        if watcher.idle and not stream.lagging and self._is_current(watcher):
            self._emit(stream, response.progress(header, watcher.id))
        watcher.idle = True

    # Output.

    def take_output(self) -> list[tuple[int, bytes]]:
        """(stream id, encoded WatchResponse) since the last call, in order."""
        output, self._output = self._output, []
        self._queued = 0
        for stream_id, _ in output:
            stream = self._streams.get(stream_id)
            if stream is not None:
                stream.queued = 0
        return output

    def _send(
        self, stream: Stream, watcher: Watcher, events: list[Event], encoder: Encoder
    ) -> None:
        watcher.idle = False
        self.events_told += len(events)
        encoded = [encoder.encode(event, watcher.prev_kv) for event in events]
        if not watcher.fragment:
            self._emit(stream, response.with_events(encoder.header, watcher.id, encoded))
            return
        for part in response.fragments(
            encoder.header, watcher.id, encoded, stream.fragment_bytes_max
        ):
            self._emit(stream, part)

    def _emit(self, stream: Stream, message: bytes) -> None:
        stream.queued += len(message)
        self._queued += len(message)
        self._output.append((stream.id, message))

    # Moves between synced and behind.

    def _is_current(self, watcher: Watcher) -> bool:
        """Whether no event up to the hub's revision is still to come for a watcher."""
        return watcher.synced and watcher.start_revision <= self.revision

    def _become_synced(self, watcher: Watcher) -> None:
        self._behind.pop(watcher, None)
        self._mark_synced(watcher)

    def _mark_synced(self, watcher: Watcher) -> None:
        watcher.synced = True
        self._synced.add(watcher)

    def _become_behind(self, stream: Stream, watcher: Watcher) -> None:
        """Queue a watcher, which is in no index, for catching up."""
        watcher.synced = False
        (stream.parked if stream.paused else self._behind)[watcher] = None

    def _unlink(self, stream: Stream, watcher: Watcher) -> None:
        if watcher.synced:
            self._synced.discard(watcher)
        else:
            self._behind.pop(watcher, None)
            stream.parked.pop(watcher, None)

    def _end_compacted(self, stream: Stream, watcher: Watcher) -> None:
        del stream.watchers[watcher.id]
        self._unlink(stream, watcher)
        compact_revision = self._history.compact_revision
        self._emit(stream, response.compacted(self._header(0), watcher.id, compact_revision))
