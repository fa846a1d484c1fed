"""Ranges, lease ids and the two forms of key-value answers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.proto.kv_pb2 import Event, KeyValue
from node.proto.rpc_pb2 import ResponseHeader
from tools.cli.kv_view import (
    event_chunks,
    event_record,
    for_terminal,
    key_range,
    key_value_record,
    kv_document,
    pair_chunks,
    parse_lease,
    prefix_end,
)

PAIR = KeyValue(
    key=b"a", value=b"1", create_revision=2, mod_revision=5, version=3, lease=0x694D71DDAC83D106
)
BINARY = KeyValue(key=b"\xff\x00", value=b"\x1b[2J\xfe")


@pytest.mark.parametrize(
    ("key", "end", "prefix", "from_key", "expected"),
    [
        (b"a", None, False, False, (b"a", b"")),
        (b"a", b"c", False, False, (b"a", b"c")),
        (b"ab", None, True, False, (b"ab", b"ac")),
        (b"a\xff", None, True, False, (b"a\xff", b"b")),
        (b"\xff\xff", None, True, False, (b"\xff\xff", b"\x00")),
        (b"", None, True, False, (b"\x00", b"\x00")),
        (b"a", None, False, True, (b"a", b"\x00")),
        (b"", None, False, True, (b"\x00", b"\x00")),
    ],
)
def test_key_range_as_etcdctl_sends_it(
    key: bytes, end: bytes | None, prefix: bool, from_key: bool, expected: tuple[bytes, bytes]
) -> None:
    assert key_range(key, end, prefix, from_key) == expected


@given(st.binary(min_size=1, max_size=4), st.binary(max_size=5))
@settings(deadline=None, max_examples=200)
def test_prefix_end_separates_exactly_the_prefix(prefix: bytes, key: bytes) -> None:
    end = prefix_end(prefix)

    inside = prefix <= key and (end == b"\x00" or key < end)

    assert inside == key.startswith(prefix)


@pytest.mark.parametrize(
    ("text", "lease"), [("694d71ddac83d106", 0x694D71DDAC83D106), ("0", 0), ("7F", 127)]
)
def test_parse_lease_reads_hexadecimal(text: str, lease: int) -> None:
    assert parse_lease(text) == lease


@pytest.mark.parametrize("text", ["", "xyz", "-1", "8000000000000000"])
def test_parse_lease_refuses_the_rest(text: str) -> None:
    with pytest.raises(ValueError, match="lease id"):
        parse_lease(text)


def test_key_value_record_text_stays_text() -> None:
    assert key_value_record(PAIR) == {
        "key": "a",
        "value": "1",
        "create_revision": 2,
        "mod_revision": 5,
        "version": 3,
        "lease": "694d71ddac83d106",
    }


def test_key_value_record_bytes_become_base64() -> None:
    record = key_value_record(BINARY)

    assert record["key_base64"] == "/wA="
    assert record["value_base64"] == "G1sySv4="
    assert "key" not in record
    assert record["lease"] is None


def test_event_record_delete_has_no_value() -> None:
    event = Event(type=Event.DELETE, kv=KeyValue(key=b"a", mod_revision=6), prev_kv=PAIR)

    record = event_record(event)

    assert record["type"] == "delete"
    assert record["kv"] == {
        "key": "a",
        "create_revision": 0,
        "mod_revision": 6,
        "version": 0,
        "lease": None,
    }
    assert record["prev_kv"] == key_value_record(PAIR)


def test_event_record_put_without_previous() -> None:
    record = event_record(Event(kv=PAIR))

    assert (record["type"], record["revision"]) == ("put", 5)
    assert "prev_kv" not in record


def test_kv_document_carries_the_header() -> None:
    header = ResponseHeader(cluster_id=255, member_id=16, revision=9, raft_term=2)

    document = kv_document("del", header, {"deleted": 1})

    assert document == {
        "schema": "conclave/kv.del.v1",
        "header": {"cluster_id": "ff", "member_id": "10", "revision": 9, "raft_term": 2},
        "deleted": 1,
    }


def test_pair_chunks_keys_and_values() -> None:
    assert list(pair_chunks([PAIR, BINARY])) == [b"a", b"1", b"\xff\x00", b"\x1b[2J\xfe"]
    assert list(pair_chunks([PAIR], values=False)) == [b"a"]
    assert list(pair_chunks([PAIR], keys=False)) == [b"1"]


def test_event_chunks_in_the_order_of_etcdctl() -> None:
    assert list(event_chunks(Event(kv=PAIR))) == [b"PUT", b"a", b"1"]
    deleted = Event(type=Event.DELETE, kv=KeyValue(key=b"a"), prev_kv=PAIR)
    assert list(event_chunks(deleted)) == [b"DELETE", b"a", b"1", b"a", b""]


def test_for_terminal_leaves_no_control_byte() -> None:
    assert b"\x1b" not in for_terminal(BINARY.value)
    assert for_terminal("grüße".encode()) == "grüße".encode()
