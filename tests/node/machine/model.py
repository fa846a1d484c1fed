"""The keyspace written naively: the whole state of every revision. Slow and obvious."""

from __future__ import annotations

from dataclasses import dataclass, field

from node.proto import kv


@dataclass(frozen=True)
class Pair:
    """One key's value at one revision."""

    value: bytes
    create: int
    mod: int
    version: int
    lease: int = 0

    def message(self, key: bytes) -> kv.KeyValue:
        return kv.KeyValue(
            key=key,
            value=self.value,
            create_revision=self.create,
            mod_revision=self.mod,
            version=self.version,
            lease=self.lease,
        )


@dataclass
class Model:
    """`states[r]` is the whole store at revision r; `events[r]` what r did: (key, new or None)."""

    states: dict[int, dict[bytes, Pair]] = field(default_factory=lambda: {1: {}})
    events: dict[int, list[tuple[bytes, Pair | None]]] = field(default_factory=dict)
    revision: int = 1

    def put(self, key: bytes, value: bytes) -> None:
        old = self.states[self.revision].get(key)
        self.revision += 1
        create, version = (old.create, old.version + 1) if old else (self.revision, 1)
        pair = Pair(value, create, self.revision, version)
        self.states[self.revision] = {**self.states[self.revision - 1], key: pair}
        self.events[self.revision] = [(key, pair)]

    def delete(self, lo: bytes, hi: bytes) -> int:
        old = self.states[self.revision]
        gone = sorted(key for key in old if lo <= key < hi)
        if gone:
            self.revision += 1
            self.states[self.revision] = {k: pair for k, pair in old.items() if k not in gone}
            self.events[self.revision] = [(key, None) for key in gone]
        return len(gone)

    def pairs(self, lo: bytes, hi: bytes, revision: int) -> list[kv.KeyValue]:
        state = self.states[revision]
        return [state[key].message(key) for key in sorted(state) if lo <= key < hi]
