"""Header blocks against `hpack`'s own codec, and the caches that must never change a meaning."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder, HPACKError
from hypothesis import given, settings
from hypothesis import strategies as st

from transport.http2.errors import ConnectionViolation
from transport.http2.event import Headers
from transport.http2.header import (
    HeaderDecoder,
    HeaderEncoder,
    fault_of_request,
    fault_of_response,
    fault_of_trailers,
)

NAMES = st.sampled_from([b":path", b"te", b"token", b"grpc-timeout", b"x" * 200, b"user-agent"])
VALUES = st.one_of(
    st.sampled_from([b"", b"trailers", b"/a.B/C", b"v" * 3000]), st.binary(max_size=20)
)
LISTS = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(tuple)


@given(lists=st.lists(LISTS, max_size=12), huffman=st.booleans())
@settings(deadline=None, max_examples=150)
def test_decoder_agrees_with_hpack(lists: list[Headers], huffman: bool) -> None:
    encoder, decoder = Encoder(), HeaderDecoder(1 << 20)

    for headers in lists:
        assert decoder.decode(bytes(encoder.encode(headers, huffman=huffman))) == headers


@given(
    steps=st.lists(st.one_of(LISTS, st.integers(0, 8192)), max_size=12),
)
@settings(deadline=None, max_examples=150)
def test_encoder_agrees_with_hpack(steps: list[Headers | int]) -> None:
    encoder, decoder = HeaderEncoder(), Decoder()

    for step in steps:
        if isinstance(step, int):
            encoder.resize(step)
        else:
            decoded = decoder.decode(encoder.encode(step), raw=True)
            assert tuple(tuple(field) for field in decoded) == step


@given(blocks=st.lists(st.binary(max_size=60), max_size=6))
@settings(deadline=None, max_examples=300)
def test_decoder_refuses_what_hpack_refuses(blocks: list[bytes]) -> None:
    ours, theirs = HeaderDecoder(1 << 16), Decoder()

    for block in blocks:
        try:
            expected = tuple(tuple(field) for field in theirs.decode(block, raw=True))
        except (HPACKError, IndexError):
            with pytest.raises(ConnectionViolation):
                ours.decode(block)
            return
        assert ours.decode(block) == expected


def test_block_seen_before_is_the_same_object() -> None:
    encoder, decoder = Encoder(), HeaderDecoder(1 << 16)
    headers = ((b":path", b"/a.B/C"), (b"te", b"trailers"))
    decoder.decode(bytes(encoder.encode(headers)))
    block = bytes(encoder.encode(headers))

    first, second = decoder.decode(block), decoder.decode(block)

    assert first is second
    assert first == headers


def test_insertion_makes_a_cached_block_mean_something_else() -> None:
    decoder = HeaderDecoder(1 << 16)
    decoder.decode(b"\x40\x01a\x011")
    newest = b"\xbe"
    assert decoder.decode(newest) == ((b"a", b"1"),)
    assert decoder.decode(newest) == ((b"a", b"1"),)

    decoder.decode(b"\x40\x01b\x012")

    assert decoder.decode(newest) == ((b"b", b"2"),)


def test_resize_inside_a_block_is_not_skipped_by_the_cache() -> None:
    decoder = HeaderDecoder(1 << 16)
    shrink_and_method = b"\x20\x82"
    assert decoder.decode(shrink_and_method) == ((b":method", b"GET"),)
    decoder.decode(b"\x3f\xe1\x1f\x40\x01a\x011")

    decoder.decode(shrink_and_method)

    with pytest.raises(ConnectionViolation):
        decoder.decode(b"\xbe")


def test_encoder_never_indexes_what_seldom_repeats() -> None:
    encoder, decoder = HeaderEncoder(), Decoder()

    for number in range(100):
        decoder.decode(encoder.encode(((b"token", b"%d" % number), (b"grpc-timeout", b"1S"))))

    assert len(decoder.header_table.dynamic_entries) == 0


REQUEST = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"))


@pytest.mark.parametrize(
    ("headers", "malformed"),
    [
        (REQUEST, False),
        ((*REQUEST, (b":authority", b"a"), (b"te", b"trailers")), False),
        (REQUEST[:2], True),
        ((*REQUEST[:2], (b":path", b"")), True),
        ((*REQUEST, REQUEST[0]), True),
        ((*REQUEST, (b":status", b"200")), True),
        (((b"a", b"b"), *REQUEST), True),
        ((*REQUEST, (b"", b"b")), True),
        ((*REQUEST, (b"a b", b"c")), True),
        ((*REQUEST, (b"a", b" b")), True),
        ((*REQUEST, (b"a", b"b\x00")), True),
        ((*REQUEST, (b"upgrade", b"h2c")), True),
    ],
)
def test_fault_of_request(headers: Headers, malformed: bool) -> None:
    assert bool(fault_of_request(headers)) is malformed


@pytest.mark.parametrize(
    ("headers", "malformed"),
    [
        (((b":status", b"200"),), False),
        ((), True),
        (((b":status", b"abc"),), True),
        (((b":path", b"/"),), True),
    ],
)
def test_fault_of_response(headers: Headers, malformed: bool) -> None:
    assert bool(fault_of_response(headers)) is malformed


def test_fault_of_trailers() -> None:
    assert fault_of_trailers(((b"grpc-status", b"0"),)) == ""
    assert fault_of_trailers(((b":status", b"200"),)) != ""
