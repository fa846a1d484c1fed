"""Region: a file of fixed size that is really there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from transport.region import RegionUnusable, map_region, reserve

SIZE = 8192


@pytest.fixture
def memfd() -> Iterator[int]:
    descriptor = os.memfd_create("region", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    yield descriptor
    os.close(descriptor)


def test_reserved_bytes_are_allocated_and_zero(tmp_path: Path) -> None:
    path = tmp_path / "region"
    reserve(str(path), SIZE)

    assert path.stat().st_blocks * 512 >= SIZE
    assert path.read_bytes() == bytes(SIZE)


def test_memfd_is_mapped_by_the_path_of_its_descriptor(memfd: int) -> None:
    reserve(memfd, SIZE)
    path = f"/proc/{os.getpid()}/fd/{memfd}"
    with (
        map_region(path, SIZE, writable=True) as writer,
        map_region(path, SIZE, writable=False) as reader,
    ):
        writer[100:105] = b"hello"

        assert reader[100:105] == b"hello"


def test_memfd_can_no_longer_shrink_or_grow(memfd: int) -> None:
    reserve(memfd, SIZE)

    with pytest.raises(PermissionError):
        os.ftruncate(memfd, SIZE // 2)
    with pytest.raises(PermissionError):
        os.ftruncate(memfd, SIZE * 2)


def test_memfd_without_seals_is_reserved_all_the_same() -> None:
    descriptor = os.memfd_create("region", os.MFD_CLOEXEC)
    reserve(descriptor, SIZE)

    assert os.fstat(descriptor).st_size == SIZE
    os.close(descriptor)


def test_reserving_again_keeps_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "region"
    reserve(str(path), SIZE)
    with map_region(str(path), SIZE, writable=True) as region:
        region[0:4] = b"kept"
    reserve(str(path), SIZE)

    assert path.read_bytes()[:4] == b"kept"


def test_too_small_or_missing_file_is_unusable(tmp_path: Path) -> None:
    path = tmp_path / "region"
    path.write_bytes(b"x" * (SIZE - 1))

    with pytest.raises(RegionUnusable, match="8191 bytes"):
        map_region(str(path), SIZE, writable=False)
    with pytest.raises(RegionUnusable, match="No such file"):
        map_region(str(tmp_path / "other"), SIZE, writable=False)


def test_reader_cannot_write(tmp_path: Path) -> None:
    path = str(tmp_path / "region")
    reserve(path, SIZE)
    with map_region(path, SIZE, writable=False) as region, pytest.raises(TypeError):
        region[0:1] = b"x"
