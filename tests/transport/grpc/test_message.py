"""Cutting bytes into messages."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport.grpc.message import MessageReader, MessageRefused, encode_message
from transport.grpc.status import Status


@given(messages=st.lists(st.binary(max_size=40), max_size=8), cut=st.integers(1, 30))
@settings(deadline=None, max_examples=150)
def test_messages_cut_anywhere(messages: list[bytes], cut: int) -> None:
    stream = b"".join(map(encode_message, messages))
    reader = MessageReader(40)

    got: list[bytes] = []
    for start in range(0, len(stream), cut):
        got += reader.add(stream[start : start + cut])

    assert got == messages
    assert reader.held == 0


def test_message_too_large_is_refused_before_it_is_held() -> None:
    reader = MessageReader(10)

    with pytest.raises(MessageRefused) as raised:
        reader.add(b"\x00\x00\x00\x00\x0b")

    assert raised.value.status is Status.RESOURCE_EXHAUSTED
