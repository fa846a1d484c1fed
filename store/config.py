"""Every knob of the store, with the relations between them.

Sizes are per member: a host runs several, so that the sum is what counts. Memory of one member is
about two write buffers (one filling, one being flushed) plus the block cache.
"""

from dataclasses import dataclass

from store.errors import check

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Bounds and sizes of engine and writer. All bytes unless the name says otherwise."""

    write_buffer_bytes: int = 16 * MIB
    """LevelDB's memtable; also the size of one write-ahead log, so what a restart replays."""
    block_cache_bytes: int = 16 * MIB
    block_bytes: int = 2 * KIB
    """What one get reads and verifies: gets cost a quarter less than with 4 KiB, scans the same."""
    table_bytes: int = 8 * MIB
    """Larger tables than LevelDB's 2 MiB: fewer files to keep open and to sync per compaction."""
    files_open_max: int = 1_000
    """Tables that stay open, 8 GB of them: so many LevelDB maps, and needs no descriptors for."""
    bloom_bits_per_key: int = 10
    """About 1 % false positives: a get of an absent key, common in put, mostly skips the disk."""
    queue_batches_max: int = 1024
    queue_bytes_max: int = 64 * MIB
    group_bytes_max: int = 4 * MIB
    """Upper bound of one group commit, so that a backlog does not turn into one long sync."""
    tail_bytes_max: int = 8 * MIB
    """Newest log entries that boot keeps in memory, because it reads them anyway."""
    sweep_records: int = 512
    """Records deleted per idle step of the writer; a batch that arrives waits for one step."""
    compact_after_records: int = 50_000
    """Swept records after which the idle writer has LevelDB drop their tombstones."""
    compact_idle_seconds: float = 1.0

    def __post_init__(self) -> None:
        check(self.group_bytes_max <= self.queue_bytes_max, "a group must fit into the queue")
        check(self.group_bytes_max <= self.write_buffer_bytes, "a group must fit a write buffer")
        check(self.queue_batches_max > 0, "a queue without room takes nothing")
        check(self.sweep_records > 0, "a sweep of no records never ends")
