"""WatchResponses as bytes. An event is encoded once, however many watchers get it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from node.machine.answer import Event
from node.machine.wire import as_field_3, field, varint

_CREATED = b"\x18\x01"
_CANCELED = b"\x20\x01"
_FRAGMENT = b"\x38\x01"
_DELETE = b"\x08\x01"
_EVENTS = 11

NO_WATCHER = -1
"""The watch id of answers that concern no watcher, or a whole stream."""

DUPLICATE_ID = "mvcc: duplicate watch ID provided on the WatchStream"
EMPTY_INTERVAL = "mvcc: watcher range is empty"
COMPACTED = "etcdserver: mvcc: required revision has been compacted"


def watch_id(watcher_id: int) -> bytes:
    """The id as a field; 0 is left out."""
    return b"\x10" + varint(watcher_id) if watcher_id else b""


def created(header: bytes, watcher_id: int) -> bytes:
    """The answer to a create request that was accepted."""
    return header + watch_id(watcher_id) + _CREATED


def rejected(header: bytes, reason: str) -> bytes:
    """The answer to a create request that was not."""
    return header + watch_id(NO_WATCHER) + _CREATED + _CANCELED + field(6, reason.encode())


def canceled(header: bytes, watcher_id: int) -> bytes:
    """The answer to a cancel request."""
    return header + watch_id(watcher_id) + _CANCELED


def compacted(header: bytes, watcher_id: int, compact_revision: int) -> bytes:
    """The end of a watcher whose next event is no longer there."""
    return header + watch_id(watcher_id) + _CANCELED + b"\x28" + varint(compact_revision)


def progress(header: bytes, watcher_id: int) -> bytes:
    """The promise that no event up to the header's revision comes any more."""
    return header + watch_id(watcher_id)


def with_events(header: bytes, watcher_id: int, events: Sequence[bytes]) -> bytes:
    """Events as one response."""
    return b"".join((header, watch_id(watcher_id), *events))


def fragments(
    header: bytes, watcher_id: int, events: Sequence[bytes], part_bytes_max: int
) -> Iterator[bytes]:
    """The same in parts of about `part_bytes_max`.

    Each part holds at least one event; all but the last say that there is more to come.
    """
    head = header + watch_id(watcher_id)
    first, size = 0, len(head)
    for place, event in enumerate(events):
        if place > first and size + len(event) >= part_bytes_max:
            yield b"".join((head, _FRAGMENT, *events[first:place]))
            first, size = place, len(head)
        size += len(event)
    yield b"".join((head, *events[first:]))


class Encoder:
    """Events of one batch as encoded fields of a WatchResponse, and the header of them all."""

    __slots__ = ("_plain", "_previous_kv", "_with_previous", "header")

    def __init__(self, previous_kv: Callable[[Event], bytes | None], header: bytes) -> None:
        """`previous_kv` is asked only for events that somebody wants it for."""
        self.header = header
        self._previous_kv = previous_kv
        self._plain: dict[tuple[int, int], bytes] = {}
        self._with_previous: dict[tuple[int, int], bytes] = {}

    def encode(self, event: Event, with_previous: bool) -> bytes:
        """The event as field 11."""
        cache = self._with_previous if with_previous else self._plain
        place = (event.revision, event.sub)
        encoded = cache.get(place)
        if encoded is None:
            body = _DELETE + event.kv if event.deleted else event.kv
            before = self._previous_kv(event) if with_previous else None
            if before is not None:
                body += as_field_3(before)
            encoded = cache[place] = field(_EVENTS, body)
        return encoded
