"""Page: a reader gets a consistent section whatever its writer is doing."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport.page import PageReader, PageWriter, Shape, create_page
from transport.region import RegionUnusable

SHAPE = Shape((3, 40, 1))
COPY_BYTES = (3 + 2) * 8

WRITE_FOR_EVER = """
import itertools, sys
from transport.page import PageWriter, Shape
writer = PageWriter(sys.argv[1], Shape((3, 40, 1)))
for number in itertools.count(1):
    writer.update(1, (number,) * 40)
    if number == 1:
        print("writing", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "page")
    create_page(path, SHAPE)
    return path


def damage(path: str, offset: int, data: bytes) -> None:
    with Path(path).open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_page_nobody_has_written_reads_as_none(path: str) -> None:
    reader = PageReader(path, SHAPE)

    assert [reader.read(section) for section in range(3)] == [None] * 3


def test_newest_update_is_read_and_sections_are_apart(path: str) -> None:
    writer, reader = PageWriter(path, SHAPE), PageReader(path, SHAPE)
    writer.update(0, (1, 2, 3))
    writer.update(2, (2**64 - 1,))
    writer.update(0, (4, 5, 6))
    newest, other = reader.read(0), reader.read(2)

    assert newest is not None
    assert other is not None
    assert (newest.fields, newest.sequence, newest.torn) == ((4, 5, 6), 2, False)
    assert other.fields == (2**64 - 1,)
    assert reader.read(1) is None


@pytest.mark.parametrize("written_bytes", [1, 8, 20, COPY_BYTES - 1])
def test_writer_that_died_half_way_leaves_the_update_before(path: str, written_bytes: int) -> None:
    """The third update goes to the copy of the first, and gets only so far."""
    writer, reader = PageWriter(path, SHAPE), PageReader(path, SHAPE)
    writer.update(0, (1, 1, 1))
    writer.update(0, (2, 2, 2))
    damage(path, COPY_BYTES, (struct.pack("<4Q", 3, 3, 3, 3) + b"\xff" * 8)[:written_bytes])
    image = reader.read(0)

    assert image is not None
    assert (image.fields, image.torn) == ((2, 2, 2), True)


def test_next_writer_goes_on_after_a_torn_update(path: str) -> None:
    writer = PageWriter(path, SHAPE)
    writer.update(0, (1, 1, 1))
    writer.update(0, (2, 2, 2))
    damage(path, COPY_BYTES, b"\xff" * 20)
    PageWriter(path, SHAPE).update(0, (9, 9, 9))
    image = PageReader(path, SHAPE).read(0)

    assert image is not None
    assert (image.fields, image.sequence, image.torn) == ((9, 9, 9), 3, False)


def test_first_update_torn_reads_as_none(path: str) -> None:
    damage(path, COPY_BYTES, struct.pack("<2Q", 1, 7))

    assert PageReader(path, SHAPE).read(0) is None


@settings(deadline=None, max_examples=50)
@given(st.binary(min_size=SHAPE.size(), max_size=SHAPE.size()))
def test_garbage_reads_as_none(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("page") / "page"
    path.write_bytes(data)
    reader = PageReader(str(path), SHAPE)

    assert [reader.read(section) for section in range(3)] == [None] * 3


@pytest.mark.parametrize("fields", [(1, 2), (1, 2, 3, 4), (1, 2, -1), (1, 2, 2**64)])
def test_update_that_does_not_fit_is_refused(path: str, fields: tuple[int, ...]) -> None:
    writer, reader = PageWriter(path, SHAPE), PageReader(path, SHAPE)
    with pytest.raises(struct.error):
        writer.update(0, fields)

    assert reader.read(0) is None


def test_file_of_another_size_is_no_page(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_bytes(b"x" * (SHAPE.size() - 1))

    with pytest.raises(RegionUnusable):
        PageReader(str(path), SHAPE)


def test_reader_beside_a_busy_writer_sees_whole_updates_that_only_grow(path: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, path],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    reader = PageReader(path, SHAPE)
    images = [image for _ in range(5_000) if (image := reader.read(1)) is not None]
    process.kill()
    process.communicate()
    last = reader.read(1)

    assert images
    assert all(image.fields == (image.sequence,) * 40 for image in images)
    assert [image.sequence for image in images] == sorted(image.sequence for image in images)
    assert last is not None
    assert last.fields == (last.sequence,) * 40
    assert last.sequence >= images[-1].sequence
