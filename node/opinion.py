"""What members say about their own state, and what follows from hearing several of them.

    leader    heartbeat: the checkpoint that is compared, its own digest there, and the newest check
              of the states on which a majority agrees
    follower  answer: its digest at that checkpoint, the newest check that it has finished

Everything in an opinion is a fact about an index, so it may be late, doubled or lost: the next one
says the same or more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from node.raft.message import Number

Value = TypeVar("Value", bound=Hashable)


class Opinion(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One member at one moment. Index 0 = nothing to say."""

    index: Number = 0
    """The checkpoint of the chain that the leader asks about."""
    origin: Number = 0
    crc: Number = 0
    checking: Number = 0
    """The newest check of the states that this member has begun."""
    checked: Number = 0
    """The newest that it has finished."""
    state: Number | None = None
    """Its checksum there; None = it had nothing to compare."""
    agreed: Number = 0
    """Of a leader: the newest check on which a majority agrees, and its checksum."""
    agreed_state: Number = 0
    wants: bool = False
    """It would like to be checked: its state comes from a disk or from another member."""


@dataclass(slots=True)
class Question(Generic[Value]):
    """One index, and what the members have said of it."""

    index: int
    asked_at: float
    opinions: dict[int, Value] = field(default_factory=dict)
    torn_at: float | None = None
    """Since when there are different opinions without a majority."""


class Verdict(msgspec.Struct, Generic[Value], frozen=True):
    """What several opinions on one index amount to."""

    agreed: Value | None = None
    """What a majority of the voters says."""
    accused: tuple[int, ...] = ()
    """Who says something else, by id."""
    torn: bool = False
    """There are different opinions and no majority for any."""


def judge(opinions: Mapping[int, Value], voters: Collection[int]) -> Verdict[Value]:
    """Weigh opinions by member. Only voters make a majority; a learner may still be wrong.

    Nobody is accused by less than a majority: of two that differ, either may be right. That one of
    them leads is no argument, since a leader is chosen for its log and not for its state.
    """
    votes = Counter(opinions[member] for member in sorted(voters) if member in opinions)
    for value, count in votes.most_common(1):
        if 2 * count > len(voters):
            accused = [member for member in sorted(opinions) if opinions[member] != value]
            return Verdict(value, tuple(accused))
    return Verdict(torn=len(set(opinions.values())) > 1)
