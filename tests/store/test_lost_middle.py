"""Batches that LevelDB loses from the middle, without a word, while newer ones are there.

The end of a write-ahead log may vanish when a newer log exists, a manifest may lose its last
record, a run of zeroes in a log is skipped: none of that is an error to LevelDB. Where the log of
entries shows no gap, because only state was written, nothing but the baton tells.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from store.boot import Store
from store.errors import Quarantined
from store.installer import Installer
from store.log import HardState, Position
from tests.support.store_parts import MEMBER, open_at, wait_durable

PAGE = 4096
BLOCK = 8 * PAGE
"""Of LevelDB's log format; no record header lies across two."""
HEADER = 7
FULL, FIRST = 1, 2
CHUNKS = 60


@dataclass(frozen=True)
class Installed:
    """A directory as a kill leaves it after a large snapshot was installed."""

    path: Path
    logs: dict[str, bytes]
    """The write-ahead logs that there have been, whole."""
    manifest: dict[str, bytes]
    """What the manifest was as long as a log was the newest."""

    def copy(self, to: Path) -> Path:
        shutil.copytree(self.path, to / "n1")
        shutil.copy(self.path.with_name("n1.mark"), to / "n1.mark")
        return to / "n1"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    store = open_at(folder / "live" / "n1")
    logs: dict[str, bytes] = {}
    manifests: dict[str, bytes] = {}
    installer = Installer(store.engine, store.writer)
    size = 3_900
    for number in range(CHUNKS):
        key = b"chunk %04d" % number
        wait_durable(store.writer, installer.add([(key, value_of(number, size))]))
        note_files(folder / "live" / "n1", logs, manifests)
        if number == 2:  # from now on records take a page each, and blocks begin with records
            *_, last, newest = records_of(max(logs.items())[1])
            size += PAGE - (newest - last)
    number = installer.finish(Position(9, 1), b"", HardState(1, MEMBER, 9))
    wait_durable(store.writer, number)
    note_files(folder / "live" / "n1", logs, manifests)
    shutil.copytree(folder / "live" / "n1", folder / "n1")
    shutil.copy(folder / "live" / "n1.mark", folder / "n1.mark")
    store.close()
    return Installed(folder / "n1", logs, manifests)


def value_of(number: int, size: int) -> bytes:
    return (b"%04d" % number * PAGE)[:size]


def note_files(path: Path, logs: dict[str, bytes], manifests: dict[str, bytes]) -> None:
    for log in path.glob("*.log"):
        with suppress(FileNotFoundError):  # it has just become a table
            logs[log.name] = log.read_bytes()
    manifests.setdefault(max(logs), max(path.glob("MANIFEST-*")).read_bytes())


def records_of(content: bytes) -> list[int]:
    """Where the records of one of LevelDB's logs begin."""
    starts, at = [], 0
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        if content[at + 6] in (FULL, FIRST):
            starts.append(at)
        at += HEADER + int.from_bytes(content[at + 4 : at + 6], "little")
    return starts


def assert_noticed(path: Path) -> None:
    try:
        store = open_at(path, first=False)
    except Quarantined:
        return
    raise AssertionError(f"{missing(store)} are gone, and the store is trusted")


def missing(store: Store) -> list[int]:
    held = dict(store.view.scan(b"", b""))
    store.close()
    found = [held.get(b"chunk %04d" % number, b"") for number in range(CHUNKS)]
    return [n for n, value in enumerate(found) if not value or value != value_of(n, len(value))]


def test_undamaged_install_is_whole(installed: Installed, tmp_path: Path) -> None:
    assert missing(open_at(installed.copy(tmp_path), first=False)) == []


def test_manifest_that_lost_its_newest_records(installed: Installed, tmp_path: Path) -> None:
    path = installed.copy(tmp_path)
    manifest = max(path.glob("MANIFEST-*"))
    content = manifest.read_bytes()
    starts = records_of(content)
    assert len(starts) > 3
    for start in starts[1:]:
        manifest.write_bytes(content[:start])
        assert_noticed(path)
        shutil.rmtree(path)
        installed.copy(tmp_path)


def test_older_one_of_two_write_ahead_logs_is_gone(installed: Installed, tmp_path: Path) -> None:
    """As a kill leaves it while the memtable of the older one is being written."""
    path = installed.copy(tmp_path)
    names = sorted(installed.logs)
    assert len(names) > 2
    older, newer = names[-2:]
    manifest = max(path.glob("MANIFEST-*"))
    for part in (0.0, 0.5, 0.99):
        manifest.write_bytes(installed.manifest[older])
        (path / newer).write_bytes(installed.logs[newer])
        content = installed.logs[older]
        (path / older).write_bytes(content[: int(len(content) * part)])
        assert_noticed(path)
        shutil.rmtree(path)
        installed.copy(tmp_path)


def test_zeroes_in_a_write_ahead_log(installed: Installed, tmp_path: Path) -> None:
    """LevelDB takes them for space that was allocated and never written to."""
    path = installed.copy(tmp_path)
    log = max(path.glob("*.log"))
    content = log.read_bytes()
    assert any(start % BLOCK == 0 for start in records_of(content)[1:])
    for start in records_of(content)[:-1]:
        log.write_bytes(content[:start] + bytes(HEADER) + content[start + HEADER :])
        assert_noticed(path)
        shutil.rmtree(path)
        installed.copy(tmp_path)
