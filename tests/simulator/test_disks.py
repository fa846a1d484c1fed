"""The simulated disks by themselves: what a start finds after every kind of death."""

from __future__ import annotations

from random import Random

import pytest

from store import record
from store.boot import MemoryStore, open_memory_store
from store.config import StoreConfig
from store.errors import DiskFailed, Quarantined
from store.installer import Installer
from store.log import Batch, HardState, LogEntry, Position
from store.mark import MemoryMark
from tests.simulator.disk_fault import Fault, MachineDied, WriteFailed
from tests.simulator.simulated_disk import SimulatedDisk

CONFIG = StoreConfig(sweep_records=3, tail_bytes_max=100_000)


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
    assert disk.lose(2)
    disk.power_loss()
    with pytest.raises(Quarantined, match="the disk lost its tail"):
        opened(disk)

    other = SimulatedDisk(Random(0))
    store = written(other, 5)
    other.faults.append(Fault("before_mark"))
    store.writer.submit(appended(6))
    with pytest.raises(MachineDied):
        store.writer.step()
    assert other.lose(1)
    assert opened(other).image.last.index == 5


def test_hole_in_the_writes_is_refused() -> None:
    """One of two write-ahead logs is gone: the newest head does not tell."""
    for lost in range(1, 5):
        for kept in range(1, 5):
            disk = SimulatedDisk(Random(0))
            written(disk, 10)
            before = dict(disk.scan(b"", b""))
            assert disk.lose(lost + kept, kept)
            after = dict(disk.scan(b"", b""))
            assert after[record.HEAD] == before[record.HEAD]
            with pytest.raises(Quarantined, match="is missing"):
                opened(disk)


def test_hole_that_nobody_could_notice_is_not_made() -> None:
    disk = SimulatedDisk(Random(0))
    store = written(disk, 10)
    store.engine.write([(b"x", b"")])
    before = dict(disk.scan(b"", b""))
    assert disk.mark_slots is not None
    disk.mark_slots[:] = MemoryMark.blank(store.mark.figures.uuid, 0xA1)

    assert not disk.lose(3, 1)
    assert dict(disk.scan(b"", b"")) == before


def test_database_that_is_lost_as_a_whole_is_refused() -> None:
    disk = SimulatedDisk(Random(0))
    written(disk, 3)
    assert disk.lose(100)
    with pytest.raises(Quarantined, match="the database is gone"):
        opened(disk)


def test_tail_is_not_lost_where_nobody_could_notice() -> None:
    done = 0
    for seed in range(30):
        disk = SimulatedDisk(Random(seed))
        written(disk, 9)
        disk.power_loss()
        if disk.lose(3):
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
