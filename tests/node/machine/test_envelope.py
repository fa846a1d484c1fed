"""Entry data: what is packed comes out again, and what is no envelope is noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import InvariantViolated
from node.machine.envelope import (
    MEMBER,
    OVERHEAD_BYTES,
    Credential,
    Envelope,
    RequestKind,
    pack,
    unpack,
)

uint64 = st.integers(0, 2**64 - 1)


users = st.builds(Credential, st.text(min_size=1), uint64)


@given(st.sampled_from(RequestKind), uint64, uint64, st.binary(), st.none() | users)
def test_unpack_inverts_pack(
    kind: RequestKind, origin: int, sequence: int, request: bytes, by: Credential | None
) -> None:
    data = pack(kind, origin, sequence, request, by)

    assert unpack(data) == Envelope(kind, origin, sequence, request, by)


@pytest.mark.parametrize("by", [None, MEMBER])
def test_request_without_a_user_has_the_shortest_envelope(by: Credential | None) -> None:
    assert len(pack(RequestKind.PUT, 1, 2, b"request", by)) == len(b"request") + OVERHEAD_BYTES


def test_member_is_no_user() -> None:
    """Nobody can become it by a name: there is only the one that an envelope says."""
    assert unpack(pack(RequestKind.PUT, 1, 2, b"", MEMBER)).credential is MEMBER
    assert unpack(pack(RequestKind.PUT, 1, 2, b"", Credential("", 0))).credential is not MEMBER


def test_unpack_refuses_a_short_entry() -> None:
    with pytest.raises(InvariantViolated, match="too short"):
        unpack(pack(RequestKind.PUT, 1, 2, b"")[:-1])


def test_unpack_refuses_a_short_credential() -> None:
    whole = pack(RequestKind.PUT, 1, 2, b"", Credential("alice", 7))
    for length in range(OVERHEAD_BYTES, len(whole)):
        with pytest.raises(InvariantViolated, match="too short"):
            unpack(whole[:length])


def test_unpack_refuses_a_name_that_is_no_text() -> None:
    whole = pack(RequestKind.PUT, 1, 2, b"", Credential("alice", 7))

    with pytest.raises(InvariantViolated, match="no name"):
        unpack(whole[:-1] + b"\xff")


def test_unpack_refuses_a_later_form() -> None:
    data = bytearray(pack(RequestKind.PUT, 1, 2, b"request"))
    data[1] = 4

    with pytest.raises(InvariantViolated, match="form 4"):
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
        "LEASE_CHECKPOINT": 14,
        "DOWNGRADE": 15,
        "AUTH_ENABLE": 32,
        "AUTH_DISABLE": 33,
        "AUTHENTICATE": 34,
        "USER_ADD": 35,
        "USER_DELETE": 36,
        "USER_CHANGE_PASSWORD": 37,
        "USER_GRANT_ROLE": 38,
        "USER_REVOKE_ROLE": 39,
        "ROLE_ADD": 40,
        "ROLE_DELETE": 41,
        "ROLE_GRANT_PERMISSION": 42,
        "ROLE_REVOKE_PERMISSION": 43,
    }
