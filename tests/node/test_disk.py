"""What was handed to the disk is what the core reads back: from the cache, the queue, the log."""

from __future__ import annotations

from random import Random

import pytest

from node import disk as disk_module
from node.disk import Disk, encode_conf
from node.errors import InvariantViolated
from node.raft.errors import Compacted, Unavailable
from node.raft.message import (
    AppendReply,
    ConfState,
    Entry,
    HardState,
    Message,
    SnapshotMeta,
    entries_bytes,
)
from node.raft.ready import PersistToken, Ready
from store.boot import MemoryStore, open_memory_store
from store.config import StoreConfig
from store.installer import Installer
from store.memory import MemoryEngine
from store.record import Position

CONF = ConfState(voters=(1, 2, 3))
OTHER_CONF = ConfState(voters=(1, 2), learners=(4,))
ALL = 1 << 40


class Member:
    """A disk in memory, its writer, and Readys made by hand."""

    def __init__(self, config: StoreConfig | None = None) -> None:
        self.config = config or StoreConfig()
        self.engine = MemoryEngine()
        self.token = 0
        self.open()

    def open(self) -> None:
        """Open the disk; again = what a restart after a kill finds."""
        self.store: MemoryStore = open_memory_store(
            self.engine, 1, 1, self.config, first_conf=encode_conf(CONF)
        )
        store = self.store
        self.disk = Disk(store.image, store.log, store.writer, store.view, store.engine)

    def write(
        self,
        entries: list[Entry],
        hard: HardState | None = None,
        messages: list[Message] | None = None,
    ) -> PersistToken:
        self.token += 1
        last = entries[-1] if entries else Entry(0, 0, 0, b"")
        token = PersistToken(self.token, last.term, last.index, last.term)
        self.disk.write(
            Ready(
                hard_state=hard,
                entries=entries,
                messages_after_append=messages or [],
                token=token,
            )
        )
        return token

    def append(self, lo: int, hi: int, term: int = 1, commit: int = 0) -> None:
        """Entries [lo, hi), with the commit index."""
        self.write(entries(lo, hi, term), HardState(term, 1, commit))

    def apply(self, index: int, term: int = 1) -> None:
        """The effects of the entries up to `index` become visible."""
        self.store.view.stage([(b"applied", b"%d" % index)])
        self.disk.applied_to(index, term, b"%d" % index)

    def install(self, position: Position, conf: ConfState = CONF) -> None:
        installer = Installer(self.store.engine, self.store.writer)
        installer.add([(b"applied", b"%d" % position.index)])
        self.token += 1
        token = PersistToken(self.token, position.term, position.index, position.term)
        self.disk.write(
            Ready(
                hard_state=HardState(position.term, 0, position.index),
                snapshot=SnapshotMeta(position.index, position.term, conf),
                token=token,
            ),
            installer,
        )

    def sync(self, batches: int | None = None) -> list[PersistToken]:
        """Complete writes; the tokens that came back."""
        self.store.writer.step(batches)
        return [write.token for write in self.disk.take_durable() if write.token is not None]


def entries(lo: int, hi: int, term: int = 1) -> list[Entry]:
    return [Entry(term, index, 0, b"%d.%d" % (term, index) * 5) for index in range(lo, hi)]


# Writing.


def test_write_comesBackInOrder_onceSynced() -> None:
    member = Member()
    reply = AppendReply(1, 2, 1, 2)
    first = member.write(entries(1, 3), HardState(1, 1, 0), [reply])
    second = member.write(entries(3, 4))
    before = member.disk.take_durable()

    member.store.writer.step(1)
    done = member.disk.take_durable()
    rest = member.sync()

    assert before == []
    assert [(write.token, write.messages) for write in done] == [(first, [reply])]
    assert rest == [second]
    assert not member.disk.busy


def test_unsynced_isGoneAfterARestart() -> None:
    member = Member()
    member.append(1, 4)
    member.sync()
    member.append(4, 6)

    member.open()

    assert member.disk.last_index() == 3
    assert member.disk.entries(1, 4, ALL) == entries(1, 4)


def test_hardState_withoutToken_ridesWithTheNextWrite() -> None:
    member = Member()
    member.append(1, 4)
    member.disk.write(Ready(hard_state=HardState(1, 1, 3)))
    queued = member.disk.queue_depth()
    member.write([])
    member.sync()

    member.open()

    assert queued == 1
    assert member.disk.initial_state()[0] == HardState(1, 1, 3)


def test_effects_rideWithTheNextWrite_andShowTheCommit() -> None:
    member = Member()
    member.append(1, 4)
    member.disk.write(Ready(hard_state=HardState(1, 1, 3)))
    member.apply(3)
    member.append(4, 5, commit=3)
    member.sync()

    member.open()

    assert member.disk.applied == Position(3, 1)
    assert member.store.view.get(b"applied") == b"3"
    assert member.disk.initial_state()[0].commit == 3


def test_effects_alone_waitForAFlush() -> None:
    member = Member()
    member.append(1, 4, commit=3)
    member.sync()
    member.apply(3)
    queued = member.disk.queue_depth()

    flushed = member.disk.flush_effects()
    again = member.disk.flush_effects()
    member.sync()

    assert queued == 0
    assert flushed
    assert not again
    assert member.disk.durable_applied == Position(3, 1)


def test_conf_goesToDiskWithItsAppliedIndex() -> None:
    member = Member()
    member.append(1, 4, commit=3)
    member.disk.conf_changed(OTHER_CONF)
    member.apply(2)
    member.disk.flush_effects()
    member.sync()
    snapshot = member.disk.snapshot()

    member.open()

    assert snapshot == SnapshotMeta(2, 1, OTHER_CONF)
    assert member.disk.initial_state()[1] == OTHER_CONF


def test_snapshot_isOfTheDurableState() -> None:
    member = Member()
    member.append(1, 4, commit=3)
    member.sync()
    member.apply(3)
    before = member.disk.snapshot()

    member.disk.flush_effects()
    queued = member.disk.snapshot()
    member.sync()

    assert before == queued == SnapshotMeta(0, 0, CONF)
    assert member.disk.snapshot() == SnapshotMeta(3, 1, CONF)


def test_fullQueue_showsAsNoRoom() -> None:
    member = Member(StoreConfig(queue_batches_max=2))
    member.append(1, 2)
    before = member.disk.has_room()
    member.append(2, 3)
    full = member.disk.has_room()
    member.sync()

    assert before
    assert not full
    assert member.disk.has_room()


# Reading.


def test_entries_beyondTheEnd_areUnavailable() -> None:
    member = Member()
    member.append(1, 4)

    with pytest.raises(Unavailable):
        member.disk.entries(3, 5, ALL)
    with pytest.raises(Unavailable):
        member.disk.term(4)


def test_entries_areCutAtBytes_butNeverEmpty() -> None:
    member = Member()
    member.append(1, 10)
    two = entries_bytes(entries(1, 3))

    assert member.disk.entries(1, 10, 1) == entries(1, 2)
    assert member.disk.entries(1, 10, two) == entries(1, 3)


def test_replacedEntries_areNotReadAnyMore() -> None:
    member = Member()
    member.append(1, 6)
    member.sync()
    member.append(4, 5, term=2)

    assert member.disk.last_index() == 4
    assert member.disk.term(4) == 2
    assert member.disk.entries(3, 5, ALL) == entries(3, 4) + entries(4, 5, 2)
    member.sync()
    member.open()
    assert member.disk.entries(3, 5, ALL) == entries(3, 4) + entries(4, 5, 2)


def test_hole_isABug() -> None:
    member = Member()
    member.append(1, 3)

    with pytest.raises(InvariantViolated):
        member.append(4, 5)


def test_cache_isBounded_byWhatIsDurablyApplied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_module, "CACHE_BYTES_MAX", 400)
    member = Member()
    for lo in range(1, 100, 3):
        member.append(lo, lo + 3, commit=lo)
        member.sync()
        member.apply(lo)
        member.disk.flush_effects()
        member.sync()

    assert member.disk._cache_bytes <= 400
    assert member.disk.entries(1, 50, ALL) == entries(1, 50)


# Compaction.


def test_compacted_isGone_itsBoundaryIsNot() -> None:
    member = Member()
    member.append(1, 9, commit=8)
    member.apply(8)
    member.disk.flush_effects()
    member.sync()

    member.disk.compact(5)

    assert member.disk.first_index() == 6
    assert member.disk.term(5) == 1
    assert member.disk.entries(6, 9, ALL) == entries(6, 9)
    with pytest.raises(Compacted):
        member.disk.entries(5, 9, ALL)
    with pytest.raises(Compacted):
        member.disk.term(4)


def test_compact_ofWhatIsNotDurablyApplied_isABug() -> None:
    member = Member()
    member.append(1, 9, commit=8)
    member.apply(8)

    with pytest.raises(InvariantViolated):
        member.disk.compact(5)


def test_compact_twice_isNothing() -> None:
    member = Member()
    member.append(1, 9, commit=8)
    member.apply(8)
    member.disk.flush_effects()
    member.sync()
    member.disk.compact(5)
    sequence = member.store.writer.next_seq

    member.disk.compact(5)
    member.disk.compact(3)

    assert member.store.writer.next_seq == sequence


# Installing.


def test_install_replacesEverything_onceDurable() -> None:
    member = Member()
    member.append(1, 9, commit=8)
    member.apply(8)
    assert member.disk.make_way_for_install()
    member.install(Position(20, 3), OTHER_CONF)
    installing = member.disk.installing
    old = member.store.view.get(b"applied")

    member.sync()

    assert installing
    assert old == b"8"
    assert not member.disk.installing
    assert member.store.view.get(b"applied") == b"20"
    assert (member.disk.first_index(), member.disk.last_index()) == (21, 20)
    assert member.disk.term(20) == 3
    assert member.disk.durable_applied == Position(20, 3)
    assert member.disk.snapshot() == SnapshotMeta(20, 3, OTHER_CONF)


def test_install_killedBeforeItIsDurable_neverHappened() -> None:
    member = Member()
    member.append(1, 9, commit=8)
    member.apply(8)
    member.disk.make_way_for_install()
    member.install(Position(20, 3))
    member.sync(2)

    member.open()

    assert member.disk.applied == Position(8, 1)
    assert member.store.view.get(b"applied") == b"8"
    assert member.disk.entries(1, 9, ALL) == entries(1, 9)


def test_install_withEffectsOnTop_isABug() -> None:
    member = Member()
    member.append(1, 9, commit=8)
    member.apply(8)

    with pytest.raises(InvariantViolated):
        member.install(Position(20, 3))


def test_install_makesWayOnlyWithRoom() -> None:
    member = Member(StoreConfig(queue_batches_max=2))
    member.append(1, 9, commit=8)
    member.apply(8)

    first = member.disk.make_way_for_install()
    member.sync()

    assert not first
    assert member.disk.make_way_for_install()


def test_entriesAfterAnInstall_continueIt() -> None:
    member = Member()
    member.append(1, 4)
    member.install(Position(20, 3))
    member.append(21, 23, term=3, commit=20)
    member.sync()

    member.open()

    assert member.disk.entries(21, 23, ALL) == entries(21, 23, 3)
    assert member.disk.applied == Position(20, 3)


# Against a plain list.


class Model:
    """A member whose log is also a dict; `history` is what it was at each write."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.member = Member(StoreConfig(tail_bytes_max=100, sweep_records=2))
        self.log: dict[int, Entry] = {}
        self.boundary = Position(0, 0)
        self.term = 1
        self.commit = 0
        self.history: list[tuple[dict[int, Entry], Position]] = [({}, Position(0, 0))]

    def run(self, steps: int) -> None:
        names = ["append"] * 6 + ["sync"] * 3 + ["apply"] * 2 + ["flush", "compact", "kill"]
        for name in self.chance.choices(names, k=steps):
            getattr(self, f"_{name}")()
            self._check()

    @property
    def last(self) -> int:
        return max(self.log, default=self.boundary.index)

    def _queued(self) -> None:
        self.history.append((dict(self.log), self.boundary))

    def _append(self) -> None:
        """After the end, or in the place of what is not committed."""
        replaced = self.chance.randrange(self.last - self.commit + 1)
        back = self.chance.choice([0, 0, replaced])
        self.term += back > 0 or self.chance.random() < 0.1
        lo = self.last + 1 - back
        new = entries(lo, lo + self.chance.randrange(1, 12), self.term)
        self.member.write(new, HardState(self.term, 0, self.commit))
        self.log = {index: entry for index, entry in self.log.items() if index < lo}
        self.log.update((entry.index, entry) for entry in new)
        self._queued()

    def _sync(self) -> None:
        self.member.sync(self.chance.randrange(1, 4))
        if self.chance.random() < 0.3:
            self.member.store.writer.tidy()

    def _apply(self) -> None:
        """Some of what is on the own disk."""
        stable = max(self.history[-1 - self.member.disk.queue_depth()][0], default=0)
        same = [at for at, entry in self.log.items() if self._stable(at) == entry and at <= stable]
        if same and max(same) > self.commit:
            self.commit = self.chance.randrange(self.commit, max(same)) + 1
            self.member.disk.write(Ready(hard_state=HardState(self.term, 0, self.commit)))
            self.member.apply(self.commit, self.log[self.commit].term)

    def _stable(self, index: int) -> Entry | None:
        return self.history[-1 - self.member.disk.queue_depth()][0].get(index)

    def _flush(self) -> None:
        if self.member.disk.flush_effects():
            self._queued()

    def _compact(self) -> None:
        durable = self.member.disk.durable_applied.index
        if durable > self.boundary.index:
            index = self.chance.randrange(self.boundary.index, durable) + 1
            self.boundary = Position(index, self.log[index].term)
            self.log = {at: entry for at, entry in self.log.items() if at > index}
            self.member.disk.compact(index)
            self._queued()

    def _kill(self) -> None:
        """The queue is lost; what was synced is there, and nothing else."""
        del self.history[len(self.history) - self.member.disk.queue_depth() :]
        self.member.open()
        log, self.boundary = self.history[-1]
        self.log = dict(log)
        hard = self.member.disk.initial_state()[0]
        self.term, self.commit = max(hard.term, 1), hard.commit
        if self.commit > self.member.disk.applied.index:
            self.member.apply(self.commit, self.member.disk.term(self.commit))

    def _check(self) -> None:
        disk = self.member.disk
        assert disk.first_index() == self.boundary.index + 1
        assert disk.last_index() == self.last
        assert disk.term(self.boundary.index) == self.boundary.term
        assert all(disk.term(index) == entry.term for index, entry in self.log.items())
        lo = self.boundary.index + 1
        found: list[Entry] = []
        while lo <= self.last:
            found += disk.entries(lo, self.last + 1, 150)
            lo = found[-1].index + 1
        assert found == [self.log[index] for index in sorted(self.log)]
        assert disk._cache_bytes == entries_bytes(disk._cache)


def test_disk_readsAsAPlainList(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_module, "CACHE_BYTES_MAX", 400)
    for seed in range(150):
        try:
            Model(seed).run(40)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def test_digest_isStoredWithTheAppliedIndex_andSurvivesARestart() -> None:
    member = Member()
    member.append(1, 4, commit=3)
    member.sync()
    member.apply(3)
    member.disk.flush_effects()
    member.sync()

    member.open()

    assert member.disk.digest == b"3"
