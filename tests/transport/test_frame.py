"""Frames and identities: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport.frame import (
    HEADER_BYTES,
    Channel,
    Frame,
    FrameRejected,
    Identity,
    Rejection,
    Stamp,
    decode,
    encode,
)

u64 = st.integers(0, 2**64 - 1)
frames = st.builds(
    Frame,
    channel=st.sampled_from([int(channel) for channel in Channel]),
    flags=st.integers(0, 3),
    cluster=u64,
    sender=u64,
    to=u64,
    incarnation=u64,
    to_incarnation=u64,
    sequence=u64,
    append_seen=u64,
    bulk_seen=u64,
    payload=st.binary(max_size=300),
)
SOME = Frame(1, 0, 7, 1, 2, 11, 21, 5, 3, 4, b"payload")


def reason_of(data: bytes) -> Rejection:
    with pytest.raises(FrameRejected) as caught:
        decode(data)
    return caught.value.reason


@settings(deadline=None, max_examples=200)
@given(frames)
def test_frame_survives_the_wire(frame: Frame) -> None:
    assert decode(encode(frame)) == frame


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_rejected_and_nothing_else(data: bytes) -> None:
    assert reason_of(data) in Rejection


@settings(deadline=None, max_examples=300)
@given(frames, st.data())
def test_any_flipped_bit_is_noticed(frame: Frame, data: st.DataObject) -> None:
    wire = bytearray(encode(frame))
    position = data.draw(st.integers(0, len(wire) * 8 - 1))
    wire[position // 8] ^= 1 << position % 8

    assert reason_of(bytes(wire)) in Rejection


@settings(deadline=None, max_examples=100)
@given(frames, st.data())
def test_truncated_frame_is_rejected(frame: Frame, data: st.DataObject) -> None:
    wire = encode(frame)
    kept = data.draw(st.integers(0, len(wire) - 1))

    assert reason_of(wire[:kept]) in {Rejection.SHORT, Rejection.LENGTH}


def test_rejection_names_what_is_wrong() -> None:
    wire = encode(SOME)

    assert reason_of(b"") is Rejection.SHORT
    assert reason_of(wire[: HEADER_BYTES - 1]) is Rejection.SHORT
    assert reason_of(b"\0" * 200) is Rejection.MAGIC
    assert reason_of(wire[:4] + b"\2" + wire[5:]) is Rejection.VERSION
    assert reason_of(wire + b"x") is Rejection.LENGTH
    assert reason_of(wire[:-1] + b"?") is Rejection.CHECKSUM


def test_well_formed_frame_of_unknown_kind_is_rejected() -> None:
    unknown_channel = Stamp(3, 0, 7, 1, 2, 11, 21).encode(b"", 1, 0, 0)
    unknown_flag = Stamp(0, 4, 7, 1, 2, 11, 21).encode(b"", 1, 0, 0)

    assert reason_of(unknown_channel) is Rejection.CHANNEL
    assert reason_of(unknown_flag) is Rejection.FLAGS


@settings(deadline=None, max_examples=100)
@given(st.builds(Identity, u64, u64, u64, u64, u64))
def test_identity_survives_and_is_a_legal_routing_id(identity: Identity) -> None:
    wire = identity.encode()

    assert Identity.decode(wire) == identity
    assert wire[0] != 0
    assert len(wire) <= 255


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=50).filter(lambda data: len(data) != 41 or data[:1] != b"C"))
def test_foreign_routing_id_is_no_identity(data: bytes) -> None:
    with pytest.raises(FrameRejected) as caught:
        Identity.decode(data)

    assert caught.value.reason is Rejection.IDENTITY
