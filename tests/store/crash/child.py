"""A process with a store in it, which does a script and says what it has acknowledged.

    python -m tests.store.crash.child DIRECTORY SEED STEPS REPORTS [POINT COUNT]

REPORTS is a file to which notes are written, one JSON document a line: `{"open": n}` after boot,
`{"ack": n}` for each acknowledgement that is passed on, `{"end": n}` after an orderly end. Where
the reports go to the shim, updates of the mark, which is a memory map, are noted too.

POINT COUNT: end by SIGKILL when this point (`points.POINTS`) is reached for the COUNTth time.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import islice
from pathlib import Path
from random import Random

from store.config import KIB, StoreConfig
from store.mark import Mark, MarkFigures
from tests.store.crash import points
from tests.store.crash.script import Performer, content_of, script
from tests.store.crash.trace import NOTES, note_map
from tests.support.store_parts import open_at, wait_durable

TINY = StoreConfig(
    write_buffer_bytes=64 * KIB,
    group_bytes_max=64 * KIB,
    table_bytes=64 * KIB,
    block_cache_bytes=64 * KIB,
    sweep_records=16,
    compact_after_records=10,
    compact_idle_seconds=0.0,
)
"""So small that a short script rotates logs, writes tables, sweeps and compacts."""


def main(path: Path, seed: int, steps: int, reports: Path) -> None:
    descriptor = os.open(reports, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def report(what: str, number: int) -> None:
        os.write(descriptor, json.dumps({what: number}).encode() + b"\n")

    if reports.name == NOTES:
        note_marks(reports.parent, descriptor)
    store = open_at(path, config=TINY)
    report("open", store.image.write_seq)
    performer = Performer(store)
    chance = Random(seed)
    number = store.image.write_seq
    for step, content in islice(script(seed, content_of(store)), steps):
        number = performer.submit(step)
        assert number == content.write_seq
        if chance.random() < 0.4 or step.install or step.discard:
            wait_durable(store.writer, number)
            report("ack", store.writer.take_durable())
    store.writer.close()
    committer = store.writer._committer
    while committer.tidy() or committer.compact():  # as its thread does when it has nothing to do
        pass
    store.close()
    report("end", number)


def note_marks(root: Path, descriptor: int) -> None:
    """Tell the shim what a map does to a file."""
    open_mark, update = Mark.__init__, Mark.update
    names: dict[int, str] = {}

    def opened(self: Mark, path: Path) -> None:
        open_mark(self, path)
        names[id(self)] = str(path.relative_to(root))

    def updated(self: Mark, figures: MarkFigures) -> None:
        update(self, figures)
        whole = bytes(self._slots)
        os.write(descriptor, note_map(names[id(self)], 0, whole) + b"\n")

    Mark.__init__ = opened  # type: ignore[method-assign]
    Mark.update = updated  # type: ignore[method-assign]


if __name__ == "__main__":
    if len(sys.argv) > 5:
        points.arm(sys.argv[5], int(sys.argv[6]))
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
