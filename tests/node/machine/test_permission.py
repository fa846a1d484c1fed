"""Unions of permissions against a naive model that looks at every key on its own."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.machine.interval import FROM_KEY, contains, interval
from node.machine.permission import is_grantable, rights
from node.proto import auth

LETTERS = b"abcd"
KEYS = sorted(
    bytes(key) for length in range(1, 4) for key in product(b"\0" + LETTERS, repeat=length)
)
"""Every key of up to three bytes: with them all ends of intervals of up to two are told apart."""

key = st.binary(min_size=1, max_size=2).map(lambda raw: bytes(LETTERS[b % 4] for b in raw))
range_end = st.just(b"") | st.just(FROM_KEY) | key
Kind = auth.Permission.Type
kind = st.sampled_from([Kind.READ, Kind.WRITE, Kind.READWRITE])
permissions = st.lists(
    st.builds(
        lambda kind, key, end: auth.Permission(permType=kind, key=key, range_end=end),
        kind,
        key,
        range_end,
    ),
    max_size=6,
)


def keys_of(lo: bytes, hi: bytes | None) -> set[bytes]:
    return {each for each in KEYS if contains(lo, hi, each)}


@given(permissions, key, range_end)
def test_request_is_covered_if_each_of_its_keys_is(
    granted: list[auth.Permission], key: bytes, range_end: bytes
) -> None:
    lo, hi = interval(key, range_end)
    asked = keys_of(lo, hi)
    held = rights(granted)

    for intervals, kinds in (
        (held.read, (Kind.READ, Kind.READWRITE)),
        (held.write, (Kind.WRITE, Kind.READWRITE)),
    ):
        given_keys = [
            keys_of(*interval(each.key, each.range_end))
            for each in granted
            if each.permType in kinds
        ]
        unbounded = any(each.range_end == FROM_KEY for each in granted if each.permType in kinds)
        if asked:
            allowed = asked <= set().union(*given_keys) and (hi is not None or unbounded)
            assert intervals.covers(lo, hi) is allowed
        elif not any(given_keys):
            assert not intervals.covers(lo, hi)


@given(permissions, key, range_end)
def test_order_of_permissions_makes_no_difference(
    granted: list[auth.Permission], key: bytes, range_end: bytes
) -> None:
    lo, hi = interval(key, range_end)

    forth, back = rights(granted), rights(reversed(granted))

    assert forth.read.covers(lo, hi) is back.read.covers(lo, hi)
    assert forth.write.covers(lo, hi) is back.write.covers(lo, hi)


@pytest.mark.parametrize(
    ("key", "range_end", "grantable"),
    [
        (b"a", b"", True),
        (b"a", b"b", True),
        (b"a", FROM_KEY, True),
        (FROM_KEY, FROM_KEY, True),
        (b"a", b"a", False),
        (b"b", b"a", False),
        (b"", b"", False),
        (b"", b"a", False),
        (b"", FROM_KEY, False),
    ],
)
def test_permission_must_mean_a_key(key: bytes, range_end: bytes, grantable: bool) -> None:
    assert is_grantable(key, range_end) is grantable


def test_permission_of_a_later_kind_gives_nothing() -> None:
    later = auth.Permission.FromString(b"\x08\x07" + auth.Permission(key=b"a").SerializeToString())

    held = rights([later])

    assert later.permType == 7
    assert not held.read.covers(b"a", b"a\0")
    assert not held.write.covers(b"a", b"a\0")
