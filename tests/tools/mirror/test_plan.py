"""A mirror's plan, carried out on dictionaries: what the destination becomes, and on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.proto import kv_pb2, rpc
from tools.mirror.errors import CheckpointConflict
from tools.mirror.plan import (
    RESERVED,
    TXN_BYTES_MAX,
    Checkpoint,
    Names,
    Step,
    copy_steps,
    difference,
    follow_steps,
    prefix_end,
    transaction,
)

State = dict[bytes, bytes]
WHOLE = Names(b"", b"")
START = Checkpoint(7, b"", "copy", 10)
FOLLOW = Checkpoint(7, b"", "follow", 10)
KEYS = st.sampled_from([b"a", b"b", b"b\xff", b"c", b"d", b"\xff", RESERVED + b"x"])
STATES = st.dictionaries(KEYS, st.binary(max_size=2), max_size=7)


def pairs(state: State) -> list[kv_pb2.KeyValue]:
    return [kv_pb2.KeyValue(key=key, value=value) for key, value in sorted(state.items())]


def put(revision: int, key: bytes, value: bytes = b"") -> kv_pb2.Event:
    return kv_pb2.Event(kv=kv_pb2.KeyValue(key=key, value=value, mod_revision=revision))


def deleted(revision: int, key: bytes) -> kv_pb2.Event:
    gone = kv_pb2.KeyValue(key=key, mod_revision=revision)
    return kv_pb2.Event(type=kv_pb2.Event.DELETE, kv=gone)


def carry_out(steps: Sequence[Step], state: State) -> State:
    state = dict(state)
    for step in steps:
        for change in step.changes:
            if change.value is None:
                state.pop(change.key, None)
            else:
                state[change.key] = change.value
    return state


def without_reserved(state: State) -> State:
    return {key: value for key, value in state.items() if not key.startswith(RESERVED)}


# The copy.


@settings(deadline=None)
@given(STATES, STATES, st.integers(1, 4), st.integers(2, 4), st.booleans())
def test_copy_makes_the_destination_equal(
    source: State, dest: State, page: int, operations_max: int, delete_extras: bool
) -> None:
    """Page by page, as it is done; what is nobody's data is left alone on both sides."""
    at, now, left = START, dict(dest), pairs(source)
    while at.phase == "copy":
        kvs, left = left[:page], left[page:]
        last = kvs[-1].key if left else b""
        lo, hi = WHOLE.dest_window(at.key, last)
        window = [kv for kv in pairs(now) if lo <= kv.key and (hi == b"\0" or kv.key < hi)]
        changes, _ = difference(WHOLE, kvs, window, delete_extras=delete_extras)
        steps = copy_steps(changes, at, last, operations_max)
        assert all(len(step.changes) < operations_max for step in steps)
        now = carry_out(steps, now)
        at = steps[-1].checkpoint

    extras = {} if delete_extras else without_reserved(dest)
    assert without_reserved(now) == extras | without_reserved(source)
    kept = {key: value for key, value in dest.items() if key.startswith(RESERVED)}
    assert {key: value for key, value in now.items() if key.startswith(RESERVED)} == kept
    assert at == Checkpoint(7, b"", "follow", 10)


def test_what_is_right_is_not_written_unless_its_lease_would_take_it() -> None:
    leased = kv_pb2.KeyValue(key=b"b", value=b"2", lease=5)

    changes, extras = difference(
        WHOLE,
        pairs({b"a": b"1", b"b": b"2"}),
        [*pairs({b"a": b"1"}), leased, *pairs({b"c": b""})],
        delete_extras=False,
    )

    assert [change.key for change in changes] == [b"b"]
    assert extras == 1


def test_only_the_last_part_of_a_window_moves_past_it() -> None:
    changes, _ = difference(
        WHOLE, pairs({b"%d" % n: b"" for n in range(5)}), [], delete_extras=False
    )

    steps = copy_steps(changes, START, b"4", 3)

    assert [len(step.changes) for step in steps] == [2, 2, 1]
    assert [step.checkpoint.key for step in steps] == [b"", b"", b"4"]
    assert len({step.checkpoint.encode() for step in steps}) == 3


# What happens after it.


@st.composite
def histories(draw: st.DrawFn) -> list[kv_pb2.Event]:
    """Revisions after 10, each with changes of different keys."""
    events = []
    for revision in range(11, 11 + draw(st.integers(0, 6))):
        for key in sorted(draw(st.sets(KEYS, min_size=1, max_size=4))):
            value = draw(st.none() | st.binary(max_size=2))
            events.append(deleted(revision, key) if value is None else put(revision, key, value))
    return events


def naive(events: Sequence[kv_pb2.Event], state: State) -> State:
    state = dict(state)
    for event in events:
        if event.type == kv_pb2.Event.DELETE:
            state.pop(event.kv.key, None)
        else:
            state[event.kv.key] = event.kv.value
    return state


@settings(deadline=None)
@given(histories(), STATES, st.integers(2, 6))
def test_following_ends_as_the_source(
    events: list[kv_pb2.Event], state: State, operations_max: int
) -> None:
    last = events[-1].kv.mod_revision if events else 10
    steps = follow_steps(WHOLE, events, FOLLOW, last, operations_max)

    assert without_reserved(carry_out(steps, state)) == without_reserved(naive(events, state))
    assert all(len(step.changes) < operations_max for step in steps)
    assert last == (steps[-1].checkpoint if steps else FOLLOW).revision


@settings(deadline=None)
@given(histories(), STATES)
def test_revisions_that_fit_are_whole_and_no_version_is_lost(
    events: list[kv_pb2.Event], state: State
) -> None:
    """After each transaction the destination is as the source was at the checkpoint's revision."""
    events = [event for event in events if not event.kv.key.startswith(RESERVED)]
    steps = follow_steps(WHOLE, events, FOLLOW, 10, 100)

    seen = state
    for step in steps:
        seen = carry_out([step], seen)
        upto = step.checkpoint.revision
        assert seen == naive([e for e in events if e.kv.mod_revision <= upto], state)
    assert sum(len(step.changes) for step in steps) == len(events)


@settings(deadline=None)
@given(histories(), STATES, st.integers(2, 5), st.integers(0, 10))
def test_a_mirror_that_dies_anywhere_ends_the_same(
    events: list[kv_pb2.Event], state: State, operations_max: int, made: int
) -> None:
    last = events[-1].kv.mod_revision if events else 10
    steps = follow_steps(WHOLE, events, FOLLOW, last, operations_max)[:made]
    half = carry_out(steps, state)
    at = steps[-1].checkpoint if steps else FOLLOW

    rest = [event for event in events if event.kv.mod_revision > at.revision]
    again = follow_steps(WHOLE, rest, Checkpoint.decode(at.encode()), last, operations_max)

    assert without_reserved(carry_out(again, half)) == without_reserved(naive(events, state))


def test_events_told_twice_count_once() -> None:
    """A watch that is resumed in the middle of a revision begins that revision again."""
    events = [put(11, b"a", b"1"), put(11, b"a", b"1"), put(11, b"b", b"2")]

    [step] = follow_steps(WHOLE, events, FOLLOW, 11, 10)

    assert [change.key for change in step.changes] == [b"a", b"b"]


def test_large_revision_is_split_and_counts_only_when_it_is_whole() -> None:
    events = [put(11, b"a"), *(deleted(12, b"%03d" % n) for n in range(5)), put(13, b"z")]

    steps = follow_steps(WHOLE, events, FOLLOW, 13, 3)

    assert [len(step.changes) for step in steps] == [1, 2, 2, 1, 1]
    assert [step.checkpoint.revision for step in steps] == [11, 11, 11, 12, 13]
    assert len({step.checkpoint.encode() for step in steps}) == 5


def test_transactions_are_bounded_in_bytes() -> None:
    value = bytes(TXN_BYTES_MAX // 2)
    events = [put(11 + n, b"%d" % n, value) for n in range(3)]

    steps = follow_steps(WHOLE, events, FOLLOW, 13, 100)

    assert [len(step.changes) for step in steps] == [1, 1, 1]


def test_progress_without_events_moves_the_checkpoint() -> None:
    [step] = follow_steps(WHOLE, [], FOLLOW, 50, 10)

    assert (step.changes, step.checkpoint.revision) == ((), 50)
    assert follow_steps(WHOLE, [], FOLLOW, 10, 10) == []


# Names, checkpoints, requests.


@pytest.mark.parametrize(
    ("names", "key", "mapped"),
    [
        (Names(b"", b""), b"k", b"k"),
        (Names(b"a/", b"a/"), b"a/k", b"a/k"),
        (Names(b"a/", b"b/"), b"a/k", b"b/k"),
        (Names(b"a/", b""), b"a/k", b"k"),
        (Names(b"", b"b/"), b"k", b"b/k"),
    ],
)
def test_names(names: Names, key: bytes, mapped: bytes) -> None:
    assert names.mapped(key) == mapped
    lo, hi = names.dest_window(b"", b"")
    assert lo <= mapped
    assert hi == b"\0" or mapped < hi


def test_reserved_keys_have_no_place() -> None:
    assert not WHOLE.copied(RESERVED + b"x")
    assert not Names(b"a/", b"").copied(b"a/" + RESERVED)
    assert WHOLE.copied(b"conclave")


@pytest.mark.parametrize(
    ("prefix", "end"), [(b"", b"\0"), (b"a", b"b"), (b"a\xff", b"b"), (b"\xff\xff", b"\0")]
)
def test_prefix_end(prefix: bytes, end: bytes) -> None:
    assert prefix_end(prefix) == end


@given(st.integers(1, 2**64 - 1), st.binary(), st.binary(), st.integers(0, 2**63))
def test_checkpoint_comes_back_as_it_was(
    source: int, prefix: bytes, key: bytes, revision: int
) -> None:
    at = Checkpoint(source, prefix, "copy", revision, key, 2)

    assert Checkpoint.decode(at.encode()) == at
    assert Checkpoint.decode(replace(at, phase="follow").encode()).phase == "follow"


@pytest.mark.parametrize(
    "value", [b"", b"x", b"[]", b"{}", FOLLOW.encode().replace(b"follow", b"lead"), b"\xff"]
)
def test_foreign_value_is_no_checkpoint(value: bytes) -> None:
    with pytest.raises(CheckpointConflict):
        Checkpoint.decode(value)


def test_transaction_is_fenced_by_the_checkpoint() -> None:
    [step] = follow_steps(WHOLE, [put(11, b"a", b"1"), deleted(11, b"b")], FOLLOW, 11, 10)
    first, later = transaction(WHOLE, step, None), transaction(WHOLE, step, b"before")

    assert first.compare[0].target == rpc.Compare.CREATE
    assert (later.compare[0].key, later.compare[0].value) == (RESERVED, b"before")
    kinds = [operation.WhichOneof("request") for operation in later.success]
    assert kinds == ["request_put", "request_delete_range", "request_put"]
    assert later.success[-1].request_put.value == step.checkpoint.encode()
    assert later.failure[0].request_range.key == RESERVED
