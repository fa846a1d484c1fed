"""Every message survives the wire as it is, and garbage does not pass for one."""

from __future__ import annotations

import msgspec
import pytest

from node.raft import ConfChange, ConfChangeKind, ConfState, Entry, Message, SnapshotMeta
from node.raft.message import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    PreVote,
    PreVoteReply,
    Propose,
    ProposeDropped,
    ReadIndex,
    ReadIndexReply,
    TimeoutNow,
    TransferLeader,
    Vote,
    VoteReply,
)

BIG = 2**64 - 1
CONF = ConfState((1, 2), (3,))
EVERY: list[Message] = [
    PreVote(BIG, 2, 3, 4, 5),
    PreVoteReply(1, BIG, 3, granted=True),
    Vote(1, 2, 3, 4, 5, force=True),
    VoteReply(1, 2, 3, granted=False),
    Append(1, 2, 3, 4, 5, 6, [Entry(3, 5, 0, b"x"), Entry(3, 6, 1, b"")]),
    AppendReply(1, 2, 3, 4, reject=True, hint_index=2, hint_term=1),
    Heartbeat(1, 2, 3, 4, 5),
    HeartbeatReply(1, 2, 3, 4),
    InstallSnapshot(1, 2, 3, SnapshotMeta(9, 2, CONF)),
    TimeoutNow(1, 2, 3),
    Propose(1, 2, 3, 0, [b"x", b""], 4, 5),
    TransferLeader(1, 2, 3, 4),
    ReadIndex(1, 2, 3, BIG),
    ReadIndexReply(1, 2, 3, 4, 5),
    ProposeDropped(1, 2, 3, 4, 5),
]


def test_every_message_round_trips_in_one_list() -> None:
    wire = msgspec.msgpack.encode(EVERY)

    assert msgspec.msgpack.decode(wire, type=list[Message]) == EVERY


def test_every_kind_is_covered_above() -> None:
    assert {type(message) for message in EVERY} == set(Message.__args__)


@pytest.mark.parametrize(
    "value",
    [[99, 1, 2, 3], [5, 1, 2], [7, 1, 2, 3, "four", 5], {"sender": 1}, [], 7],
    ids=["unknown tag", "too short", "wrong type", "map", "empty", "number"],
)
def test_garbage_is_refused(value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=Message)


def test_conf_change_round_trips() -> None:
    change = ConfChange(ConfChangeKind.ADD_LEARNER, BIG, b"context")

    wire = msgspec.msgpack.encode(change)

    assert msgspec.msgpack.decode(wire, type=ConfChange) == change
