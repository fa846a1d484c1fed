"""Codecs of the log's records."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import record
from store.errors import Damaged, FormatTooNew
from store.record import Floor, HardState, Head, LogEntry, Meta, Position

u64 = st.integers(0, 2**64 - 1)


@settings(deadline=None, max_examples=50)
@given(u64, u64, st.integers(0, 255), st.binary(max_size=64))
def test_entry_round_trip(term: int, index: int, kind: int, data: bytes) -> None:
    value = record.encode_entry(term, index, kind, data)

    assert record.decode_entry(index, value) == LogEntry(term, index, kind, data)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=32), st.data())
def test_entry_any_flipped_bit_is_noticed(data: bytes, draw: st.DataObject) -> None:
    value = bytearray(record.encode_entry(3, 7, 0, data))
    bit = draw.draw(st.integers(0, 8 * len(value) - 1))
    value[bit // 8] ^= 1 << bit % 8

    with pytest.raises(Damaged):
        record.decode_entry(7, bytes(value))


def test_entry_under_a_wrong_key_is_noticed() -> None:
    value = record.encode_entry(3, 7, 0, b"data")

    with pytest.raises(Damaged):
        record.decode_entry(8, value)


@pytest.mark.parametrize("length", range(13))
def test_entry_too_short_is_noticed(length: int) -> None:
    with pytest.raises(Damaged):
        record.decode_entry(7, record.encode_entry(3, 7, 0, b"")[:length])


@settings(deadline=None, max_examples=50)
@given(st.lists(u64, min_size=2))
def test_entry_keys_sort_as_their_indices(indices: list[int]) -> None:
    keys = sorted(record.entry_key(index) for index in indices)

    assert [record.entry_index(key) for key in keys] == sorted(indices)


def test_single_records_round_trip() -> None:
    meta = Meta(bytes(range(16)), 2**64 - 1, 7)
    head = Head(9, HardState(4, 2, 17), Position(18, 4))
    floor = Floor(Position(10, 3), 6)

    assert record.decode_meta(record.encode_meta(meta)) == meta
    assert record.decode_head(record.encode_head(head)) == head
    assert record.decode_floor(record.encode_floor(floor)) == floor
    assert record.decode_applied(record.encode_applied(Position(5, 2), b"digest")) == (
        Position(5, 2),
        b"digest",
    )
    assert record.decode_conf(record.encode_conf(5, b"conf")) == (5, b"conf")
    assert record.decode_generation(record.encode_generation(255)) == 255


@pytest.mark.parametrize("at", [0, 4, -1])
def test_single_record_damage_is_noticed(at: int) -> None:
    value = bytearray(record.encode_head(Head(9, HardState(4, 2, 17), Position(18, 4))))
    value[at] ^= 1

    with pytest.raises(Damaged):
        record.decode_head(bytes(value))


def test_meta_of_a_newer_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer_release:
        newer_release.setattr(record, "FORMAT", record.FORMAT + 1)
        value = record.encode_meta(Meta(bytes(16), 1, 1))

    with pytest.raises(FormatTooNew, match="format 2, this release reads up to 1"):
        record.decode_meta(value)


@pytest.mark.parametrize(
    ("prefix", "after"),
    [(b"s", b"t"), (b"s\x01", b"s\x02"), (b"s\xff", b"t"), (b"s\xfe", b"s\xff")],
)
def test_after_prefix(prefix: bytes, after: bytes) -> None:
    assert record.after_prefix(prefix) == after
