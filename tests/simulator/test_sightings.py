"""Marks are hit by what they are named after, and by nothing else."""

from __future__ import annotations

from node.config import Limits
from node.machine.errors import Refusal
from tests.simulator.invariants.catalogue import CHECKS, SIGHTINGS
from tests.simulator.invariants.inspection import Inspection
from tests.simulator.marks import Marks
from tests.support.member_cluster import Call, MemberCluster

SHORT_LOG = Limits(log_entries_max=10, log_entries_kept=2)


def seen(limits: Limits | None = None) -> tuple[MemberCluster, Marks]:
    """Three members that are watched, and what was seen of them."""
    cluster = MemberCluster(3, limits=limits, start=False)
    inspection = Inspection(cluster, (*CHECKS, *SIGHTINGS))
    cluster.started, cluster.ended = inspection.started, inspection.ended
    for node in cluster:
        node.start()
    cluster.elect()
    return cluster, inspection.marks


def test_quietCluster_electsOnceAndNothingElse() -> None:
    cluster, marks = seen()

    cluster.put(3)
    cluster.tick(50)

    assert marks["leader_elected"] == 1
    assert not {"restart", "truncated", "snapshot_sent", "check_quorum_stepdown"} & set(
        marks.counts
    )


def test_transfer_isSeenFromBothSides() -> None:
    cluster, marks = seen()
    leader = cluster.elect()
    target = cluster.followers()[0]

    leader.member.transfer_leader(target.id, Call[Refusal | None]())
    cluster.until(lambda: target.parts.core.leads)

    assert (marks["transfer_begun"], marks["transfer_done"]) == (1, 1)
    assert marks["forced_vote"] >= 1


def test_leaderCutOffWithATail_isSeenToStepDownAndTruncate() -> None:
    cluster, marks = seen()
    leader = cluster.elect()
    cluster.cut_off(leader.id)
    for number in range(3):
        leader.put(b"k%d" % number, b"v")
    cluster.tick(60)
    cluster.network.heal()
    cluster.converge()

    assert marks["check_quorum_stepdown"] == 1
    assert marks["truncated"] == 1
    assert marks["leader_elected"] == 2


def test_followerLeftBehind_isSeenToTakeASnapshot() -> None:
    cluster, marks = seen(SHORT_LOG)
    follower = cluster.followers()[0]
    cluster.cut_off(follower.id)
    cluster.put(30)
    cluster.tick(60)
    cluster.network.heal()
    cluster.converge()

    assert marks["log_compacted"] >= 1
    assert marks["snapshot_sent"] == marks["snapshot_installed"] == 1


def test_restartOfALeader_isSeen() -> None:
    cluster, marks = seen()
    cluster.put(2)
    leader = cluster.elect()

    leader.kill()
    cluster.elect()
    leader.start()
    cluster.converge()

    assert (marks["killed_leader"], marks["restart"]) == (1, 1)


def test_leaseThatRunsOut_isSeenToTakeItsKeys() -> None:
    cluster, marks = seen()
    leader = cluster.elect()
    leader.grant(7, 1)
    leader.put(b"k", b"v", lease=7)

    cluster.until(lambda: not leader.machine.leases() and marks["lease_granted"])
    cluster.tick(5)

    assert marks["lease_expired"] == 1
    assert (marks["lease_granted"], marks["lease_keys_deleted"]) == (3, 3)
