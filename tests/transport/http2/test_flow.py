"""What waits on a stream, and what the peer may send."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport.http2.errors import ConnectionViolation, ErrorCode
from transport.http2.flow import Outbox, ReceiveWindow


@given(
    chunks=st.lists(st.binary(max_size=30), max_size=10),
    room=st.lists(st.integers(1, 20), min_size=1, max_size=5),
)
@settings(deadline=None, max_examples=100)
def test_outbox_gives_back_the_same_bytes(chunks: list[bytes], room: list[int]) -> None:
    outbox = Outbox()
    for chunk in chunks:
        outbox.add(chunk)
    assert outbox.size == sum(map(len, chunks))

    taken: list[bytes] = []
    while outbox.size:
        taken.append(bytes(outbox.take(room[len(taken) % len(room)])))

    assert b"".join(taken) == b"".join(chunks)
    assert all(0 < len(piece) <= max(room) for piece in taken)


@given(sizes=st.lists(st.integers(0, 500), max_size=50))
@settings(deadline=None, max_examples=100)
def test_receive_window_announces_all_that_was_used(sizes: list[int]) -> None:
    window = ReceiveWindow(1000)

    announced = sum(window.use(size) for size in sizes)

    assert 0 <= sum(sizes) - announced < 500


def test_receive_window_exceeded() -> None:
    window = ReceiveWindow(1000)

    with pytest.raises(ConnectionViolation) as raised:
        window.use(1001)

    assert raised.value.code is ErrorCode.FLOW_CONTROL_ERROR
