"""Entry data: what is packed comes out again, and what is no envelope is noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import InvariantViolated
from node.machine.envelope import OVERHEAD_BYTES, Envelope, RequestKind, pack, unpack

uint64 = st.integers(0, 2**64 - 1)


@given(st.sampled_from(RequestKind), uint64, uint64, st.binary())
def test_unpack_inverts_pack(kind: RequestKind, origin: int, sequence: int, request: bytes) -> None:
    data = pack(kind, origin, sequence, request)

    assert unpack(data) == Envelope(kind, origin, sequence, request)
    assert len(data) == len(request) + OVERHEAD_BYTES


def test_unpack_refuses_a_short_entry() -> None:
    with pytest.raises(InvariantViolated, match="too short"):
        unpack(pack(RequestKind.PUT, 1, 2, b"")[:-1])


def test_unpack_refuses_a_later_version() -> None:
    data = bytearray(pack(RequestKind.PUT, 1, 2, b"request"))
    data[1] += 1

    with pytest.raises(InvariantViolated, match="version 2"):
        unpack(bytes(data))


def test_request_kinds_keep_their_numbers() -> None:
    # They are in logs on disk.
    assert {kind.name: kind.value for kind in RequestKind} == {
        "PUT": 1,
        "DELETE_RANGE": 2,
        "TXN": 3,
        "COMPACT": 4,
        "LEASE_GRANT": 5,
        "LEASE_REVOKE": 6,
        "ALARM": 7,
        "MEMBER_PUBLISH": 8,
        "MEMBER_ADD": 9,
        "MEMBER_REMOVE": 10,
        "MEMBER_PROMOTE": 11,
        "MEMBER_UPDATE": 12,
        "STATE_CHECK": 13,
    }
