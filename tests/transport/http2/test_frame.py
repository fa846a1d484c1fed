"""Octets of frames that have a shape of their own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport.http2 import frame
from transport.http2.errors import ConnectionViolation
from transport.http2.frame import CONTINUATION, END_HEADERS, END_STREAM, HEADERS, Setting


def test_header_is_length_kind_flags_stream() -> None:
    assert frame.encode(HEADERS, 5, 7, b"abc") == b"\x00\x00\x03\x01\x05\x00\x00\x00\x07abc"


@given(values=st.dictionaries(st.sampled_from(Setting), st.integers(16_384, 65_535)))
@settings(deadline=None, max_examples=50)
def test_settings_round_trip(values: dict[Setting, int]) -> None:
    values.pop(Setting.ENABLE_PUSH, None)

    payload = frame.encode_settings(values)[frame.HEADER_BYTES :]

    assert frame.decode_settings(payload) == values


def test_goaway_round_trip() -> None:
    payload = frame.encode_goaway(5, 11, "too_many_pings")[frame.HEADER_BYTES :]

    assert frame.decode_goaway(payload) == (5, 11, "too_many_pings")


def test_block_of_several_frames_ends_once() -> None:
    data = frame.encode_block(1, bytes(40_000), END_STREAM, 16_384)

    headers = [(data[at + 3], data[at + 4]) for at in (0, 16_393, 32_786)]
    assert headers == [(HEADERS, END_STREAM), (CONTINUATION, 0), (CONTINUATION, END_HEADERS)]


@given(content=st.binary(max_size=50), padding=st.integers(0, 50))
@settings(deadline=None, max_examples=50)
def test_padding_is_stripped(content: bytes, padding: int) -> None:
    padded = bytes((padding,)) + content + bytes(padding)

    assert frame.strip_padding(padded, frame.PADDED) == content


def test_padding_as_long_as_the_frame_is_refused() -> None:
    with pytest.raises(ConnectionViolation):
        frame.strip_padding(b"\x03ab", frame.PADDED)
