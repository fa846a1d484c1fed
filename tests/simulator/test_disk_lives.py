"""A store on a simulated disk through many lives and deaths.

One rule stands above all: whatever happened, either every acknowledged batch is there and nothing
but what was submitted, or the start refuses. A disk that lies about its syncs must break it, or the
rule would not be tested at all.
"""

from __future__ import annotations

from random import Random

import pytest

from store import record
from store.boot import MemoryStore, open_memory_store
from store.config import StoreConfig
from store.errors import DiskFailed, Quarantined
from store.installer import Installer
from store.log import Batch, HardState, LogEntry, Position
from tests.simulator.disk_fault import KINDS, STAGES, Fault, MachineDied
from tests.simulator.simulated_disk import SimulatedDisk

CONFIG = StoreConfig(sweep_records=3, tail_bytes_max=100_000)
Content = dict[bytes, bytes]


def opened(disk: SimulatedDisk) -> MemoryStore:
    return open_memory_store(disk, 0xC1, 0xA1, CONFIG, first_conf=b"conf")


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
            disk.lose(chance.randrange(1, 6), chance.choice([0, 0, 1, 2]))
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
    assert any("is missing" in text for text in broken), broken


def test_same_seed_same_run() -> None:
    def outcome() -> tuple[list[str], list[tuple[bytes, bytes]]]:
        ledger = Ledger(7)
        ledger.run(15)
        return ledger.marks, list(ledger.disk._values.items())

    first = outcome()

    assert first == outcome()
