"""Seeded histories of a store, and what it must hold after each of their batches.

A script is a pure function of a seed and of the content that it starts from; the store's numbering
of batches tells how many of its steps a disk has. `Content` is the naive model: dicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random

from store.boot import Store
from store.engine import Operation
from store.installer import Installer
from store.log import Batch, HardState, LogEntry, Position
from store.overlay import StateView
from store.record import state_prefix
from store.writer import BatchWriter
from tests.support.store_parts import CONF, MEMBER

RIVAL = 0xB2
KEYS = 60
SNAPSHOT = 40


@dataclass(frozen=True)
class Content:
    """All that a reader of a store can see."""

    write_seq: int = 1
    hard_state: HardState = field(default_factory=lambda: HardState(0, 0, 0))
    boundary: Position = field(default_factory=lambda: Position(0, 0))
    applied: Position = field(default_factory=lambda: Position(0, 0))
    conf: tuple[int, bytes] = (0, CONF)
    digest: bytes = b""
    entries: tuple[LogEntry, ...] = ()
    state: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def last(self) -> Position:
        if not self.entries:
            return self.boundary
        return Position(self.entries[-1].index, self.entries[-1].term)

    def position(self, index: int) -> Position:
        """The position of an entry that the log holds, or of its boundary."""
        if index == self.boundary.index:
            return self.boundary
        return Position(index, self.entries[index - self.boundary.index - 1].term)


@dataclass(frozen=True)
class Step:
    """One batch; `records` is a part of a snapshot, `install` its end, `discard` what it replaced.

    Keys of effects and records are bare: which generation they belong to is the store's choice.
    """

    batch: Batch
    effects: tuple[Operation, ...] = ()
    records: tuple[tuple[bytes, bytes], ...] | None = None
    install: tuple[Position, bytes, bytes] | None = None
    discard: bool = False


_WEIGHTS = ([30, 6, 4, 40, 8, 3, 2], [10, 2, 2, 10, 10, 20, 1], [40, 20, 10, 10, 2, 1, 5])
"""A follower that applies, one that is installed again and again, one between two leaders."""


def script(seed: int, content: Content) -> Iterator[tuple[Step, Content]]:
    """Endless steps, each with what the store holds after it."""
    chance = Random(seed)
    kinds = [_append, _replace, _term, _apply, _compact, _install, _barrier]
    weights = chance.choice(_WEIGHTS)
    while True:
        (kind,) = chance.choices(kinds, weights)
        for step in kind(chance, content):
            content = after(content, step)
            yield step, content


def after(content: Content, step: Step) -> Content:
    """What the store holds once the batch of this step is in it."""
    batch = step.batch
    new = replace(content, write_seq=content.write_seq + 1)
    if batch.hard_state is not None:
        new = replace(new, hard_state=batch.hard_state)
    if batch.entries:
        keep = batch.entries[0].index - new.boundary.index - 1
        added = tuple(LogEntry(e.term, e.index, e.kind, e.data) for e in batch.entries)
        new = replace(new, entries=new.entries[:keep] + added)
    if batch.applied is not None:
        state = dict(new.state)
        for key, value in step.effects:
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        conf = new.conf if batch.conf is None else (batch.applied.index, batch.conf)
        new = replace(new, applied=batch.applied, digest=batch.digest, state=state, conf=conf)
    if batch.compact_to is not None:
        drop = batch.compact_to.index - new.boundary.index
        new = replace(new, boundary=batch.compact_to, entries=new.entries[drop:])
    if step.install is not None:
        position, conf_bytes, digest = step.install
        new = replace(
            new,
            boundary=position,
            applied=position,
            entries=(),
            conf=(position.index, conf_bytes),
            digest=digest,
            state=dict(snapshot_records(position)),
        )
    return new


def snapshot_records(position: Position) -> list[tuple[bytes, bytes]]:
    """The state that a snapshot of this position brings."""
    value = b"%d/%d " % (position.index, position.term) * (12, 200, 900)[position.index % 3]
    return [(b"installed %04d" % number, value) for number in range(SNAPSHOT)]


def _append(chance: Random, content: Content) -> Iterator[Step]:
    count = chance.randint(1, 8)
    entries = _entries(chance, content, content.last.index + 1, count)
    first = HardState(1, 0, content.hard_state.commit) if content.hard_state.term == 0 else None
    yield Step(Batch(hard_state=first, entries=entries))


def _entries(chance: Random, content: Content, first: int, count: int) -> list[LogEntry]:
    term = max(1, content.hard_state.term)
    size = chance.choice([0, 20, 20, 200, 200, 3_000, 20_000])
    return [
        LogEntry(term, index, chance.randrange(3), b"%d.%d " % (index, term) * (size // 6))
        for index in range(first, first + count)
    ]


def _replace(chance: Random, content: Content) -> Iterator[Step]:
    """A new leader overwrites what was not committed."""
    commit, last = content.hard_state.commit, content.last.index
    hard_state = HardState(content.hard_state.term + 1, chance.choice([0, RIVAL]), commit)
    first = chance.randint(commit + 1, last + 1)
    count = chance.randint(1, 5)
    entries = _entries(chance, replace(content, hard_state=hard_state), first, count)
    yield Step(Batch(hard_state=hard_state, entries=entries))


def _term(chance: Random, content: Content) -> Iterator[Step]:
    hard = content.hard_state
    if hard.vote == 0 and chance.random() < 0.5:
        yield Step(Batch(hard_state=HardState(hard.term, RIVAL, hard.commit)))
    else:
        vote = chance.choice([0, MEMBER, RIVAL])
        yield Step(Batch(hard_state=HardState(hard.term + 1, vote, hard.commit)))


def _apply(chance: Random, content: Content) -> Iterator[Step]:
    hard = content.hard_state
    if content.last.index == content.applied.index or hard.term == 0:
        return
    commit = chance.randint(max(hard.commit, content.applied.index + 1), content.last.index)
    applied = content.position(chance.randint(content.applied.index + 1, commit))
    effects: list[Operation] = []
    for _ in range(chance.randint(0, 6)):
        key = b"key %03d" % chance.randrange(KEYS)
        value = b"%d " % applied.index * chance.choice([1, 20, 400])
        effects.append((key, None if chance.random() < 0.2 else value))
    effects.append((b"counter", b"%d" % applied.index))
    yield Step(
        Batch(
            hard_state=HardState(hard.term, hard.vote, commit),
            applied=applied,
            conf=b"conf of %d" % applied.index if chance.random() < 0.1 else None,
            digest=b"digest of %d" % applied.index,
        ),
        tuple(effects),
    )


def _compact(chance: Random, content: Content) -> Iterator[Step]:
    if content.applied.index > content.boundary.index:
        to = chance.randint(content.boundary.index + 1, content.applied.index)
        yield Step(Batch(compact_to=content.position(to)))


def _install(chance: Random, content: Content) -> Iterator[Step]:
    term = max(1, content.hard_state.term)
    hard = content.hard_state
    last = content.last.index
    index = chance.randint(hard.commit + 1, last + 20)
    position = Position(index, term)
    records = snapshot_records(position)
    for lo in range(0, len(records), 10):
        yield Step(Batch(), records=tuple(records[lo : lo + 10]))
    hard_state = HardState(term, hard.vote, index)
    digest = b"digest of %d" % index
    install = (position, b"conf of %d" % index, digest)
    yield Step(Batch(hard_state=hard_state), install=install)
    yield Step(Batch(), discard=True)


def _barrier(_: Random, __: Content) -> Iterator[Step]:
    yield Step(Batch())


class Performer:
    """Hands steps to a store's writer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._installer: Installer | None = None
        self._replaced: int | None = None

    def submit(self, step: Step) -> int:
        """Queue the batch of this step; returns its number."""
        writer: BatchWriter = self._store.writer
        if step.records is not None:
            if self._installer is None:
                self._installer = Installer(self._store.engine, writer)
            return self._installer.add(step.records)
        if step.install is not None:
            assert self._installer is not None
            assert step.batch.hard_state is not None
            self._replaced = writer.generation
            position, conf, digest = step.install
            self._installer.digest = digest
            number = self._installer.finish(position, conf, step.batch.hard_state)
            self._installer = None
            return number
        if step.discard:
            return writer.submit(Batch(discard=self._replaced))
        prefix = state_prefix(writer.generation)
        effects = [(prefix + key, value) for key, value in step.effects]
        return writer.submit(
            Batch(
                entries=step.batch.entries,
                hard_state=step.batch.hard_state,
                applied=step.batch.applied,
                effects=effects,
                conf=step.batch.conf,
                digest=step.batch.digest,
                compact_to=step.batch.compact_to,
            )
        )


def content_of(store: Store) -> Content:
    """All that this store holds, read from its disk."""
    image = store.image
    first, stop = image.boundary.index + 1, image.last.index + 1
    entries = store.log.entries(first, stop, 1 << 40) if first < stop else []
    return Content(
        write_seq=image.write_seq,
        hard_state=image.hard_state,
        boundary=image.boundary,
        applied=image.applied,
        conf=(image.conf_index, image.conf),
        digest=image.digest,
        entries=tuple(entries),
        state=dict(StateView(store.engine, image.generation).scan(b"", b"")),
    )
