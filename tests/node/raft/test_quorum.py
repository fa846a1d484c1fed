"""Majority arithmetic against a naive version that tries every subset of voters."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from node.raft.quorum import Quorum, Verdict, majority

members = st.lists(st.integers(1, 12), unique=True, min_size=1, max_size=7).map(
    lambda ids: tuple(sorted(ids))
)
quick = settings(deadline=None, max_examples=150)


def naive_majorities(voters: tuple[int, ...]) -> list[set[int]]:
    """Every subset that is more than half."""
    sizes = range(len(voters) + 1)
    return [
        set(some) for size in sizes for some in combinations(voters, size) if 2 * size > len(voters)
    ]


def naive_agreed(voters: tuple[int, ...], values: dict[int, int]) -> int:
    """The best that any majority has reached as a whole."""
    return max(min(values[voter] for voter in some) for some in naive_majorities(voters))


def naive_verdict(voters: tuple[int, ...], votes: dict[int, bool]) -> Verdict:
    """Won: some majority said yes; lost: no majority could any more."""
    some = naive_majorities(voters)
    if any(all(votes.get(voter) is True for voter in one) for one in some):
        return Verdict.WON
    if all(any(votes.get(voter) is False for voter in one) for one in some):
        return Verdict.LOST
    return Verdict.PENDING


@quick
@given(members, st.dictionaries(st.integers(1, 12), st.integers(0, 9)))
def test_agreed_is_what_the_best_majority_reached(
    voters: tuple[int, ...], some: dict[int, int]
) -> None:
    values = {voter: some.get(voter, 0) for voter in voters}

    assert Quorum(voters).agreed(values.__getitem__) == naive_agreed(voters, values)


@quick
@given(members, members, st.dictionaries(st.integers(1, 12), st.integers(0, 9)))
def test_agreed_joint_is_the_lower_of_both_sides(
    voters: tuple[int, ...], outgoing: tuple[int, ...], some: dict[int, int]
) -> None:
    values = {voter: some.get(voter, 0) for voter in {*voters, *outgoing}}

    agreed = Quorum(voters, outgoing).agreed(values.__getitem__)

    assert agreed == min(naive_agreed(voters, values), naive_agreed(outgoing, values))


@quick
@given(members, st.dictionaries(st.integers(1, 12), st.booleans()))
def test_verdict_is_that_of_the_subsets(voters: tuple[int, ...], votes: dict[int, bool]) -> None:
    assert Quorum(voters).verdict(votes) is naive_verdict(voters, votes)


@quick
@given(members, members, st.dictionaries(st.integers(1, 12), st.booleans()))
def test_verdict_joint_needs_both_sides(
    voters: tuple[int, ...], outgoing: tuple[int, ...], votes: dict[int, bool]
) -> None:
    verdict = Quorum(voters, outgoing).verdict(votes)

    sides = {naive_verdict(voters, votes), naive_verdict(outgoing, votes)}
    assert (verdict is Verdict.WON) == (sides == {Verdict.WON})
    assert (verdict is Verdict.LOST) == (Verdict.LOST in sides)


@quick
@given(members, st.integers(1, 12))
def test_majorities_of_configurations_one_voter_apart_overlap(
    voters: tuple[int, ...], member: int
) -> None:
    """Raft thesis §4.1: why single-member changes need no joint phase."""
    other = tuple(sorted({*voters} ^ {member}))

    for one in naive_majorities(voters):
        assert all(one & another for another in naive_majorities(other))


def test_majority_is_more_than_half() -> None:
    assert [majority(voters) for voters in range(1, 8)] == [1, 2, 2, 3, 3, 4, 4]


def test_members_of_both_sides_in_order() -> None:
    quorum = Quorum((3, 1), (2, 1))

    assert quorum.members() == (1, 2, 3)
    assert 2 in quorum
    assert 4 not in quorum
