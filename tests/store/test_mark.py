"""The lost-tail detector's file."""

import os
from pathlib import Path

import pytest

from store.errors import Damaged, InvariantViolated
from store.mark import Mark, MarkFigures

UUID = bytes(range(16))


def figures(write_seq: int) -> MarkFigures:
    return MarkFigures(UUID, 7, write_seq, 3, 2, 40 + write_seq, 3)


def marked(path: Path, updates: int) -> Path:
    mark = Mark.create(path, UUID, 7)
    for write_seq in range(1, updates + 1):
        mark.update(figures(write_seq))
    mark.close()
    return path


@pytest.mark.parametrize("updates", [0, 1, 2, 5])
def test_reopened_mark_shows_the_last_update(tmp_path: Path, updates: int) -> None:
    mark = Mark(marked(tmp_path / "mark", updates))

    assert mark.figures.write_seq == updates
    assert mark.figures.uuid == UUID
    assert mark.figures.member_id == 7


def test_update_is_visible_to_others_at_once(tmp_path: Path) -> None:
    mark = Mark(marked(tmp_path / "mark", 1))
    mark.update(figures(9))

    assert Mark(tmp_path / "mark").figures == figures(9)


def test_update_after_reopen_overwrites_the_older_slot(tmp_path: Path) -> None:
    mark = Mark(marked(tmp_path / "mark", 4))
    mark.update(figures(5))
    _damage(tmp_path / "mark", slot=(5 % 2))

    assert Mark(tmp_path / "mark").figures == figures(4)


def test_torn_slot_leaves_the_other(tmp_path: Path) -> None:
    path = marked(tmp_path / "mark", 5)
    _damage(path, slot=1)

    assert Mark(path).figures == figures(4)


def test_no_intact_slot_is_damage(tmp_path: Path) -> None:
    path = marked(tmp_path / "mark", 5)
    _damage(path, slot=0)
    _damage(path, slot=1)

    with pytest.raises(Damaged):
        Mark(path)


def test_wrong_size_is_damage(tmp_path: Path) -> None:
    path = marked(tmp_path / "mark", 5)
    os.truncate(path, 100)

    with pytest.raises(Damaged):
        Mark(path)


def test_no_file_is_reported_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Mark(tmp_path / "mark")


def test_update_may_not_go_back(tmp_path: Path) -> None:
    mark = Mark(marked(tmp_path / "mark", 5))

    with pytest.raises(InvariantViolated):
        mark.update(figures(5))


def _damage(path: Path, slot: int) -> None:
    content = bytearray(path.read_bytes())
    content[slot * 128 + 30] ^= 0x10
    path.write_bytes(content)
