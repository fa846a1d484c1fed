"""Hand-written protobuf against the library's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.machine import wire
from node.proto import kv, rpc

int64 = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**22), st.sampled_from([127, 128, 2**14])
)


@given(int64)
def test_varint_is_the_librarys(number: int) -> None:
    encoded = rpc.WatchCancelRequest(watch_id=number).SerializeToString()

    assert wire.varint(number) == (encoded[1:] if number else b"\x00")


@given(st.binary(max_size=300), int64, int64, int64, st.binary(max_size=300), int64)
def test_key_value_field_reads_back(
    key: bytes, create: int, mod: int, version: int, value: bytes, lease: int
) -> None:
    encoded = wire.key_value_field(key, create, wire.varint(mod), version, value, lease)

    pair = kv.KeyValue(
        key=key,
        create_revision=create,
        mod_revision=mod,
        version=version,
        value=value,
        lease=lease,
    )
    assert kv.Event.FromString(encoded).kv == pair
    assert kv.Event.FromString(wire.as_field_3(encoded)).prev_kv == pair


@given(st.binary(max_size=300), st.integers(1, 2**40))
def test_tombstone_field_reads_back(key: bytes, mod: int) -> None:
    encoded = wire.tombstone_field(key, wire.varint(mod))

    assert kv.Event.FromString(encoded).kv == kv.KeyValue(key=key, mod_revision=mod)


@given(st.integers(1, 2**40))
def test_revision_header_reads_back(revision: int) -> None:
    response = rpc.PutResponse.FromString(wire.revision_header(revision))

    assert response == rpc.PutResponse(header=rpc.ResponseHeader(revision=revision))
