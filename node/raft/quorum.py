"""Majority arithmetic over one set of voters, or two when a configuration is joint.

Knows nothing of logs or elections: members are numbers, and what they agree on are numbers (match
index, read round) or yes and no (votes). A joint decision needs a majority of both sides; an empty
side agrees with everything. Source: Raft paper §5.2, §5.3 and §6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """How a vote stands."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def majority(voters: int) -> int:
    """How many of `voters` are more than half."""
    return voters // 2 + 1


@dataclass(frozen=True, slots=True)
class Quorum:
    """Whose agreement counts; `outgoing` is empty except in a joint configuration."""

    voters: tuple[int, ...]
    outgoing: tuple[int, ...] = ()

    def agreed(self, value_of: Callable[[int], int]) -> int:
        """The largest number that a majority has reached.

        Worked example: values 7, 5, 3 of three voters agree on 5, since two have reached 5.
        """
        agreed = _agreed(self.voters, value_of)
        if self.outgoing:
            agreed = min(agreed, _agreed(self.outgoing, value_of))
        return agreed

    def verdict(self, votes: Mapping[int, bool]) -> Verdict:
        """Count `votes`; a voter that is missing in it has not answered yet."""
        sides = [_verdict(side, votes) for side in (self.voters, self.outgoing) if side]
        if Verdict.LOST in sides:
            return Verdict.LOST
        return Verdict.PENDING if Verdict.PENDING in sides else Verdict.WON

    def members(self) -> tuple[int, ...]:
        """All voters of both sides, in order."""
        return tuple(sorted({*self.voters, *self.outgoing}))

    def __contains__(self, member: int) -> bool:
        return member in self.voters or member in self.outgoing


def _agreed(voters: tuple[int, ...], value_of: Callable[[int], int]) -> int:
    values = sorted([value_of(voter) for voter in voters])
    return values[(len(values) - 1) // 2]


def _verdict(voters: tuple[int, ...], votes: Mapping[int, bool]) -> Verdict:
    granted = sum(votes.get(voter) is True for voter in voters)
    refused = sum(votes.get(voter) is False for voter in voters)
    needed = majority(len(voters))
    if granted >= needed:
        return Verdict.WON
    return Verdict.LOST if len(voters) - refused < needed else Verdict.PENDING
