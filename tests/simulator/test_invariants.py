"""Every invariant is silent where nothing is wrong, and fires where its rule is broken.

Each test of the second kind breaks one rule of the product, takes away the product's own checks
that would have stopped it first, and asks for the sentence with which the simulation fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from node.config import Limits
from node.machine.answer import Applied, Event
from node.machine.envelope import Credential, RequestKind
from node.machine.machine import Machine
from node.proto import rpc
from node.raft import election, membership, replication
from node.raft.core import Core
from node.raft.inflight import Inflight
from node.raft.invariant import Invariants
from node.raft.log import RaftLog
from node.raft.message import ConfChange, ConfState, Entry, Vote
from node.raft.quorum import Quorum, Verdict
from node.raft.raft import Raft
from node.raft.read_round import ReadRounds
from node.raft.ready import Ready
from node.raft.roster import Roster
from node.watch import WatchHub
from store import commit, record
from tests.simulator.invariants.catalogue import CHECKS
from tests.simulator.invariants.inspection import Inspection
from tests.simulator.observer import SimulationFailed
from tests.support.member_cluster import Call, MemberCluster, Outcome


class Watched:
    """A cluster whose every life is inspected."""

    def __init__(self, members: int = 3, **how: Any) -> None:
        self.cluster = MemberCluster(members, start=False, **how)
        self.inspection = Inspection(self.cluster, CHECKS)
        self.cluster.started = self.inspection.started
        self.cluster.ended = self.inspection.ended
        for number in range(1, members + 1):
            self.cluster[number].start()

    def tick(self, count: int = 1) -> None:
        """Let time pass and everything be looked at."""
        for _ in range(count):
            self.cluster.tick()
            self.look()

    def look(self) -> None:
        self.inspection.stepped(None)
        self.inspection.looked()

    def lead(self, member: int) -> None:
        """Have this one be the leader."""
        self.cluster[member].parts.core.campaign()
        self.cluster[member].loop.wake()
        self.cluster.until(lambda: self.cluster[member].parts.core.leads)

    def restart(self, *members: int) -> None:
        """Kill these and start them again."""
        for member in members:
            self.cluster[member].kill()
            self.cluster[member].start()


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The product does not check itself."""
    monkeypatch.setattr(Invariants, "verify", lambda *_: None)
    monkeypatch.setattr(commit, "check", lambda *_: None)
    return monkeypatch


def test_tappedCore_behavesLikeTheCore() -> None:
    """A property that was copied once would show the past for ever."""
    watched = Watched()
    watched.cluster.put(3)
    for node in watched.cluster:
        core, tapped = watched.inspection.subjects[node.id].core, node.parts.core

        assert tapped is not core
        assert tapped.status() == core.status()
        for name, member in vars(Core).items():
            if isinstance(member, property):
                assert getattr(tapped, name) == getattr(core, name)
    assert watched.cluster.elect().parts.core.term == 2


def test_secondVoteInTerm_isFound(unguarded: pytest.MonkeyPatch) -> None:
    usual = election.handle_request

    def forgetful(raft: Raft, message: Vote) -> None:
        raft.vote = 0
        usual(raft, message)

    unguarded.setattr(election, "handle_request", forgetful)
    watched = Watched()
    for member in (1, 2):
        watched.cluster[member].parts.core.campaign()

    with pytest.raises(SimulationFailed, match="two votes in one term"):
        watched.tick(3)


def test_secondLeaderInTerm_isFound(unguarded: pytest.MonkeyPatch) -> None:
    unguarded.setattr(Quorum, "verdict", lambda *_: Verdict.WON)
    watched = Watched()
    watched.cluster.network.partition([1], [2], [3])

    with pytest.raises(SimulationFailed, match="two leaders in one term"):
        watched.tick(30)


def test_entryChangedOnTheWay_isFound(unguarded: pytest.MonkeyPatch) -> None:
    usual = RaftLog.maybe_append

    def altering(log: RaftLog, index: int, term: int, entries: list[Entry]) -> int | None:
        other = [Entry(e.term, e.index, e.kind, e.data[:-1]) for e in entries]
        return usual(log, index, term, other)

    unguarded.setattr(RaftLog, "maybe_append", altering)
    watched = Watched()

    with pytest.raises(SimulationFailed, match="logs differ"):
        watched.cluster.put(1)


def test_leaderWithoutCommittedEntry_isFound(unguarded: pytest.MonkeyPatch) -> None:
    unguarded.setattr(RaftLog, "up_to_date", lambda *_: True)
    watched = Watched()
    watched.lead(1)
    watched.cluster.cut_off(3)
    watched.cluster.put(1)
    watched.cluster.network.heal()
    watched.cluster[1].kill()
    watched.restart(2)  # it forgets that it has heard a leader

    with pytest.raises(SimulationFailed, match="lacks what was committed"):
        watched.lead(3)


def test_earlyApply_isFound(unguarded: pytest.MonkeyPatch) -> None:
    def early(log: RaftLog, bytes_max: int) -> list[Entry]:
        found = log.entries(log.applying + 1, log.last_index + 1, bytes_max)
        log.applying += len(found)
        return found

    unguarded.setattr(RaftLog, "has_committed", lambda log, _: log.applying < log.last_index)
    unguarded.setattr(RaftLog, "next_committed", early)
    watched = Watched()

    with pytest.raises(SimulationFailed, match="applied what is not committed"):
        watched.tick(30)


def test_skippedEntry_isFound(unguarded: pytest.MonkeyPatch) -> None:
    usual = RaftLog.next_committed

    def skipping(log: RaftLog, bytes_max: int) -> list[Entry]:
        found = usual(log, bytes_max)
        return found[1:] if found and found[0].index == 4 else found

    unguarded.setattr(RaftLog, "next_committed", skipping)
    watched = Watched()

    with pytest.raises(SimulationFailed, match="applied out of order"):
        watched.cluster.put(4)


def test_commitThatGoesBack_isFound(unguarded: pytest.MonkeyPatch) -> None:
    watched = Watched()
    watched.cluster.put(3)
    leader = watched.cluster.elect()

    leader.parts.core._raft.log.commit -= 1

    with pytest.raises(SimulationFailed, match="commit went back"):
        watched.tick()


def test_commitOfEarlierTermByCount_isFound(unguarded: pytest.MonkeyPatch) -> None:
    def by_count(raft: Raft) -> bool:
        return raft.log.commit_to(max(raft.log.commit, raft.roster.committed()))

    unguarded.setattr(replication, "maybe_commit", by_count)
    limits = Limits(append_bytes_max=1, inflight_messages_max=1)
    watched = Watched(limits=limits)
    watched.lead(1)
    watched.cluster.cut_off(1)
    for number in range(3):
        watched.cluster[1].put(b"k%d" % number, b"v")
    watched.cluster.settle()
    watched.restart(1, 2, 3)
    watched.cluster.network.heal()

    with pytest.raises(SimulationFailed, match="earlier term committed by count"):
        watched.lead(1)


def test_acknowledgementBeforeSync_isFound(unguarded: pytest.MonkeyPatch) -> None:
    usual = Core.ready

    def hasty(core: Core) -> Ready:
        ready = usual(core)
        ready.messages += ready.messages_after_append
        ready.messages_after_append = []
        return ready

    unguarded.setattr(Core, "ready", hasty)
    watched = Watched()

    with pytest.raises(SimulationFailed, match="not on disk"):
        watched.tick(30)


def test_promiseOnUnsyncedDisk_isFound() -> None:
    watched = Watched()
    watched.cluster.put(1)
    for node in watched.cluster:
        vars(node.engine)["synced"] = False

    with pytest.raises(SimulationFailed, match="not synced"):
        watched.cluster.put(1)


def test_commitWithoutQuorum_isFound(unguarded: pytest.MonkeyPatch) -> None:
    unguarded.setattr(
        Roster, "committed", lambda roster: max(p.match for p in roster.progress.values())
    )
    watched = Watched()
    leader = watched.cluster.elect()
    watched.cluster.cut_off(leader.id)
    leader.put(b"k", b"v")

    with pytest.raises(SimulationFailed, match="without a durable majority"):
        watched.tick()


def test_changeWithAnotherEffect_isFound(unguarded: pytest.MonkeyPatch) -> None:
    usual = membership.changed

    def eager(conf: ConfState, change: ConfChange) -> ConfState:
        after = usual(conf, change)
        return ConfState(voters=(*after.voters, *after.learners))

    unguarded.setattr("node.raft.reconfiguration.changed", eager)
    watched = Watched(spares=1)
    leader = watched.cluster.elect()
    for node in watched.cluster.nodes.values():
        if node.up:
            member = rpc.Member(ID=node.id, name=f"n{node.id}", peerURLs=["u://x"])
            node.propose(RequestKind.MEMBER_PUBLISH, member.SerializeToString())
    watched.tick(5)
    asked: Call[Outcome] = Call()
    joiner = rpc.Member(ID=4, peerURLs=["unix://n4"], isLearner=True)
    leader.member.change_members(RequestKind.MEMBER_ADD, joiner, asked)

    with pytest.raises(SimulationFailed, match="a change had another effect"):
        watched.tick(10)


def test_staleRead_isFound(unguarded: pytest.MonkeyPatch) -> None:
    def unconfirmed(rounds: ReadRounds, quorum: Quorum) -> list[Any]:
        released = list(rounds._open)
        rounds._open.clear()
        return released

    unguarded.setattr(ReadRounds, "release", unconfirmed)
    unguarded.setattr(Roster, "check_quorum", lambda *_: True)
    watched = Watched()
    watched.lead(1)
    watched.cluster.put(1)
    watched.cluster.cut_off(1)
    watched.cluster.until(
        lambda: watched.cluster[2].parts.core.leads or watched.cluster[3].parts.core.leads
    )
    other = next(node for node in watched.cluster if node.id != 1 and node.parts.core.leads)
    put = other.put(b"new", b"v")
    watched.cluster.until(lambda: put.done)

    watched.cluster[1].read()

    with pytest.raises(SimulationFailed, match="a stale read index"):
        watched.tick()


def test_effectThatDependsOnTheMember_isFound(unguarded: pytest.MonkeyPatch) -> None:
    usual = Machine.apply
    seen: list[Machine] = []

    def own(
        machine: Machine, index: int, kind: int, request: bytes, by: Credential | None
    ) -> Applied:
        applied = usual(machine, index, kind, request, by)
        if machine not in seen:
            seen.append(machine)
        effects = [*applied.effects, (b"\xff", b"%d" % seen.index(machine))]
        return Applied(applied.outcome, effects, applied.events, applied.leases)

    unguarded.setattr(Machine, "apply", own)
    watched = Watched()

    with pytest.raises(SimulationFailed, match="another effect elsewhere"):
        watched.cluster.put(2)


def test_keyspaceThatDiffers_isFound() -> None:
    watched = Watched()
    watched.cluster.put(3)
    watched.cluster.converge()
    values = watched.cluster[2].engine._values
    key = max(key for key in values if key.startswith(record.STATE) and values[key].endswith(b"v"))

    values[key] = values[key][:-1] + b"w"

    with pytest.raises(SimulationFailed, match="keyspaces differ"):
        watched.look()


def test_lostEvent_isFound(unguarded: pytest.MonkeyPatch) -> None:
    usual = WatchHub.publish

    def losing(hub: WatchHub, events: Sequence[Event]) -> None:
        if events[0].revision == 3:
            hub.revision = 3
        else:
            usual(hub, events)

    unguarded.setattr(WatchHub, "publish", losing)
    watched = Watched()
    watched.cluster.elect().watch()

    with pytest.raises(SimulationFailed, match="told other events"):
        watched.cluster.put(3)


def test_keyThatOutlivesItsLease_isFound(unguarded: pytest.MonkeyPatch) -> None:
    watched = Watched()
    leader = watched.cluster.elect()
    leader.grant(7, 100)
    leader.put(b"k", b"v", lease=7)
    watched.tick(3)
    unguarded.setattr(Machine, "leases", lambda machine: [])

    with pytest.raises(SimulationFailed, match="outlived its lease"):
        watched.look()


def test_windowWithoutBound_isFound(unguarded: pytest.MonkeyPatch) -> None:
    unguarded.setattr(Inflight, "full", lambda window: False)
    watched = Watched(limits=Limits(append_bytes_max=1, inflight_messages_max=2))
    leader = watched.cluster.elect()
    watched.cluster.converge()
    for number in range(9):
        leader.put(b"k%d" % number, b"v")
    leader.turn()

    with pytest.raises(SimulationFailed, match="a window is too large"):
        watched.look()


def test_entryThatIsStableOnlyInMemory_isFound() -> None:
    watched = Watched()
    watched.cluster.put(3)
    watched.cluster.converge()
    node = watched.cluster[2]

    del node.engine._values[record.entry_key(node.applied)]

    with pytest.raises(SimulationFailed, match="not on disk as it is in the log"):
        watched.cluster.put(1)
