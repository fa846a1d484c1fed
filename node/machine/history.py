"""The keyspace as it was: versions of a key, intervals at an old revision, events in order.

Pure reads of a view. The caller has checked that the revision is neither compacted nor in the
future; below the compact revision records may be gone already and nothing here would notice.
"""

from __future__ import annotations

from collections.abc import Iterator

from node.errors import InvariantViolated
from node.machine import record as records
from node.machine.answer import Event
from node.machine.record import (
    CURRENT,
    DEAD,
    NOWHERE,
    REFERENCE,
    REVISION,
    bounds,
    create_of,
    is_tombstone,
    last_position,
    main_of,
    position,
    position_of,
    previous_of,
    step_down,
    unpack_position,
)
from node.machine.view import View
from node.proto import kv

Version = tuple[bytes, bytes]
"""A key with its table's byte in front, and the version record that it has or had.

The byte stays because most readers never look at the key: a scan of records is passed on as it is.
"""


def key_value(view: View, record: bytes) -> bytes:
    """The version's KeyValue as an encoded field 2, wherever it is stored."""
    if record[1] & REFERENCE:
        whole = view.get(REVISION + position_of(record))
        if whole is None:
            raise InvariantViolated("a current record refers to a revision that is gone")
        record = whole
    return record[record[0] :]


def value(view: View, record: bytes) -> bytes:
    """The version's value."""
    # A KeyValue has no nested field, and field 2 of Event is one: borrow its decoder.
    return bytes(kv.Event.FromString(key_value(view, record)).kv.value)


def state_at(view: View, record: bytes, revision: int) -> bytes | None:
    """The version of the same key that was live at `revision`; None = there was no key then.

    `record` is any version that is not older, usually the newest.
    """
    limit = last_position(revision)
    while position_of(record) > limit:
        below = step_down(record, limit)
        older = None if below == NOWHERE else view.get(REVISION + below)
        if older is None:
            # The chain ends here, or in a tombstone that compaction has taken away.
            return None
        record = older
    return None if is_tombstone(record) else record


def current(view: View, lo: bytes, hi: bytes | None, *, reverse: bool = False) -> Iterator[Version]:
    """The live keys of an interval, in key order."""
    if hi is not None and hi <= lo:
        return iter(())
    return view.scan(*bounds(CURRENT, lo, hi), reverse=reverse)


def visible(view: View, lo: bytes, hi: bytes | None, revision: int) -> Iterator[Version]:
    """The keys of an interval that were live at an old revision, in key order."""
    for key, record in _newest(view, lo, hi):
        then = state_at(view, record, revision)
        if then is not None:
            yield key, then


def _newest(view: View, lo: bytes, hi: bytes | None) -> Iterator[Version]:
    """The newest version of each key that lives or died not too long ago, in key order.

    A tombstone below the compact revision may still lie beside a new life of its key. It comes as
    well and does no harm: nobody asks for a revision at which it was not yet a tombstone.
    """
    if hi is not None and hi <= lo:
        return
    dead = view.scan(*bounds(DEAD, lo, hi))
    corpse = next(dead, None)
    for key, record in current(view, lo, hi):
        while corpse is not None and corpse[0][1:] < key[1:]:
            yield corpse
            corpse = next(dead, None)
        yield key, record
    while corpse is not None:
        yield corpse
        corpse = next(dead, None)


def revisions(view: View, lo: bytes, hi: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(position, version record) of all changes with `lo <= position < hi`, in order.

    Those of this moment, whenever they are consumed.
    """
    return ((key[1:], record) for key, record in view.scan(REVISION + lo, REVISION + hi))


def events(view: View, lo: int, hi: int) -> Iterator[Event]:
    """What happened in the revisions `[lo, hi)`."""
    for place, record in revisions(view, position(lo, 0), position(hi, 0)):
        main, sub = unpack_position(place)
        key_value_field = record[record[0] :]
        key = kv.Event.FromString(key_value_field).kv.key
        yield Event(main, sub, key, is_tombstone(record), key_value_field, record, b"")


def previous_kv(view: View, event: Event) -> bytes | None:
    """The KeyValue (field 2) that the key had before the event's revision; None = no such key.

    A put that creates its key has none, not even where its own revision deleted the key before.
    Source: etcd server/etcdserver/api/v3rpc/watch.go, IsCreateEvent.
    """
    below = previous_of(event.record)
    if below == NOWHERE or create_of(event.record) == event.revision:
        return None
    parent = event.replaced or view.get(REVISION + below)
    before = None if parent is None else state_at(view, parent, event.revision - 1)
    return None if before is None else key_value(view, before)


def newest_revision(view: View) -> int:
    """The last main revision that changed anything; 1 for a store that never changed."""
    first, last = REVISION, records.table_end(REVISION)
    for _, record in view.scan(first, last, reverse=True):
        return main_of(record)
    return 1
