"""Batches, stores and waiting, as the tests of `store/` need them."""

import select
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from store.boot import Store, open_store
from store.config import KIB, StoreConfig
from store.directory import DataDirectory
from store.engine import Operation
from store.log import Batch, HardState, LogEntry, Position
from store.writer import Writer

CLUSTER = 0xC1
MEMBER = 0xA1
CONF = b"first membership"
DEADLINE_SECONDS = 30.0

SMALL = StoreConfig(
    write_buffer_bytes=64 * KIB,
    group_bytes_max=64 * KIB,
    table_bytes=64 * KIB,
    block_cache_bytes=64 * KIB,
    compact_idle_seconds=0.01,
)
"""Buffers so small that a few hundred records make tables and several log files."""


def entries(lo: int, hi: int, term: int = 1, size: int = 20) -> list[LogEntry]:
    """Entries `[lo, hi)` whose data tells their place."""
    return [LogEntry(term, index, 0, data_of(index, term, size)) for index in range(lo, hi)]


def data_of(index: int, term: int, size: int = 20) -> bytes:
    return (b"%d/%d " % (index, term)) * (size // 4 + 1)


def appended(lo: int, hi: int, term: int = 1, effects: Sequence[Operation] = ()) -> Batch:
    """Entries `[lo, hi)`, committed and applied at once."""
    return Batch(
        entries=entries(lo, hi, term),
        hard_state=HardState(term, MEMBER, hi - 1),
        applied=Position(hi - 1, term),
        effects=effects,
    )


def open_at(path: Path, *, first: bool = True, config: StoreConfig = SMALL) -> Store:
    conf = CONF if first else None
    return open_store(DataDirectory(path), CLUSTER, MEMBER, config, first_conf=conf)


def wait_durable(writer: Writer, write_seq: int) -> None:
    """Return when the batch is on disk; an error after the deadline, never a verdict by time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while writer.take_durable() < write_seq:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"batch {write_seq} did not become durable")
        select.select([writer.fileno()], [], [], left)


class HasWriter(Protocol):
    writer: Writer


def write_and_wait(store: Store | HasWriter, batch: Batch) -> None:
    wait_durable(store.writer, store.writer.submit(batch))


def put_state(store: Store, lo: int, hi: int, value_bytes: int = 100) -> dict[bytes, bytes]:
    """Append entries `[lo, hi)`, each with one state record as its effect; returns the records."""
    records = {b"key %06d" % index: state_value(index, value_bytes) for index in range(lo, hi)}
    for index in range(lo, hi):
        key = b"key %06d" % index
        store.view.stage([(key, records[key])])
        effects = store.view.seal(store.writer.next_seq)
        seq = store.writer.submit(appended(index, index + 1, effects=effects))
        if index % 50 == 0 or index == hi - 1:
            wait_durable(store.writer, seq)
            store.view.retire(seq)
    return records


def state_value(index: int, size: int = 100) -> bytes:
    return (b"%d." % index) * (size // 3 + 1)
