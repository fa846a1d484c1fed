"""The members' entries: who may come, who has left, and that a restart finds the same."""

from __future__ import annotations

from node.machine.answer import Operation
from node.machine.envelope import RequestKind
from node.machine.errors import (
    MemberExists,
    MemberNotFound,
    MemberNotLearner,
    PeerUrlExists,
    Refusal,
    TooManyLearners,
)
from node.machine.roster import Roster
from node.machine.view import MemoryView
from node.proto import rpc

ADD, REMOVE, PROMOTE = (
    RequestKind.MEMBER_ADD,
    RequestKind.MEMBER_REMOVE,
    RequestKind.MEMBER_PROMOTE,
)
FIRST, SECOND, LEARNER = 1, 2, 3


class Kept:
    """A roster over a view that keeps its effects; two voters have published themselves."""

    def __init__(self) -> None:
        self.view = MemoryView()
        self.roster = Roster(self.view)
        for number in (FIRST, SECOND):
            self.stage(self.roster.publish(entry(number, f"n{number}")))

    def stage(self, operations: list[Operation] | Refusal) -> None:
        assert isinstance(operations, list)
        self.view.stage(operations)

    def check(self, kind: int, member: rpc.Member, learners: tuple[int, ...] = ()) -> object:
        return self.roster.check(kind, member, (FIRST, SECOND), learners)


def entry(number: int, name: str = "", *, url: str = "", learner: bool = False) -> rpc.Member:
    urls = [url or f"unix://n{number}"]
    return rpc.Member(ID=number, name=name, peerURLs=urls, isLearner=learner)


def test_new_member_whoMayCome() -> None:
    kept = Kept()

    assert kept.check(ADD, entry(LEARNER)) is None
    assert kept.check(ADD, entry(SECOND)) == MemberExists()
    assert kept.check(ADD, entry(LEARNER, url="unix://n1")) == PeerUrlExists()
    assert kept.check(ADD, entry(4, learner=True), (LEARNER,)) == TooManyLearners()
    assert kept.check(ADD, entry(4), (LEARNER,)) is None


def test_change_ofWhomNobodyKnows() -> None:
    kept = Kept()

    assert kept.check(REMOVE, entry(9)) == MemberNotFound()
    assert kept.check(PROMOTE, entry(9)) == MemberNotFound()
    assert kept.check(PROMOTE, entry(FIRST)) == MemberNotLearner()
    assert kept.check(PROMOTE, entry(LEARNER), (LEARNER,)) is None
    assert kept.roster.update(entry(9)) == MemberNotFound()
    assert kept.roster.update(entry(FIRST, url="unix://n2")) == PeerUrlExists()


def test_removed_member_neverComesBack_alsoAfterARestart() -> None:
    kept = Kept()
    kept.stage(kept.roster.remove(SECOND))

    for roster in (kept.roster, Roster(kept.view)):
        assert [record.id for record in roster.members()] == [FIRST]
        assert roster.check(ADD, entry(SECOND), (FIRST,), ()) == MemberNotFound()
        assert roster.publish(entry(SECOND, "n2")) == []
        assert roster.check(ADD, entry(7, url="unix://n2"), (FIRST,), ()) is None


def test_member_publishesItsName_andKeepsTheUrlsItWasGiven() -> None:
    kept = Kept()
    kept.stage(kept.roster.add(entry(LEARNER, "ignored", url="http://h:1")))
    unstarted = kept.roster.members()[-1]
    kept.stage(kept.roster.publish(entry(LEARNER, "n3")))
    started = kept.roster.members()[-1]
    kept.stage(kept.roster.update(entry(LEARNER, url="http://h:2")))

    assert (unstarted.name, unstarted.peer_urls) == ("", ("http://h:1",))
    assert (started.name, started.peer_urls) == ("n3", ("http://h:1",))
    assert kept.roster.members()[-1].peer_urls == ("http://h:2",)
    assert Roster(kept.view).members() == kept.roster.members()
