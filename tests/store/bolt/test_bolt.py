"""bbolt files: what is written is read again, by us and by etcd's own tool, and damage is told."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.bolt import BoltReader, BoltWriter
from store.bolt.page import Meta, decode_meta, encode_meta
from store.errors import Damaged, InvariantViolated
from tests.support.etcdutl import snapshot_status

PAGE = 4096
Contents = Mapping[bytes, Mapping[bytes, bytes]]

names = st.binary(min_size=1, max_size=20)
keys = st.binary(min_size=1, max_size=40)
values = st.binary(max_size=60) | st.integers(0, 3 * PAGE).map(bytes)
contents = st.dictionaries(names, st.dictionaries(keys, values, max_size=60), max_size=6)


def written(buckets: Contents) -> bytes:
    file = BytesIO()
    writer = BoltWriter(file)
    for name in sorted(buckets):
        writer.begin(name)
        for key in sorted(buckets[name]):
            writer.add(key, buckets[name][key])
    size = writer.close()
    assert size == len(file.getvalue())
    return file.getvalue()


def read(content: bytes) -> dict[bytes, dict[bytes, bytes]]:
    reader = BoltReader(content)
    return {name: dict(reader.items(name)) for name in reader.buckets()}


def many(count: int, value: bytes = b"v") -> Contents:
    return {b"key": {b"%08d" % number: value for number in range(count)}}


@given(contents)
def test_file_gives_back_what_was_written(buckets: Contents) -> None:
    assert read(written(buckets)) == buckets


@pytest.mark.parametrize("count", [0, 1, 1_000, 60_000])
def test_tree_is_as_high_as_it_needs_to_be(count: int) -> None:
    buckets = many(count, b"x" * 300)

    reader = BoltReader(written(buckets))

    assert list(reader.items(b"key")) == list(buckets[b"key"].items())


def test_items_come_in_the_order_of_their_keys() -> None:
    reader = BoltReader(written({b"b": {b"2": b"", b"10": b""}, b"a": {b"1": b""}}))

    assert reader.buckets() == [b"a", b"b"]
    assert [key for key, _ in reader.items(b"b")] == [b"10", b"2"]
    assert list(reader.items(b"c")) == []


def test_etcdutl_counts_the_same_keys(tmp_path: Path) -> None:
    revisions = {b"\0" * 7 + b"%c_" % number + bytes(8): b"" for number in range(2, 200)}
    buckets: Contents = {b"key": revisions, b"lease": {}, b"meta": {b"term": b"\0" * 8}}

    status = snapshot_status(tmp_path, written(buckets))

    assert status["revision"] == 199
    assert status["totalKey"] == len(revisions) + 1


@pytest.mark.parametrize(
    "calls",
    [
        [("add", b"a", b"")],
        [("begin", b"b"), ("begin", b"a")],
        [("begin", b"a"), ("add", b"2", b""), ("add", b"1", b"")],
        [("begin", b"a"), ("add", b"1", b""), ("add", b"1", b"")],
    ],
)
def test_disorder_is_refused(calls: list[tuple[str, bytes]]) -> None:
    writer = BoltWriter(BytesIO())
    *before, (last, *arguments) = calls
    for name, *parts in before:
        getattr(writer, name)(*parts)

    with pytest.raises(InvariantViolated):
        getattr(writer, last)(*arguments)


def test_newer_meta_page_counts_and_the_older_one_stands_in() -> None:
    content = bytearray(written(many(3)))
    newer = decode_meta(bytes(content[PAGE : 2 * PAGE]))
    assert newer is not None
    assert newer.transaction == 1

    content[PAGE + 30] ^= 1
    assert len(read(bytes(content))[b"key"]) == 3
    content[30] ^= 1
    with pytest.raises(Damaged, match="meta"):
        BoltReader(bytes(content))


def test_page_size_of_another_machine_is_read() -> None:
    size = 16 << 10
    parts = [written(many(2))[:0]]
    small = written({})
    assert decode_meta(small) is not None
    for page in range(2):
        parts.append(encode_meta(Meta(size, 2, 3, 4, page), page).ljust(size, b"\0"))
    leaf = b"\2\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0"
    content = b"".join([*parts, leaf.ljust(size, b"\0"), bytes(size)])

    assert BoltReader(content).buckets() == []
    assert BoltReader(b"\xff" * size + content[size:]).buckets() == []


@pytest.mark.parametrize("keep", [0, 100, PAGE, 3 * PAGE])
def test_file_that_was_cut_off_is_refused(keep: int) -> None:
    with pytest.raises(Damaged):
        BoltReader(written(many(500))[:keep])


def test_page_that_leads_in_circles_is_damage() -> None:
    """The only branch of the tree is made to name itself."""
    content = bytearray(written(many(500)))
    branch = next(at for at in range(2 * PAGE, len(content), PAGE) if content[at + 8] == 1)
    content[branch + 16 + 8 : branch + 16 + 16] = (branch // PAGE).to_bytes(8, "little")

    with pytest.raises(Damaged, match="two places"):
        list(BoltReader(bytes(content)).items(b"key"))


@given(st.data())
def test_damage_is_told_or_gives_items_in_order(data: st.DataObject) -> None:
    """Pages have no checksum, so a changed value cannot be noticed; but nothing goes wrong."""
    content = bytearray(written({b"a": {b"1": b"x"}, **many(300)}))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    try:
        found = read(bytes(content))
    except Damaged:
        return
    for items in found.values():
        assert list(items) == sorted(items)
