"""What a restart trusts: first starts, foreign directories, and every kind of damaged file."""

import contextlib
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from store import record
from store.boot import open_store
from store.directory import DataDirectory
from store.errors import DirectoryHeld, DiskFailed, FormatTooNew, Quarantined
from store.leveldb import LevelDBEngine
from store.log import Batch, Position
from store.mark import Mark
from tests.support.store_parts import (
    CLUSTER,
    CONF,
    MEMBER,
    SMALL,
    appended,
    open_at,
    put_state,
    write_and_wait,
)

LAST = 600


@dataclass(frozen=True)
class Written:
    """A closed store with tables, a manifest and a write-ahead log, and what it must hold."""

    path: Path
    records: dict[bytes, bytes]

    def copy(self, to: Path) -> Path:
        shutil.copytree(self.path, to / "n1")
        shutil.copy(self.path.with_name("n1.mark"), to / "n1.mark")
        return to / "n1"


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    path = tmp_path_factory.mktemp("written") / "n1"
    store = open_at(path)
    records = put_state(store, 1, LAST)
    store.engine.compact(b"", b"")
    records |= put_state(store, LAST, LAST + 60)
    store.close()
    assert len(list(path.glob("*.ldb"))) >= 2
    return Written(path, records)


def test_undamaged_copy_opens(written: Written, tmp_path: Path) -> None:
    store = open_at(written.copy(tmp_path), first=False)

    assert dict(store.view.scan(b"", b"")) == written.records
    assert store.image.last == Position(LAST + 59, 1)
    store.close()


def test_first_start_creates_and_later_ones_keep(tmp_path: Path) -> None:
    first = open_at(tmp_path / "n1")
    write_and_wait(first, appended(1, 4))
    first.close()
    second = open_at(tmp_path / "n1")

    assert (first.image.conf, first.image.last) == (CONF, Position(0, 0))
    assert second.image.last == Position(3, 1)
    assert second.mark.figures.write_seq == second.image.write_seq == 2
    second.close()


def test_start_without_data_or_membership_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Quarantined, match="no data"):
        open_at(tmp_path / "n1", first=False)
    assert not (tmp_path / "n1.mark").exists()


def test_interrupted_first_start_begins_again(tmp_path: Path) -> None:
    store = open_at(tmp_path / "n1")
    store.close()
    Mark.create(tmp_path / "n1.mark", bytes(16), MEMBER).close()  # as if the mark never moved
    for file in (tmp_path / "n1").glob("MANIFEST*"):
        file.unlink()
    again = open_at(tmp_path / "n1")

    assert again.image.meta.uuid == bytes(16)
    assert again.image.write_seq == 1
    again.close()


def test_second_opener_is_refused(tmp_path: Path) -> None:
    store = open_at(tmp_path / "n1")
    with pytest.raises(DirectoryHeld):
        open_at(tmp_path / "n1")
    write_and_wait(store, appended(1, 2))
    store.close()


@pytest.mark.parametrize(("cluster", "member"), [(CLUSTER + 1, MEMBER), (CLUSTER, MEMBER + 1)])
def test_data_of_another_member_is_refused(
    written: Written, tmp_path: Path, cluster: int, member: int
) -> None:
    directory = DataDirectory(written.copy(tmp_path))
    with pytest.raises(Quarantined, match="the data belongs to member a1 of cluster c1"):
        open_store(directory, cluster, member, SMALL, first_conf=CONF)
    directory.acquire()  # refused means released
    directory.release()


def test_replaced_database_is_noticed(written: Written, tmp_path: Path) -> None:
    open_at(tmp_path / "n1").close()
    shutil.rmtree(tmp_path / "n1")
    shutil.copytree(written.path, tmp_path / "n1")

    with pytest.raises(Quarantined, match="replaced"):
        open_at(tmp_path / "n1")


def test_older_copy_of_the_database_is_noticed(written: Written, tmp_path: Path) -> None:
    path = written.copy(tmp_path)
    store = open_at(path)
    write_and_wait(store, Batch())
    store.close()
    shutil.rmtree(path)
    shutil.copytree(written.path, path)

    with pytest.raises(Quarantined, match="the disk lost its tail: batch 661 was acknowledged"):
        open_at(path)


def test_older_mark_does_not_block_a_good_database(written: Written, tmp_path: Path) -> None:
    path = written.copy(tmp_path)
    store = open_at(path)
    write_and_wait(store, Batch())
    store.close()
    shutil.copy(written.path.with_name("n1.mark"), tmp_path / "n1.mark")
    again = open_at(path, first=False)
    write_and_wait(again, Batch())
    again.close()

    assert Mark(tmp_path / "n1.mark").figures.write_seq == again.image.write_seq + 1


def test_mark_that_is_behind_is_brought_up_to_what_was_read(
    written: Written, tmp_path: Path
) -> None:
    """Without another write: what was read may be acknowledged to whoever asks for it."""
    path = written.copy(tmp_path)
    store = open_at(path)
    write_and_wait(store, Batch())
    store.close()
    newer = shutil.copytree(path, tmp_path / "newer")
    shutil.copy(written.path.with_name("n1.mark"), tmp_path / "n1.mark")
    open_at(path, first=False).close()
    shutil.rmtree(path)
    shutil.copytree(written.path, path)

    with pytest.raises(Quarantined, match="the disk lost its tail: batch 661 was acknowledged"):
        open_at(path)
    shutil.rmtree(path)
    newer.rename(path)
    open_at(path).close()


def test_newer_format_is_refused_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer_release:
        newer_release.setattr(record, "FORMAT", record.FORMAT + 1)
        open_at(tmp_path / "n1").close()

    with pytest.raises(FormatTooNew, match="use the release that wrote it"):
        open_at(tmp_path / "n1")


def test_files_that_cannot_be_opened_say_nothing_about_the_data(
    written: Written, tmp_path: Path
) -> None:
    path = written.copy(tmp_path)
    (path / "LOCK").unlink()
    (path / "LOCK").mkdir()
    with pytest.raises(DiskFailed, match=r"LOCK: Is a directory"):
        open_at(path)
    (path / "LOCK").rmdir()

    open_at(path).close()


def test_mark_that_cannot_be_opened_says_nothing_about_the_data(
    written: Written, tmp_path: Path
) -> None:
    path = written.copy(tmp_path)
    mark = tmp_path / "n1.mark"
    mark.rename(tmp_path / "aside")
    mark.mkdir()
    with pytest.raises(DiskFailed, match=r"n1\.mark: Is a directory"):
        open_at(path)
    mark.rmdir()
    (tmp_path / "aside").rename(mark)

    open_at(path).close()


def test_mark_that_cannot_be_made_is_a_failed_disk(tmp_path: Path) -> None:
    (tmp_path / "n1.mark.new").mkdir()
    with pytest.raises(DiskFailed, match=r"n1\.mark\.new: Is a directory"):
        open_at(tmp_path / "n1")
    (tmp_path / "n1.mark.new").rmdir()

    open_at(tmp_path / "n1").close()


def only(path: Path, pattern: str) -> Path:
    return max(path.glob(pattern), key=lambda file: file.stat().st_size)


def delete(pattern: str) -> Callable[[Path], None]:
    return lambda path: only(path, pattern).unlink()


def truncate(pattern: str, keep: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        file = only(path, pattern)
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * keep)])

    return change


def flip(pattern: str, at: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        file = only(path, pattern)
        content = bytearray(file.read_bytes())
        content[int(len(content) * at)] ^= 0x04
        file.write_bytes(content)

    return change


def zero_block(pattern: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        file = only(path, pattern)
        content = bytearray(file.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 4096] = bytes(len(content[middle : middle + 4096]))
        file.write_bytes(content)

    return change


def zero_front(pattern: str, size: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        file = only(path, pattern)
        file.write_bytes(bytes(size) + file.read_bytes()[size:])

    return change


def edit(key: bytes, value: bytes | None) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        engine = LevelDBEngine(path, SMALL)
        engine.write([(key, value)])
        engine.close()

    return change


def remove_mark(path: Path) -> None:
    path.with_name("n1.mark").unlink()


def damage_mark(path: Path) -> None:
    path.with_name("n1.mark").write_bytes(b"\xff" * 256)


def empty_directory(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


LOST_TAIL = "the disk lost its tail"
REFUSED = "LevelDB does not open"

DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "write-ahead log truncated": (truncate("*.log", 0.5), LOST_TAIL),
    "write-ahead log short by a few bytes": (truncate("*.log", 0.9995), LOST_TAIL),
    "write-ahead log emptied": (truncate("*.log", 0.0), LOST_TAIL),
    "write-ahead log deleted": (delete("*.log"), LOST_TAIL),
    "write-ahead log with a flipped bit": (flip("*.log", 0.4), REFUSED),
    "write-ahead log with a zeroed block": (zero_block("*.log"), REFUSED),
    "table deleted": (delete("*.ldb"), REFUSED),
    "manifest deleted": (delete("MANIFEST-*"), REFUSED),
    "manifest truncated": (truncate("MANIFEST-*", 0.5), "missing from the log"),
    "manifest emptied": (truncate("MANIFEST-*", 0.0), REFUSED),
    "manifest with a flipped bit": (flip("MANIFEST-*", 0.5), REFUSED),
    "CURRENT deleted": (delete("CURRENT"), REFUSED),
    "CURRENT emptied": (truncate("CURRENT", 0.0), REFUSED),
    "CURRENT of zeroes": (zero_front("CURRENT", 7), "CURRENT does not name a manifest"),
    "CURRENT with a flipped bit": (flip("CURRENT", 0.5), REFUSED),
    "an entry deleted": (edit(record.entry_key(77), None), "entry 77 is missing"),
    "an entry replaced": (
        edit(record.entry_key(77), record.encode_entry(1, 78, 0, b"")),
        "entry 77 fails its checksum",
    ),
    "head deleted": (edit(record.HEAD, None), "missing"),
    "mark deleted": (remove_mark, "n1.mark is missing"),
    "mark overwritten": (damage_mark, "no intact slot"),
    "directory emptied": (empty_directory, "the database is gone"),
    "directory deleted": (shutil.rmtree, "the database is gone"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_quarantined(written: Written, tmp_path: Path, name: str) -> None:
    path = written.copy(tmp_path)
    damage, reason = DAMAGES[name]
    damage(path)

    with pytest.raises(Quarantined, match=reason):
        open_at(path)
    with pytest.raises(Quarantined):  # and stays so: refusing must not repair
        open_at(path)


@pytest.mark.parametrize("seed", range(24))
def test_flipped_bit_in_a_table_never_gives_a_wrong_answer(
    written: Written, tmp_path: Path, seed: int
) -> None:
    """Quarantined at boot, an error at the read, or right: never a wrong or a missing record."""
    path = written.copy(tmp_path)
    chance = random.Random(seed)
    table = chance.choice(sorted(path.glob("*.ldb")))
    content = bytearray(table.read_bytes())
    bit = chance.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    table.write_bytes(content)

    try:
        store = open_at(path, first=False)
    except Quarantined:
        return
    for key, value in written.records.items():
        try:
            assert store.view.get(key) == value
        except store.engine.failures:
            continue
    with contextlib.suppress(*store.engine.failures):
        assert dict(store.view.scan(b"", b"")) == written.records
    store.close()


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_truncated_table_never_gives_a_wrong_answer(
    written: Written, tmp_path: Path, keep: float
) -> None:
    path = written.copy(tmp_path)
    truncate("*.ldb", keep)(path)

    with pytest.raises((Quarantined, *LevelDBEngine.failures)):
        read_everything(path, written.records)


def read_everything(path: Path, records: dict[bytes, bytes]) -> None:
    store = open_at(path, first=False)
    try:
        assert dict(store.view.scan(b"", b"")) == records
    finally:
        store.close()


def test_damage_that_only_the_sweeper_meets_is_quarantined(
    written: Written, tmp_path: Path
) -> None:
    """Looking for leftover generations, it seeks to the first state records."""
    path = written.copy(tmp_path)
    first = record.STATE + b"\x01key 000001"
    (table,) = (file for file in path.glob("*.ldb") if first in file.read_bytes())
    content = table.read_bytes()
    at = content.index(first) + len(first) + 20
    table.write_bytes(content[:at] + b"\xff" + content[at + 1 :])

    with pytest.raises(Quarantined, match=r"LevelDB does not read: .*checksum"):
        open_at(path)
