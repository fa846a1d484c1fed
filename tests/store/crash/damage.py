"""Ways in which files of a store go bad, and what becomes of the store.

The disks come from a recorded child, so that they are what a kill at some moment leaves: with two
write-ahead logs, in the middle of a compaction, before the first write, and so on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from random import Random

import pytest

import store.boot
from store.boot import Store
from store.errors import Damaged, Quarantined
from store.leveldb import DAMAGE, LevelDBEngine
from store.overlay import StateView
from tests.store.crash.child import TINY
from tests.store.crash.script import KEYS, SNAPSHOT, Content, content_of
from tests.store.crash.trace import Call, Disk, Files, lay_out
from tests.store.crash.witness import HOME, History, acknowledged
from tests.support.store_parts import open_at

PAGE = 4096


class Outcome(Enum):
    REFUSED = "refused at the start"
    DETECTED = "detected when read"
    HARMLESS = "harmless"


@dataclass(frozen=True)
class Moment:
    """What a kill leaves, and what had been acknowledged by then."""

    files: Files
    acknowledged: int
    starts: dict[str, list[int]]
    """Where the single writes of each file began: records of LevelDB's logs begin there, too."""


def moments(calls: list[Call], chance: Random, count: int) -> list[Moment]:
    """Disks from all over a recording, in order; all of them after the first acknowledgement."""
    wanted = {chance.randrange(len(calls)) for _ in range(count)}
    disk = Disk({})
    starts: dict[str, list[int]] = {}
    found: list[Moment] = []
    for number, call in enumerate(calls):
        disk.play(call)
        if call.kind == "w":
            starts.setdefault(call.path, []).append(call.offset)
        if number in wanted and acknowledged(disk.notes) > 1:
            copied = {path: list(offsets) for path, offsets in starts.items()}
            found.append(Moment(disk.killed(), acknowledged(disk.notes), copied))
    return found


def kind_of(path: str) -> str:
    """The kind of a file of a store; empty for what is none of LevelDB's or ours."""
    name = PurePosixPath(path).name
    if name in ("CURRENT", "LOCK", "n1.mark", "n1.lock"):
        return name
    if name.startswith("MANIFEST-"):
        return "MANIFEST"
    return {".log": "log", ".ldb": "table"}.get(PurePosixPath(path).suffix, "")


Change = Callable[[bytes, Random, list[int]], bytes | None]
"""From a file's content, and where writes to it began, to what it holds once it has gone bad; None:
it is gone."""


def _zero(content: bytes, start: int, size: int) -> bytes:
    size = min(size, len(content) - start)
    return content[:start] + bytes(size) + content[start + size :]


def _flip(content: bytes, bits: Iterator[int]) -> bytes:
    changed = bytearray(content)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _flip_many(content: bytes, chance: Random, _: list[int]) -> bytes:
    rate = 10 ** chance.uniform(-5, -3)
    count = max(1, int(len(content) * 8 * rate))
    return _flip(content, (chance.randrange(len(content) * 8) for _ in range(count)))


def _garbage(content: bytes, chance: Random, _: list[int]) -> bytes:
    start = chance.randrange(len(content))
    size = min(512, len(content) - start)
    return content[:start] + chance.randbytes(size) + content[start + size :]


CHANGES: dict[str, Change] = {
    "deleted": lambda content, chance, starts: None,
    "emptied": lambda content, chance, starts: b"",
    "cut anywhere": lambda content, chance, starts: content[: chance.randrange(len(content))],
    "cut at a record": lambda content, chance, starts: content[: chance.choice(starts)],
    "cut at a page": lambda content, chance, starts: content[
        : chance.randrange(0, len(content), PAGE)
    ],
    "page zeroed": lambda content, chance, starts: _zero(
        content, chance.randrange(0, len(content), PAGE), PAGE
    ),
    "zeroed from a record": lambda content, chance, starts: _zero(
        content, chance.choice(starts), chance.choice([7, PAGE, 8 * PAGE])
    ),
    "zeroed to the end": lambda content, chance, starts: _zero(
        content, chance.choice(starts), len(content)
    ),
    "all zeroes": lambda content, chance, starts: bytes(len(content)),
    "one bit flipped": lambda content, chance, starts: _flip(
        content, iter([chance.randrange(len(content) * 8)])
    ),
    "bits flipped": _flip_many,
    "garbage": _garbage,
    "garbage at the end": lambda content, chance, starts: content + chance.randbytes(100),
}


_WEIGHTS = {"log": 8, "table": 8, "MANIFEST": 6, "n1.mark": 2}


def damaged(moment: Moment, older: Moment, chance: Random) -> tuple[str, Files] | None:
    """One file, or all that LevelDB has, gone bad; None where that made no difference."""
    files = dict(moment.files)
    paths = [path for path in files if kind_of(path)]
    kinds = sorted({kind_of(path) for path in paths})
    weights = [_WEIGHTS.get(kind, 1) for kind in kinds]
    (kind,) = chance.choices(kinds, weights)
    path = chance.choice([path for path in paths if kind_of(path) == kind])
    name = chance.choice([*CHANGES, "older", "another", "directory older"])
    if name == "directory older":
        kind = "directory"
        for path in [path for path in files if path.startswith(HOME + "/")]:
            del files[path]
        files |= {p: text for p, text in older.files.items() if p.startswith(HOME + "/")}
    elif name == "older":
        if path not in older.files:
            return None
        files[path] = older.files[path]
    elif name == "another":
        others = [other for other in (files | older.files) if kind_of(other) == kind]
        other = chance.choice(others)
        files[path] = files.get(other, older.files.get(other))
    else:
        content = files[path] or b""
        if not content and name != "deleted":
            return None
        changed = CHANGES[name](content, chance, moment.starts.get(path, [0]))
        if changed is None:
            del files[path]
        else:
            files[path] = changed
    return None if files == moment.files else (f"{kind} {name}", files)


_ASKED = [b"key %03d" % number for number in range(KEYS)] + [
    b"installed %04d" % number for number in range(SNAPSHOT)
]
_FAILURES: tuple[type[Exception], ...] = (Damaged, *LevelDBEngine.failures)


def outcome(
    root: Path, files: Files, history: History, acknowledged: int, patch: pytest.MonkeyPatch
) -> Outcome:
    """Open the store in `root` and read all of it; an assertion fails if anything is wrong."""
    lay_out(files, root)
    deaths: list[BaseException] = []
    patch.setattr(store.boot, "die", lambda path, last_words, error: deaths.append(error))
    found = _opened(root, history, acknowledged)
    if found is Outcome.HARMLESS:  # once more: LevelDB may have carried on what it did not notice
        found = _opened(root, history, acknowledged)
    assert all(isinstance(error, DAMAGE) for error in deaths)
    return Outcome.DETECTED if deaths else found


def _opened(root: Path, history: History, acknowledged: int) -> Outcome:
    try:
        opened = open_at(root / HOME, config=TINY)
    except Quarantined:
        return Outcome.REFUSED
    failed = 0
    try:
        assert opened.image.write_seq >= acknowledged
        expected = history.contents[opened.image.write_seq]
        for read, right in _readings(opened, expected):
            try:
                assert read() == right
            except _FAILURES:
                failed += 1
    finally:
        opened.close()
    return Outcome.DETECTED if failed else Outcome.HARMLESS


def _readings(opened: Store, expected: Content) -> Iterator[tuple[Callable[[], object], object]]:
    """Ways to ask, each with its only right answer; each may fail, but for itself."""
    view, records = opened.view, sorted(expected.state.items())
    yield partial(content_of, opened), expected
    for count in (1, 5, 20, len(records) + 1):
        yield partial(_first, view, count, reverse=False), records[:count]
        yield partial(_first, view, count, reverse=True), records[::-1][:count]
    for key in _ASKED:
        yield partial(view.get, key), expected.state.get(key)


def _first(view: StateView, count: int, *, reverse: bool) -> list[tuple[bytes, bytes]]:
    return list(islice(view.scan(b"", b"", reverse=reverse), count))


Table = dict[str, Counter[Outcome]]


def written(table: Table) -> str:
    """The table of outcomes, a line for each kind of damage."""
    lines = [f"{'':34}{'refused':>10}{'detected':>10}{'harmless':>10}"]
    for name in sorted(table):
        counts = table[name]
        lines.append(f"{name:34}" + "".join(f"{counts[found]:>10}" for found in Outcome))
    totals = [sum(counts[found] for counts in table.values()) for found in Outcome]
    lines.append(f"{'all ' + str(sum(totals)):34}" + "".join(f"{total:>10}" for total in totals))
    return "\n".join(lines)
