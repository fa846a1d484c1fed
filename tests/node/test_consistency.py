"""Members whose states part are found, the right one is accused, and nobody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from node import chain, consistency
from node.config import Limits
from node.machine.answer import Answer, Applied
from node.machine.envelope import Credential, RequestKind
from node.machine.errors import Corrupt, Refusal
from node.machine.record import CURRENT, REVISION
from node.proto import rpc
from node.raft.ready import Role
from node.status import Alarm
from store import record
from store.engine import Operation
from store.installer import Installer
from tests.support.member_cluster import MemberCluster, Node
from transport.frame import Channel

RARELY = Limits(state_check_ms=3_600_000)
OFTEN = Limits(state_check_ms=1_000)


def corrupt(*members: int) -> list[Alarm]:
    return [Alarm(member, consistency.CORRUPT) for member in members]


def alarms(cluster: MemberCluster) -> list[list[Alarm]]:
    return [node.machine.alarms() for node in cluster if node.up]


def accused(cluster: MemberCluster, *members: int) -> Callable[[], bool]:
    """Everybody knows that these, and nobody else, are accused."""
    return lambda: all(known == corrupt(*members) for known in alarms(cluster))


def damage(node: Node, table: bytes = CURRENT) -> None:
    """One record of a member that is down changes, with all checksums of the engine right."""
    generation = record.decode_generation(node.engine.get(record.GENERATION) or b"")
    prefix = record.state_prefix(generation) + table
    key, value = next(node.engine.scan(prefix, record.after_prefix(prefix)))
    node.engine.write([(key, value[:-1] + bytes((value[-1] ^ 1,)))])


def restart_damaged(cluster: MemberCluster, node: Node) -> None:
    node.kill()
    damage(node)
    node.start()


def misapply(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this member's machine makes something else of a put of the key `odd`."""
    machine = node.machine
    put = machine._put

    def odd(encoded: bytes, by: Credential | None) -> Applied:
        if rpc.PutRequest.FromString(encoded).key == b"odd":
            encoded = rpc.PutRequest(key=b"odd", value=b"of its own").SerializeToString()
        return put(encoded, by)

    monkeypatch.setitem(machine._apply, RequestKind.PUT, odd)


def disarm(cluster: MemberCluster, member: int) -> None:
    request = rpc.AlarmRequest(
        action=rpc.AlarmRequest.DEACTIVATE, memberID=member, alarm=consistency.CORRUPT
    )
    call = cluster.elect().propose(RequestKind.ALARM, request.SerializeToString())
    cluster.until(lambda: call.done)


def publish(cluster: MemberCluster, member: int) -> None:
    message = rpc.Member(ID=member, name=f"n{member}", clientURLs=["http://c:1"])
    call = cluster.elect().propose(RequestKind.MEMBER_PUBLISH, message.SerializeToString())
    cluster.until(lambda: call.done)


def change(cluster: MemberCluster, kind: RequestKind, member: int) -> None:
    done: list[Answer | Refusal] = []
    message = rpc.Member(ID=member, peerURLs=[f"unix://n{member}"])
    cluster.elect().member.change_members(kind, message, done.append)
    cluster.until(lambda: done)
    assert isinstance(done[0], Answer), done


def hand_over(cluster: MemberCluster, old: Node, new: Node) -> None:
    done: list[Refusal | None] = []
    old.member.transfer_leader(new.id, done.append)
    cluster.until(lambda: done)
    assert cluster.elect() is new


def checked(cluster: MemberCluster) -> bool:
    return all(not node.parts.consistency.unchecked for node in cluster if node.up)


# A log that is applied differently.


@pytest.mark.parametrize("leads", [False, True])
def test_entryThatIsAppliedDifferently_isFoundByTheNextCheckpoint(
    leads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "CHECKPOINT_ENTRIES", 8)
    cluster = MemberCluster(3, limits=RARELY)
    leader = cluster.elect()
    odd = leader if leads else cluster.followers()[0]
    misapply(odd, monkeypatch)
    call = leader.put(b"odd", b"value")
    cluster.until(lambda: call.done)
    cluster.put(8)

    cluster.until(accused(cluster, odd.id), seconds=3)
    cluster.tick(50)
    assert [node.id for node in cluster if node.journal.count("node.corrupt")] == [odd.id]


def test_differentAnswer_withoutADifferentRecord_isFoundAsWell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chain, "CHECKPOINT_ENTRIES", 8)
    cluster = MemberCluster(3, limits=RARELY)
    odd = cluster.elect()
    monkeypatch.setitem(
        odd.machine._apply, RequestKind.COMPACT, lambda *_: Applied(Answer(1, b"odd"))
    )
    cluster[1].compact(999)
    cluster.put(8)

    cluster.until(accused(cluster, odd.id), seconds=3)


def test_leaderThatComesBack_isNotHeldAgainstWhatItHeardBefore(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Answers about an older checkpoint were taken for answers about the one that the leader
    between had asked about, and the returning leader was accused by a majority."""
    monkeypatch.setattr(chain, "CHECKPOINT_ENTRIES", 8)
    cluster = MemberCluster(5, limits=RARELY)
    first = cluster.elect()
    absent, between = cluster.followers()[:2]
    absent.kill()  # so that the question stays open
    cluster.put(8)
    cluster.until(lambda: len(first.parts.consistency._links.opinions) == 4)

    hand_over(cluster, first, between)
    cluster.put(8)
    cluster.until(lambda: first.parts.consistency._links.index > 8)
    between.member.transfer_leader(first.id, lambda refusal: None)
    while not first.parts.core.leads:  # and nobody has answered it yet
        for node in cluster:
            node.turn()
            node.sync()
    first.parts.consistency.keep()
    cluster.tick(50)

    assert first.parts.consistency.figures.mismatches == 0
    assert alarms(cluster) == [[]] * 4


def test_followerFarBehind_isNotAccused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "CHECKPOINT_ENTRIES", 2)
    monkeypatch.setattr(chain, "CHECKPOINTS_MAX", 4)
    cluster = MemberCluster(3, limits=OFTEN)
    cluster.elect()
    behind = cluster.followers()[0]
    behind.stalled = True
    cluster.put(40)
    cluster.tick(300)
    behind.stalled = False
    cluster.converge()
    cluster.tick(300)

    assert alarms(cluster) == [[], [], []]
    assert behind.parts.consistency.figures.checks


def test_memberThatCatchesUp_isCheckedWhenItHas_andNobodyBefore() -> None:
    """It asks from its start on, and everybody reads the whole state for each check. Each check is
    an entry as well: with a short log it came no nearer, for ever."""
    cluster = MemberCluster(3, limits=RARELY)
    leader = cluster.elect()
    cluster.put(5)
    cluster.converge()
    behind = cluster.followers()[0]
    behind.kill()
    cluster.put(20)
    cluster.network.fate = lambda letter: (
        () if (letter.to, letter.channel) == (behind.id, Channel.APPEND) else (0,)
    )
    behind.start()
    checks = leader.parts.consistency.figures.checks
    cluster.tick(1_000)
    cluster.network.fate = None
    cluster.until(lambda: not behind.parts.consistency.unchecked)

    assert leader.parts.consistency.figures.checks - checks <= 2


# A record that changed below its member.


@pytest.mark.parametrize("table", [CURRENT, REVISION])
def test_changedRecord_isFoundAtTheStart_beforeClientsAreServed(table: bytes) -> None:
    cluster = MemberCluster(3, limits=RARELY)
    cluster.put(5)
    cluster.converge()
    node = cluster.followers()[0]
    node.kill()
    damage(node, table)
    node.start()

    served: list[bool] = []

    def known() -> bool:
        served.append(node.parts.consistency.may_serve() and not node.machine.accused)
        return node.machine.accused

    cluster.until(known, seconds=consistency.HELD_SECONDS_MAX)
    assert not any(served)
    assert node.parts.consistency.may_serve(), "it can say now that it is corrupt"
    assert accused(cluster, node.id)()
    assert node.machine.range(rpc.RangeRequest(key=b"k0001")) == Corrupt()
    assert [cluster.elect().put(b"after", b"1")]
    cluster.converge()
    assert all(each.value(b"after") == b"1" for each in cluster if each is not node)


def test_changedRecord_ofAMemberThatRuns_isFoundWithinAPeriod() -> None:
    cluster = MemberCluster(3, limits=OFTEN)
    cluster.put(5)
    cluster.converge()
    node = cluster.followers()[1]
    damage(node)

    cluster.until(accused(cluster, node.id), seconds=3)


def test_changedRecord_isFoundAfterACompaction(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = MemberCluster(3, limits=RARELY)
    cluster.put(20)
    cluster.converge()
    node = cluster.followers()[1]
    damage(node)
    cluster.elect().compact(10)

    cluster.until(accused(cluster, node.id), seconds=consistency.COMPACTED_SECONDS + 1)


def test_changedRecord_inASnapshot_isFound(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = MemberCluster(3, limits=Limits(log_entries_max=10, log_entries_kept=5))
    cluster.put(5)
    cluster.converge()
    node = cluster.followers()[0]
    node.kill()
    cluster.put(40)
    cluster.tick(100)
    add = Installer.add

    def changing(self: Installer, records: Sequence[Operation]) -> int:
        return add(
            self,
            [(k, (v or b"")[:-1] + b"?" if k == CURRENT + b"k0003" else v) for k, v in records],
        )

    monkeypatch.setattr(Installer, "add", changing)
    node.start()
    cluster.until(lambda: node.journal.count("raft.snapshot_installed"))

    cluster.until(accused(cluster, node.id), seconds=3)


def test_corruptLeader_handsLeadershipOver_andStreamsNoSnapshots() -> None:
    cluster = MemberCluster(3, limits=OFTEN)
    cluster.put(5)
    cluster.converge()
    leader = cluster.elect()
    damage(leader)

    cluster.until(accused(cluster, leader.id), seconds=3)
    cluster.until(lambda: cluster.elect() is not leader, seconds=3)
    assert leader.role is Role.FOLLOWER
    assert cluster.elect().put(b"after", b"1")
    cluster.converge()


# Nobody can tell who is right.


def test_twoMembersThatDiffer_bothStop() -> None:
    """As in etcd when a compaction's hashes differ without a majority: the alarm names nobody."""
    cluster = MemberCluster(2, limits=RARELY)
    cluster.put(5)
    cluster.converge()
    restart_damaged(cluster, cluster.followers()[0])

    cluster.until(accused(cluster, 0), seconds=consistency.HELD_SECONDS_MAX)
    for node in cluster:
        assert node.machine.range(rpc.RangeRequest(key=b"k0001")) == Corrupt()
        assert node.parts.consistency.may_serve()
    put = cluster.elect().put(b"x", b"1")
    cluster.until(lambda: put.done)
    assert put.answer == Corrupt()


def test_third_tellsWhoIsRight_andTheOthersGoOn() -> None:
    cluster = MemberCluster(3, limits=RARELY)
    cluster.put(5)
    cluster.converge()
    wrong, third = cluster.followers()
    third.kill()
    restart_damaged(cluster, wrong)
    cluster.until(accused(cluster, 0), seconds=consistency.HELD_SECONDS_MAX)

    third.start()

    cluster.until(accused(cluster, wrong.id), seconds=consistency.HELD_SECONDS_MAX)
    put = cluster.elect().put(b"x", b"1")
    cluster.until(lambda: put.done)
    assert isinstance(put.answer, Answer)


# What the alarm ends with.


def test_disarmedAlarm_comesBack_asLongAsTheStateDiffers() -> None:
    cluster = MemberCluster(3, limits=OFTEN)
    cluster.put(5)
    cluster.converge()
    node = cluster.followers()[0]
    damage(node)
    cluster.until(accused(cluster, node.id), seconds=3)

    cluster.tick(20)
    disarm(cluster, node.id)

    assert node.journal.count("node.corrupt") == 1
    cluster.until(lambda: node.journal.count("node.corrupt") == 2, seconds=3)


def test_replacedMember_takesItsAlarmAlong() -> None:
    cluster = MemberCluster(3, limits=OFTEN, spares=1)
    cluster.put(5)
    for member in (1, 2, 3):
        publish(cluster, member)
    cluster.tick(100)
    node = cluster.followers()[0]
    restart_damaged(cluster, node)
    cluster.until(accused(cluster, node.id), seconds=3)
    node.kill()
    change(cluster, RequestKind.MEMBER_REMOVE, node.id)
    change(cluster, RequestKind.MEMBER_ADD, 4)
    cluster[4].start()
    cluster.until(lambda: cluster[4].value(b"k0001") == b"v" * 10)

    cluster.until(lambda: checked(cluster))
    assert alarms(cluster) == [[], [], []]


# No false alarm.


def test_membersOfAnOlderFormat_areComparedFromTheNextCheckOn() -> None:
    """Without a stored digest each begins at its own position, which says nothing about states."""
    cluster = MemberCluster(3, limits=RARELY)
    cluster.put(5)
    for node in cluster:
        node.kill()
        position, _ = record.decode_applied(node.engine.get(record.APPLIED) or b"")
        node.engine.write([(record.APPLIED, record.encode_applied(position, b""))])
    for node in cluster:
        node.start()
    cluster.until(lambda: checked(cluster))
    cluster.put(5)
    cluster.converge()

    assert len({node.parts.chain.link for node in cluster}) == 1
    assert alarms(cluster) == [[], [], []]


def test_restartOfEverybody_isCheckedBeforeAnyoneServes() -> None:
    cluster = MemberCluster(3, limits=RARELY)
    cluster.put(5)
    cluster.converge()
    for node in cluster:
        node.kill()
    for node in cluster:
        node.start()
        assert not node.parts.consistency.may_serve()

    cluster.until(lambda: checked(cluster), seconds=3)
    assert all(node.parts.consistency.may_serve() for node in cluster)
    assert alarms(cluster) == [[], [], []]


def test_newCluster_andSingleMember_neverWait() -> None:
    cluster = MemberCluster(1, limits=OFTEN)
    assert cluster[1].parts.consistency.may_serve()
    cluster.put(3)
    cluster[1].kill()
    cluster[1].start()
    cluster.until(cluster[1].parts.consistency.may_serve, seconds=2)

    cluster.tick(500)
    assert not cluster[1].parts.consistency.unchecked
    assert not cluster[1].parts.consistency.figures.checks


@pytest.mark.parametrize(
    ("others_up", "patience"),
    [(0, consistency.LONELY_SECONDS), (1, consistency.HELD_SECONDS_MAX)],
)
def test_memberWithoutAQuorum_servesInTheEnd(others_up: int, patience: float) -> None:
    """Its clients get no linearizable answer anyway; holding it back would help nobody."""
    cluster = MemberCluster(5, limits=RARELY)
    cluster.put(5)
    cluster.converge()
    for node in cluster:
        node.kill()
    for node in list(cluster)[: 1 + others_up]:
        node.start()
    held = cluster[1].parts.consistency

    cluster.tick(round(patience * 100) - 10)
    assert not held.may_serve()
    cluster.tick(20)
    assert held.may_serve()


def test_bigState_isReadInSlices() -> None:
    cluster = MemberCluster(3, limits=RARELY)
    leader = cluster.elect()
    puts = [leader.put(b"k%05d" % number, b"v") for number in range(3_000)]
    cluster.until(lambda: all(put.done for put in puts))
    cluster.converge()
    node = cluster.followers()[0]
    node.kill()
    node.start()
    slices = 0
    while node.parts.consistency.unchecked:
        cluster.tick()
        slices += node.parts.consistency._walk is not None
        assert slices < 1_000

    assert slices >= 2
    assert node.parts.consistency.figures.records == 6_000


def test_quietCluster_isCheckedOncePerPeriod_andNotMoreOften() -> None:
    cluster = MemberCluster(3, limits=OFTEN)
    cluster.put(3)
    cluster.converge()
    before = cluster[1].applied
    cluster.tick(550)

    assert [node.parts.consistency.figures.checks for node in cluster] == [5, 5, 5]
    assert cluster[1].applied - before == 5
