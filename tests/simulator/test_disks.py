"""The simulated disks by themselves: what a start finds after every kind of death.

One rule stands above all: whatever happened, either every acknowledged batch is there and nothing
but what was submitted, or the start refuses. A disk that lies about its syncs must break it, or the
rule would not be tested at all.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from store import record
from store.boot import MemoryStore, open_memory_store
from store.config import StoreConfig
from store.errors import DiskFailed, Quarantined
from store.installer import Installer
from store.log import Batch, HardState, LogEntry, Position
from tests.simulator.disk_fault import KINDS, STAGES, Fault, MachineDied, WriteFailed
from tests.simulator.simulated_disk import SimulatedDisk

CONFIG = StoreConfig(sweep_records=3, tail_bytes_max=100_000)
Content = dict[bytes, bytes]


def opened(disk: SimulatedDisk) -> MemoryStore:
    return open_memory_store(disk, 0xC1, 0xA1, CONFIG, first_conf=b"conf")


def appended(index: int) -> Batch:
    """One entry, committed and applied at once."""
    return Batch(
        entries=[LogEntry(1, index, 0, b"entry %d" % index)],
        hard_state=HardState(1, 0, index),
        applied=Position(index, 1),
        effects=[(record.state_prefix(1) + b"k%d" % (index % 5), b"%d" % index)],
    )


def written(disk: SimulatedDisk, count: int) -> MemoryStore:
    store = opened(disk)
    for index in range(1, count + 1):
        store.writer.submit(appended(index))
        store.writer.step()
    return store


# -- the ways in which a process can end ---------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "survives"),
    [
        ("before_write", (3, 3)),
        ("before_sync", (4, 3)),
        ("before_mark", (4, 4)),
        ("in_mark", (4, 4)),
        ("before_send", (4, 4)),
    ],
)
def test_crash_leaves_what_was_written_or_what_was_synced(
    stage: str, survives: tuple[int, int]
) -> None:
    assert survives[0] == last_after(stage, power=False)
    assert {last_after(stage, power=True, seed=seed) for seed in range(20)} == set(survives)


def last_after(stage: str, *, power: bool, seed: int = 0) -> int:
    """Index of the last entry that a start finds after three writes and a crash in the fourth."""
    hits: list[str] = []
    disk = SimulatedDisk(Random(seed), hits.append)
    store = written(disk, 3)
    disk.faults.append(Fault(stage, power=power))
    store.writer.submit(appended(4))
    with pytest.raises(MachineDied):
        store.writer.step()
    assert hits[0] == f"crash_{stage}"
    return opened(disk).image.last.index


def test_fault_waits_for_its_kind() -> None:
    hits: list[str] = []
    disk = SimulatedDisk(Random(0), hits.append)
    store = written(disk, 2)
    disk.faults.append(Fault("before_sync", "chunk"))
    store.writer.submit(appended(3))
    store.writer.step()
    Installer(store.engine, store.writer).add([(b"key", b"value")])
    with pytest.raises(MachineDied):
        store.writer.step()

    assert hits == ["crash_before_sync", "crash_in_snapshot_chunk"]


def test_write_that_was_read_back_is_synced_by_the_start() -> None:
    """A kill leaves an unsynced write, and opening the database makes it durable."""
    disk = SimulatedDisk(Random(0))
    store = written(disk, 3)
    disk.faults.append(Fault("before_sync"))
    store.writer.submit(appended(4))
    with pytest.raises(MachineDied):
        store.writer.step()
    opened(disk)
    disk.power_loss()

    assert opened(disk).image.last.index == 4


def test_mark_that_a_power_loss_has_set_back_refuses_nothing() -> None:
    known = set()
    for seed in range(30):
        disk = SimulatedDisk(Random(seed))
        written(disk, 9)
        disk.power_loss()
        known.add(disk.known)
        store = opened(disk)
        assert store.image.last.index == 9
        assert store.mark.figures.write_seq == store.image.write_seq

    assert 0 < min(known) < 5 < max(known) <= 10


def test_power_loss_after_the_first_start_does_not_start_anew() -> None:
    """The mark must not come back as it was before the database was there."""
    for seed in range(20):
        disk = SimulatedDisk(Random(seed))
        written(disk, 1)
        disk.power_loss()

        assert opened(disk).image.last.index == 1


def test_mark_that_a_first_start_could_not_sync_is_synced_by_the_next() -> None:
    for seed in range(20):
        disk = SimulatedDisk(Random(seed))
        disk.faults.append(Fault("before_send"))
        with pytest.raises(MachineDied):
            opened(disk)
        written(disk, 1)
        disk.power_loss()

        assert opened(disk).image.last.index == 1


def test_lost_tail_is_refused_unless_nothing_of_it_was_acknowledged() -> None:
    disk = SimulatedDisk(Random(0))
    written(disk, 5)
    assert disk.lose_tail(2)
    with pytest.raises(Quarantined, match="the disk lost its tail"):
        opened(disk)

    other = SimulatedDisk(Random(0))
    store = written(other, 5)
    other.faults.append(Fault("before_mark"))
    store.writer.submit(appended(6))
    with pytest.raises(MachineDied):
        store.writer.step()
    assert other.lose_tail(1)
    assert opened(other).image.last.index == 5


def test_database_that_is_lost_as_a_whole_is_refused() -> None:
    disk = SimulatedDisk(Random(0))
    written(disk, 3)
    assert disk.lose_tail(100)
    with pytest.raises(Quarantined, match="the database is gone"):
        opened(disk)


def test_tail_is_not_lost_where_nobody_could_notice() -> None:
    done = 0
    for seed in range(30):
        disk = SimulatedDisk(Random(seed))
        written(disk, 9)
        disk.power_loss()
        if disk.lose_tail(3):
            done += 1
            with pytest.raises(Quarantined):
                opened(disk)
        else:
            assert opened(disk).image.last.index == 9

    assert 0 < done < 30


def test_damaged_record_is_refused_or_never_read_as_something_else() -> None:
    refused = failed = harmless = 0
    for seed in range(200):
        disk = SimulatedDisk(Random(seed))
        store = written(disk, 9)
        store.writer.submit(Batch(compact_to=Position(6, 1)))
        store.writer.step()
        before = dict(store.view.scan(b"", b""))
        disk.damage()
        try:
            store = opened(disk)
            assert not disk.must_refuse
            assert store.image.last.index == 9
            assert dict(store.view.scan(b"", b"")) == before
            harmless += 1
        except Quarantined:
            assert disk.must_refuse or disk.found
            refused += 1
        except MachineDied:
            failed += 1

    assert min(refused, failed, harmless) > 5


def test_snapshot_of_a_damaged_record_fails_like_the_engine() -> None:
    disk = SimulatedDisk(Random(0))
    store = written(disk, 9)
    while not disk._unreadable:
        disk.damage()
    snapshot = store.view.read_snapshot()

    with pytest.raises(MachineDied, match="checksum"):
        snapshot.chunk(b"", 1_000)
    with pytest.raises(MachineDied, match="checksum"):
        list(disk.scan(b"", b""))


def test_overwritten_damage_is_gone() -> None:
    disk = SimulatedDisk(Random(0))
    store = written(disk, 9)
    disk._unreadable.add(record.state_prefix(1) + b"k0")
    store.writer.submit(appended(10))
    store.writer.step()

    assert store.view.get(b"k0") == b"10"


def test_damaged_mark_is_refused_or_falls_back_to_its_other_slot() -> None:
    for seed in range(50):
        disk = SimulatedDisk(Random(seed))
        written(disk, 9)
        disk.damage_mark()

        assert opened(disk).image.last.index == 9


@pytest.mark.parametrize("stage", ["before_write", "before_sync"])
def test_failed_write_lets_no_other_follow(stage: str) -> None:
    disk = SimulatedDisk(Random(0))
    store = written(disk, 3)
    disk.faults.append(Fault(stage, error="input/output error"))
    store.writer.submit(appended(4))
    with pytest.raises(WriteFailed):
        store.writer.step()
    with pytest.raises(AssertionError, match="a write after one that failed"):
        disk.write([(b"key", b"value")])

    assert opened(disk).image.last.index in (3, 4)


def test_full_disk_refuses_writes_and_starts_until_there_is_room() -> None:
    disk = SimulatedDisk(Random(0))
    store = written(disk, 3)
    disk.full = True
    store.writer.submit(appended(4))
    with pytest.raises(WriteFailed, match="no space"):
        store.writer.step()
    with pytest.raises(DiskFailed):
        opened(disk)
    disk.mend()

    assert opened(disk).image.last.index == 3


# -- whatever happens ----------------------------------------------------------------------------


class Ledger:
    """One disk under random deaths, and what was promised on it."""

    def __init__(self, seed: int, *, syncs: bool = True) -> None:
        self.chance = Random(seed)
        self.marks: list[str] = []
        self.disk = SimulatedDisk(Random(seed + 1), self.marks.append, syncs=syncs)
        self.submitted: list[Content] = []
        """The state after each batch, by its number; 0 and 1 are the empty ones."""
        self.acknowledged = 0
        self.store = self.start()

    def start(self) -> MemoryStore:
        """Start until it works; then everything that was promised is there, and nothing else."""
        while True:
            try:
                store = opened(self.disk)
                break
            except (MachineDied, DiskFailed):
                self.disk.mend()
        assert not self.disk.must_refuse
        found, image = store.image.write_seq, store.image
        assert found >= self.acknowledged, "an acknowledged batch is lost"
        self.submitted = self.submitted[: found + 1] or [{}, {}]
        assert dict(store.view.scan(b"", b"")) == self.submitted[found]
        assert store.log.load(1 << 20).tail == image.tail
        assert [entry.data for entry in image.tail] == [
            b"entry %d" % index for index in range(image.first_index, image.last.index + 1)
        ]
        self.generation = image.generation
        self.last = image.last.index
        self.boundary = image.boundary.index
        return store

    def live(self, steps: int) -> None:
        """Write until something ends the process, or for so many steps."""
        for _ in range(steps):
            try:
                self.submit()
                if self.chance.random() < 0.6:
                    self.store.writer.step(self.chance.choice([1, 2, None]))
                if self.chance.random() < 0.3:
                    self.store.writer.tidy()
            except MachineDied:
                return
            finally:
                durable = self.store.writer.take_durable()
                self.acknowledged = max(self.acknowledged, durable)

    def submit(self) -> None:
        state = dict(self.submitted[-1])
        what = self.chance.random()
        if what < 0.1 and self.last > self.boundary + 1:
            self.boundary = self.last - 1
            batch = Batch(compact_to=Position(self.boundary, 1))
        elif what < 0.2:
            self.install()
            return
        else:
            self.last += 1
            key, value = b"k%d" % (self.last % 5), b"%d" % self.last
            state[key] = value
            batch = Batch(
                entries=[LogEntry(1, self.last, 0, b"entry %d" % self.last)],
                hard_state=HardState(1, 0, self.last),
                applied=Position(self.last, 1),
                effects=[(record.state_prefix(self.generation) + key, value)],
            )
        self.store.writer.submit(batch)
        self.submitted.append(state)

    def install(self) -> None:
        """A snapshot of three chunks, or of some of them; its last batch is the switch."""
        installer = Installer(self.store.engine, self.store.writer)
        content = {b"installed %d" % number: b"%d" % self.last for number in range(3)}
        for record_ in content.items():
            installer.add([record_])
            self.submitted.append(self.submitted[-1])
        if self.chance.random() < 0.3:
            installer.abandon()
            self.submitted.append(self.submitted[-1])
            return
        self.last += 5
        self.boundary = self.last
        position = Position(self.last, 1)
        installer.finish(position, b"conf", HardState(1, 0, self.last))
        self.submitted.append(content)
        self.generation = installer.generation

    def die(self) -> bool:
        """One of the ways to end; False: the disk was damaged, and this is the end of it."""
        disk, chance = self.disk, self.chance
        disk.mend()
        if chance.random() < 0.3:
            disk.power_loss()
        if chance.random() < 0.1:
            disk.lose_tail(chance.randrange(1, 6))
        if disk.must_refuse:
            with pytest.raises(Quarantined):
                opened(disk)
            return False
        return True

    def arm(self) -> None:
        chance = self.chance
        self.disk.faults.append(
            Fault(
                chance.choice(STAGES),
                chance.choice(["any", *KINDS]),
                skip=chance.choice([0, 0, 1, 3]),
                power=chance.random() < 0.5,
                error="input/output error" if chance.random() < 0.1 else "",
            )
        )

    def run(self, lives: int) -> None:
        for _ in range(lives):
            if self.chance.random() < 0.8:
                self.arm()
            self.live(self.chance.randrange(1, 30))
            if not self.die():
                return
            self.store = self.start()


def test_whatever_happens_every_acknowledged_batch_is_there_or_the_start_refuses() -> None:
    marks: set[str] = set()
    quarantined = 0
    for seed in range(150):
        ledger = Ledger(seed)
        ledger.run(15)
        marks.update(ledger.marks)
        quarantined += bool(ledger.disk.must_refuse)

    assert quarantined > 10
    assert marks >= {f"crash_{stage}" for stage in STAGES}
    assert marks >= {"power_loss_kept_prefix", "power_loss_lost_all", "crash_in_snapshot_chunk"}
    assert marks >= {"crash_at_flip", "crash_in_sweep", "crash_at_compaction"}


def test_disk_that_lies_about_its_syncs_is_found_out() -> None:
    """An older tail is lost and newer writes are kept, and the mark may be as old as both."""
    broken: set[str] = set()
    for seed in range(60):
        try:
            Ledger(seed, syncs=False).run(15)
        except (AssertionError, Quarantined) as error:
            broken.add(str(error).partition("\n")[0])

    assert any("an acknowledged batch is lost" in text for text in broken)
    assert any("is missing from the log" in text or "must" in text for text in broken), broken


def test_same_seed_same_run() -> None:
    def outcome() -> tuple[list[str], list[tuple[bytes, bytes]]]:
        ledger = Ledger(7)
        ledger.run(15)
        return ledger.marks, list(ledger.disk._values.items())

    first: Callable[[], object] = outcome
    assert first() == outcome()
