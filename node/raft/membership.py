"""How a configuration changes: one member at a time.

Two configurations that differ by one voter always share a member in any two of their majorities, so
a change needs no second phase (Raft thesis §4.1). Joint configurations are understood (a snapshot
of a cluster that used one must load) but never made here.

A change takes effect when its entry is applied, not when it is appended. That is safe because only
one change is in flight at a time and because nobody campaigns with an unapplied change in the
committed part of its log.
"""

from __future__ import annotations

from collections.abc import Callable

from node.errors import check
from node.raft.message import NO_MEMBER, ConfChange, ConfChangeKind, ConfState
from node.raft.quorum import Quorum, majority


def quorum_of(conf: ConfState) -> Quorum:
    """Whose agreement counts in `conf`."""
    return Quorum(conf.voters, conf.voters_outgoing)


def members_of(conf: ConfState) -> tuple[int, ...]:
    """Everyone who is sent the log, in order."""
    everyone = {*conf.voters, *conf.voters_outgoing, *conf.learners, *conf.learners_next}
    return tuple(sorted(everyone))


def changed(conf: ConfState, change: ConfChange) -> ConfState:
    """The configuration after `change`. Adding who is there or removing who is not: no change.

    Raises: InvariantViolated, if `conf` is joint or no voter would be left. The leader refuses
    such a change before it gets into the log, so one that is met here came from elsewhere.
    """
    check(not conf.voters_outgoing, "a simple change cannot be applied to a joint configuration")
    voters = {*conf.voters} - {change.member}
    learners = {*conf.learners} - {change.member}
    match ConfChangeKind(change.kind):
        case ConfChangeKind.ADD_VOTER:
            voters.add(change.member)
        case ConfChangeKind.ADD_LEARNER:
            learners.add(change.member)
        case ConfChangeKind.REMOVE:
            pass
    check(bool(voters), "a configuration needs a voter")
    return ConfState(voters=tuple(sorted(voters)), learners=tuple(sorted(learners)))


def describe_refusal(
    conf: ConfState, change: ConfChange, active: Callable[[int], bool], caught_up: bool
) -> str | None:
    """Why `change` must not be proposed; None when it may.

    `active` tells whether a member was heard from lately, `caught_up` whether the changed member's
    log is close to the leader's. A change that would leave fewer live voters than a majority of
    the new configuration is refused, as etcd's strict reconfiguration check does: it would take
    away the very quorum that could undo it. Growing from one voter to two is let through, or a
    single member could never grow.
    """
    if change.member == NO_MEMBER or change.kind not in tuple(ConfChangeKind):
        return "malformed change"
    if conf.voters_outgoing:
        return "configuration is joint"
    if {*conf.voters} <= {change.member} and change.kind != ConfChangeKind.ADD_VOTER:
        return "the last voter cannot go"
    if change.member in conf.learners and change.kind == ConfChangeKind.ADD_VOTER and not caught_up:
        return "learner is not in sync with the leader"
    return _describe_lost_quorum(conf, changed(conf, change), active)


def _describe_lost_quorum(
    old: ConfState, new: ConfState, active: Callable[[int], bool]
) -> str | None:
    grows_from_one = len(old.voters) == 1 and len(new.voters) == 2
    if new.voters == old.voters or grows_from_one:
        return None
    live = sum(active(voter) for voter in new.voters)
    needed = majority(len(new.voters))
    return None if live >= needed else f"{live} live voters of the {needed} needed afterwards"
