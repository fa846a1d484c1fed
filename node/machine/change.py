"""One main revision in the making: puts and deletes, and reads that already see them.

A change collects effects and events and touches nothing else, so that dropping it undoes it. The
revision it works for is only taken if it ends up with an event. `Machine` adopts it or drops it.
"""

from __future__ import annotations

from collections.abc import Iterator

from node.machine import history
from node.machine.answer import Event, Operation
from node.machine.interval import Interval
from node.machine.keyspace import Keyspace
from node.machine.record import (
    CURRENT,
    DEAD,
    INLINE_BYTES_MAX,
    REVISION,
    TOMBSTONE,
    TOMBSTONE_REVISION,
    as_reference,
    build,
    create_of,
    lease_moved,
    lease_of,
    main_of,
    number,
    position,
    version_of,
)
from node.machine.wire import key_value_field, tombstone_field, varint


class Change:
    """A `View` of the keyspace as it will be, and the record of what makes it so."""

    __slots__ = (
        "_compact_revision",
        "_mod",
        "_tombstone_revision",
        "_view",
        "base",
        "effects",
        "events",
        "put_bytes",
        "revision",
    )

    def __init__(self, keyspace: Keyspace) -> None:
        """Begin without changes."""
        self._view = keyspace.view
        self._compact_revision = keyspace.compact_revision
        self._tombstone_revision = keyspace.tombstone_revision
        self.base = keyspace.revision
        """The revision before the change."""
        self.revision = self.base + 1
        """The revision that the change makes, if it makes one."""
        self._mod = varint(self.revision)
        self.effects: dict[bytes, bytes | None] = {}
        self.events: list[Event] = []
        self.put_bytes = 0
        """Keys and values of its puts."""

    @property
    def now(self) -> int:
        """The revision that a read at this point of the change reports."""
        return self.revision if self.events else self.base

    def get(self, key: bytes) -> bytes | None:
        """See `View.get`."""
        effects = self.effects
        if effects and key in effects:
            return effects[key]
        return self._view.get(key)

    def scan(self, lo: bytes, hi: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """See `View.scan`."""
        below = self._view.scan(lo, hi, reverse=reverse)
        above = {key: value for key, value in self.effects.items() if lo <= key < hi}
        return _merged(below, above, reverse) if above else below

    def put(self, key: bytes, value: bytes, lease: int, old: bytes | None) -> None:
        """Give `key` a value. `old` is its current version record, None if it has none."""
        effects, revision = self.effects, self.revision
        self.put_bytes += len(key) + len(value)
        if old is None:
            parent = self._dead(key)
            create, version, old_lease = revision, 1, 0
        else:
            parent = old
            create, version, old_lease = create_of(old), version_of(old) + 1, lease_of(old)
        key_value = key_value_field(key, create, self._mod, version, value, lease)
        place = position(revision, len(self.events))
        record = build(0, place, parent, create, version, lease, key_value)
        effects[REVISION + place] = record
        inline = len(value) <= INLINE_BYTES_MAX
        effects[CURRENT + key] = record if inline else as_reference(record)
        if lease != old_lease:
            effects.update(lease_moved(key, old_lease, lease))
        self.events.append(
            Event(revision, len(self.events), key, False, key_value, record, parent or b"")
        )

    def delete(self, key: bytes, old: bytes) -> None:
        """Delete a key whose current version record is `old`."""
        effects, revision = self.effects, self.revision
        key_value = tombstone_field(key, self._mod)
        place = position(revision, len(self.events))
        record = build(TOMBSTONE, place, old, 0, 0, 0, key_value)
        effects[REVISION + place] = record
        effects[CURRENT + key] = None
        effects[DEAD + key] = record
        lease = lease_of(old)
        if lease:
            effects.update(lease_moved(key, lease, 0))
        if self._tombstone_revision != revision:
            self._tombstone_revision = revision
            effects[TOMBSTONE_REVISION] = number(revision)
        self.events.append(Event(revision, len(self.events), key, True, key_value, record, old))

    def delete_interval(self, keys: Interval) -> list[history.Version]:
        """Delete every key of an interval, in key order; returns what they were."""
        found = list(history.current(self, *keys))
        for key, old in found:
            self.delete(key[1:], old)
        return found

    def adopt_into(self, keyspace: Keyspace) -> list[Operation]:
        """Make the keyspace's numbers those after the change; returns what is to be staged."""
        keyspace.revision = self.now
        keyspace.tombstone_revision = self._tombstone_revision
        return list(self.effects.items())

    def _dead(self, key: bytes) -> bytes | None:
        """The tombstone that a new life of `key` follows, as long as a reader could ask for it.

        A tombstone below the compact revision does not count, whether physical compaction has come
        by or not: what is written must not depend on that, because its pace differs by member.
        Most stores have none above it, and then a new key costs no search.
        """
        if self._tombstone_revision < self._compact_revision or not self._tombstone_revision:
            return None
        corpse = self.get(DEAD + key)
        if corpse is None or main_of(corpse) < self._compact_revision:
            return None
        self.effects[DEAD + key] = None
        return corpse


def _merged(
    below: Iterator[tuple[bytes, bytes]], above: dict[bytes, bytes | None], reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    """Records of a view in order, with those of a change laid over them."""
    rest = sorted(above.items(), reverse=not reverse)  # a stack: the next key is at its end
    for key, value in below:
        while rest and (rest[-1][0] > key if reverse else rest[-1][0] < key):
            yield from _live(*rest.pop())
        if rest and rest[-1][0] == key:
            yield from _live(*rest.pop())
        else:
            yield key, value
    while rest:
        yield from _live(*rest.pop())


def _live(key: bytes, value: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    if value is not None:
        yield key, value
