"""The writer thread: groups, wake-ups, bounds, and the end of the process on any failure."""

import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from store import record
from store.boot import first_records, open_memory_store
from store.commit import Committer, Intake
from store.config import StoreConfig
from store.engine import Operation
from store.errors import InvariantViolated
from store.log import Batch, DurableLog, Position
from store.memory import MemoryEngine
from store.record import Floor, Meta
from store.sweep import Sweep
from store.writer import Writer
from tests.support.store_parts import (
    CLUSTER,
    CONF,
    DEADLINE_SECONDS,
    MEMBER,
    appended,
    entries,
    open_at,
    put_state,
    wait_durable,
    write_and_wait,
)


class Disk:
    """A memory engine whose writes can be held up, and what became of the writer."""

    def __init__(self, config: StoreConfig) -> None:
        self.engine = MemoryEngine()
        self.engine.write(first_records(Meta(bytes(16), CLUSTER, MEMBER), CONF))
        image = DurableLog(self.engine).load(0)
        self.writes: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.death: BaseException | None = None
        self.engine.before_write = self._before
        sweep = Sweep(self.engine, Floor(image.boundary, image.swept), image.generation, config)
        self.writer = Writer(
            Committer(self.engine, self.engine.create_mark(MEMBER), image, sweep),
            Intake(image, config),
            config,
            self._die,
        )

    def hold(self) -> None:
        self.open.clear()
        self.entered.clear()

    def _before(self, operations: Sequence[Operation]) -> None:
        self.entered.set()
        assert self.open.wait(DEADLINE_SECONDS)
        self.writes.append(len(operations))

    def _die(self, error: BaseException) -> None:
        self.death = error


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk(StoreConfig(queue_batches_max=200, compact_idle_seconds=0.01))
    yield made
    made.open.set()
    made.writer.close()


def test_batches_that_wait_share_one_write(disk: Disk) -> None:
    disk.hold()
    disk.writer.submit(appended(1, 2))
    assert disk.entered.wait(DEADLINE_SECONDS)
    for index in range(2, 100):
        last = disk.writer.submit(appended(index, index + 1))
    assert disk.writer.depth()[0] == 99
    assert disk.writer.oldest_wait() > 0
    disk.open.set()
    wait_durable(disk.writer, last)

    assert len(disk.writes) == 2
    assert DurableLog(disk.engine).load(0).last == Position(99, 1)
    assert disk.writer.depth() == (0, 0)
    assert disk.writer.sync_figures().count == 2


def test_batch_waits_also_while_the_writer_sweeps(disk: Disk) -> None:
    """A disk that hangs in what nobody waits for keeps batches waiting all the same."""
    sweeps = threading.Event()

    def hold_sweeps(operations: Sequence[Operation]) -> None:
        if record.HEAD not in dict(operations):
            sweeps.set()
            assert disk.open.wait(DEADLINE_SECONDS)

    write_and_wait(disk, appended(1, 10))
    assert disk.writer.oldest_wait() == 0
    disk.open.clear()
    disk.engine.before_write = hold_sweeps
    write_and_wait(disk, Batch(compact_to=Position(5, 1)))
    assert sweeps.wait(DEADLINE_SECONDS)
    last = disk.writer.submit(appended(10, 11))

    assert disk.writer.oldest_wait() > 0
    disk.open.set()
    wait_durable(disk.writer, last)
    assert disk.writer.oldest_wait() == 0


def test_group_is_bounded_by_bytes() -> None:
    disk = Disk(StoreConfig(group_bytes_max=3000))
    disk.hold()
    disk.writer.submit(Batch())
    assert disk.entered.wait(DEADLINE_SECONDS)
    for index in range(1, 7):
        last = disk.writer.submit(Batch(entries=entries(index, index + 1, size=1500)))
    disk.open.set()
    wait_durable(disk.writer, last)
    disk.writer.close()

    assert len(disk.writes) == 3


def test_fileno_is_readable_only_while_there_is_news(disk: Disk) -> None:
    quiet = select.select([disk.writer.fileno()], [], [], 0)[0]
    number = disk.writer.submit(appended(1, 2))
    woken = select.select([disk.writer.fileno()], [], [], DEADLINE_SECONDS)[0]
    durable = disk.writer.take_durable()
    after = select.select([disk.writer.fileno()], [], [], 0)[0]

    assert (quiet, woken, after) == ([], [disk.writer.fileno()], [])
    assert durable == number


def test_nothing_is_durable_before_the_write_returned(disk: Disk) -> None:
    disk.hold()
    number = disk.writer.submit(appended(1, 2))
    assert disk.entered.wait(DEADLINE_SECONDS)
    during = disk.writer.take_durable()
    disk.open.set()
    wait_durable(disk.writer, number)

    assert during == number - 1


def test_close_writes_what_is_queued(disk: Disk) -> None:
    for index in range(1, 50):
        disk.writer.submit(appended(index, index + 1))
    disk.writer.close()
    disk.writer.close()

    assert DurableLog(disk.engine).load(0).last == Position(49, 1)
    with pytest.raises(InvariantViolated):
        disk.writer.submit(Batch())


def test_idle_writer_sweeps_below_the_floor(disk: Disk) -> None:
    lo, hi = record.entry_key(0), record.entry_key(101)
    swept = threading.Event()
    write_and_wait(disk, appended(1, 101))

    def look(_: object) -> None:
        if next(disk.engine.scan(lo, hi), None) is None:
            swept.set()

    disk.engine.after_write = look
    write_and_wait(disk, Batch(compact_to=Position(100, 1)))

    assert swept.wait(DEADLINE_SECONDS)
    assert DurableLog(disk.engine).load(0).swept == 101


def test_failed_write_ends_it_and_acknowledges_nothing(disk: Disk) -> None:
    def fail(_: object) -> None:
        raise OSError(28, "No space left on device")

    disk.engine.before_write = fail
    number = disk.writer.submit(appended(1, 2))
    disk.writer.close()

    assert isinstance(disk.death, OSError)
    assert disk.writer._intake.durable_seq < number


def test_stepped_and_threaded_writer_leave_the_same_records(disk: Disk) -> None:
    stepped = open_memory_store(MemoryEngine(), CLUSTER, MEMBER, StoreConfig(), first_conf=CONF)
    batches = [appended(1, 5), appended(5, 9, term=2, effects=[(b"s\x01k", b"v")])]
    for batch in batches:
        wait_durable(disk.writer, disk.writer.submit(batch))
        stepped.writer.submit(batch)
        stepped.writer.step()

    assert list(disk.engine.scan(b"", b"")) == list(stepped.engine.scan(b"", b""))


CHILD = """
import os, resource, sys
from pathlib import Path
from store.log import Batch
from tests.support.store_parts import appended, open_at, write_and_wait
store = open_at(Path(sys.argv[1]))
if sys.argv[2] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
if sys.argv[2] == "compact":
    store.engine.write([(b"s\\1key", b"v"), (b"s\\1key 0008", b"v")])
    store.engine.compact(b"", b"")
for index in range(store.image.last.index + 1, 100_000):
    if sys.argv[2] == "bug" and index == 5:
        store.mark.update(store.mark.figures.__class__(bytes(16), 1, 10**9, 0, 0, 0, 0))
    write_and_wait(store, appended(index, index + 1, effects=[(b"s\\1k%d" % index, b"x" * 300)]))
    os.write(1, b"%d\\n" % index)
"""


def run_child(path: Path, how: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(path), how], capture_output=True, text=True, timeout=60
    )


def test_full_disk_ends_the_process_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    child = run_child(tmp_path / "n1", "full")
    acknowledged = int(child.stdout.split()[-1])
    last_words = (tmp_path / "n1.fatal").read_text()
    store = open_at(tmp_path / "n1", first=False)

    assert child.returncode == 70
    assert "the disk refused a write" in last_words
    assert last_words.partition(" ")[2] in child.stderr
    assert acknowledged > 10
    assert store.image.last.index >= acknowledged
    assert store.view.get(b"k%d" % acknowledged) == b"x" * 300
    assert not (tmp_path / "n1.fatal").exists()
    store.close()


def test_broken_invariant_of_the_writer_ends_the_process(tmp_path: Path) -> None:
    child = run_child(tmp_path / "n1", "bug")

    assert child.returncode == 72
    assert child.stdout.split()[-1] == "4"
    assert "an invariant of the store is broken" in (tmp_path / "n1.fatal").read_text()


def test_compaction_that_meets_damage_quarantines(tmp_path: Path) -> None:
    """No read has met it yet: LevelDB's own thread does, and the next write is told."""
    store = open_at(tmp_path / "n1")
    put_state(store, 1, 800)
    store.engine.compact(b"", b"")
    store.close()
    middle = b"400.400."
    (table,) = (file for file in (tmp_path / "n1").glob("*.ldb") if middle in file.read_bytes())
    content = table.read_bytes()
    at = content.index(middle)
    table.write_bytes(content[:at] + b"\xff" + content[at + 1 :])

    child = run_child(tmp_path / "n1", "compact")

    assert child.returncode == 71, child.stderr
    text = "found damaged while writing: CorruptionError: Corruption: block checksum mismatch"
    assert text in (tmp_path / "n1.fatal").read_text()


def test_real_disk_from_batch_to_reopen(tmp_path: Path) -> None:
    store = open_at(tmp_path / "n1")
    write_and_wait(store, appended(1, 201, effects=[(b"s\x01k", b"v")]))
    figures = store.writer.sync_figures()
    store.close()
    again = open_at(tmp_path / "n1", first=False)

    assert figures.count == 1
    assert 0 < figures.p50_us <= figures.p99_us <= figures.max_us
    assert again.image.last == again.image.applied == Position(200, 1)
    assert again.view.get(b"k") == b"v"
    again.close()
