"""A range in pages against the same range in one piece, while the store goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.machine.errors import Compacted, FutureRevision
from node.machine.paging import Page, Paging
from node.proto import rpc
from tests.support.machine import Replica, answered

KEYS = [b"a", b"a\0", b"b", b"c", b"c\0", b"d", b"\xff"]
BOUNDS = [b"", b"\0", *KEYS]
VALUES = [b"", b"v", b"v" * 300]
BYTES_MAX = 1 << 20
Writes = list[tuple[bytes, bytes | None]]

writes = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.sampled_from(VALUES)))


def do(replica: Replica, changes: Writes) -> None:
    """Put, or delete where there is no value."""
    for key, value in changes:
        if value is None:
            replica.delete(key)
        else:
            replica.put(key, value)


def page_of(outcome: object) -> Page:
    assert isinstance(outcome, Page), outcome
    return outcome


@given(
    before=writes,
    between=st.lists(writes, max_size=4),
    key=st.sampled_from(KEYS),
    range_end=st.sampled_from(BOUNDS),
    back=st.integers(0, 5),
    keys_max=st.integers(1, 4),
    bytes_max=st.sampled_from([1, 400, BYTES_MAX]),
    keys_only=st.booleans(),
)
def test_pages_together_are_the_range_at_its_beginning(
    before: Writes,
    between: list[Writes],
    key: bytes,
    range_end: bytes,
    back: int,
    keys_max: int,
    bytes_max: int,
    keys_only: bool,
) -> None:
    replica = Replica()
    do(replica, before)
    revision = max(1, replica.machine.revision - back)
    request = rpc.RangeRequest(
        key=key, range_end=range_end, keys_only=keys_only, revision=revision if back else 0
    )
    whole = rpc.RangeResponse.FromString(answered(replica.machine.range(request)).body)

    paging, counting = (Paging(request, replica.machine.revision) for _ in range(2))
    found = b""
    counted = 0
    pages = iter([*between, *[[]] * 20])
    while not paging.ended:
        page = page_of(replica.machine.next_page(paging, keys_max, bytes_max))
        assert page.keys <= keys_max
        found += page.key_values
        if not counting.ended:
            counted += page_of(replica.machine.count_page(counting, keys_max)).keys
        do(replica, next(pages))
        replica.compact_some()

    assert counting.ended or counted < whole.count
    while not counting.ended:
        counted += page_of(replica.machine.count_page(counting, keys_max)).keys
    assert list(rpc.RangeResponse.FromString(found).kvs) == list(whole.kvs)
    assert counted == whole.count


def test_page_is_full_by_bytes_behind_the_key_that_fills_it() -> None:
    replica = Replica()
    do(replica, [(key, b"v" * 100) for key in KEYS])
    paging = Paging(rpc.RangeRequest(key=b"a", range_end=b"\0"), replica.machine.revision)

    sizes = []
    while not paging.ended:
        sizes.append(page_of(replica.machine.next_page(paging, 100, 150)).keys)

    assert sizes == [2, 2, 2, 1]


def test_compaction_ends_the_reading_only_above_its_revision() -> None:
    replica = Replica()
    do(replica, [(key, b"v") for key in KEYS])
    paging = Paging(rpc.RangeRequest(key=b"a", range_end=b"\0"), replica.machine.revision)
    page_of(replica.machine.next_page(paging, 1, BYTES_MAX))
    do(replica, [(key, None) for key in KEYS])

    replica.compact(paging.revision)
    while replica.compact_some():
        pass
    assert page_of(replica.machine.next_page(paging, 2, BYTES_MAX)).keys == 2

    replica.compact(paging.revision + 1)
    for outcome in (
        replica.machine.next_page(paging, 1, BYTES_MAX),
        replica.machine.count_page(paging, 1),
    ):
        assert isinstance(outcome, Compacted)


@pytest.mark.parametrize("revision", [3, 99])
def test_future_revision_is_refused(revision: int) -> None:
    replica = Replica()
    replica.put(b"a")
    paging = Paging(rpc.RangeRequest(key=b"a", revision=revision), replica.machine.revision)

    assert isinstance(replica.machine.next_page(paging, 1, BYTES_MAX), FutureRevision)
    assert not paging.ended
