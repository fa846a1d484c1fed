"""Changes of the configuration as values: what they lead to, and which are refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import InvariantViolated
from node.raft import ConfChange, ConfChangeKind, ConfState
from node.raft.membership import changed, describe_refusal, members_of

ADD, LEARN, REMOVE = ConfChangeKind

changes = st.lists(
    st.builds(ConfChange, st.sampled_from(ConfChangeKind), st.integers(1, 6)), max_size=20
)


@settings(deadline=None, max_examples=150)
@given(changes)
def test_changed_step_by_step_equals_naive_sets(sequence: list[ConfChange]) -> None:
    conf, voters, learners = ConfState(voters=(1, 2)), {1, 2}, set[int]()
    for change in sequence:
        if describe_refusal(conf, change, lambda member: True, caught_up=True):
            continue
        before, conf = conf, changed(conf, change)
        voters -= {change.member}
        learners -= {change.member}
        voters |= {change.member} if change.kind == ADD else set()
        learners |= {change.member} if change.kind == LEARN else set()

        assert ({*conf.voters}, {*conf.learners}) == (voters, learners)
        assert conf.voters, "there is always a voter"
        assert len({*before.voters} ^ {*conf.voters}) <= 1, "majorities must overlap"
        assert list(members_of(conf)) == sorted(voters | learners)


@pytest.mark.parametrize(
    ("conf", "change", "live", "reason"),
    [
        (ConfState((1,)), ConfChange(REMOVE, 1), {1}, "last voter"),
        (ConfState((1,), (2,)), ConfChange(LEARN, 1), {1, 2}, "last voter"),
        (ConfState((1,)), ConfChange(ADD, 0), {1}, "malformed"),
        (ConfState((1,)), ConfChange(ADD, 2), {1}, None),
        (ConfState((1, 2)), ConfChange(ADD, 3), {1, 2}, None),
        (ConfState((1, 2)), ConfChange(ADD, 3), {1}, "1 live voters of the 2"),
        (ConfState((1, 2, 3)), ConfChange(REMOVE, 3), {1, 3}, "1 live voters of the 2"),
        (ConfState((1, 2, 3)), ConfChange(REMOVE, 2), {1, 3}, None),
        (ConfState((1, 2, 3)), ConfChange(ADD, 4), {1, 2}, "2 live voters of the 3"),
        (ConfState((1, 2, 3)), ConfChange(LEARN, 4), {1}, None),
        (ConfState((1, 2, 3), (4,)), ConfChange(REMOVE, 4), {1}, None),
        (ConfState((1, 2), voters_outgoing=(1,)), ConfChange(ADD, 3), {1, 2}, "joint"),
    ],
)
def test_describe_refusal(
    conf: ConfState, change: ConfChange, live: set[int], reason: str | None
) -> None:
    refusal = describe_refusal(conf, change, live.__contains__, caught_up=True)

    assert (refusal is None) == (reason is None)
    assert reason is None or reason in str(refusal)


def test_describe_refusal_learner_behind() -> None:
    conf, change = ConfState((1,), (2,)), ConfChange(ADD, 2)

    refusal = describe_refusal(conf, change, lambda member: True, caught_up=False)

    assert refusal == "learner is not in sync with the leader"


def test_changed_to_nobody_is_fatal() -> None:
    with pytest.raises(InvariantViolated, match="needs a voter"):
        changed(ConfState((1,)), ConfChange(REMOVE, 1))
