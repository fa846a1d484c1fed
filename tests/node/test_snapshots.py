"""A follower behind the compacted log gets the whole state, whatever happens on the way."""

from __future__ import annotations

from typing import Any

import pytest

from node import loop
from node.config import Limits
from node.raft.message import ConfChange, ConfChangeKind
from node.raft.ready import Role
from store import record
from store.config import StoreConfig
from store.log import DurableLog
from tests.support.member_cluster import MemberCluster, Node
from transport.frame import Channel
from transport.memory import Letter

LIMITS = Limits(log_entries_max=20, log_entries_kept=5, snapshot_chunk_bytes=200)
COARSE: dict[str, Any] = {
    "log_entries_max": 20,
    "log_entries_kept": 5,
    "snapshot_chunk_bytes": 2_000,
}
INSTALLED = "raft.snapshot_installed"


def lagging(
    cluster: MemberCluster, count: int = 60, member: int | None = None
) -> tuple[Node, Node]:
    """Leader, and a follower whose next entry the leader has compacted away; still cut off."""
    leader = cluster.elect()
    late = cluster[member] if member else cluster.followers()[0]
    assert late is not leader
    cluster.cut_off(late.id)
    cluster.put(count)
    cluster.until(lambda: leader.parts.disk.first_index() > late.parts.disk.last_index() + 1)
    return leader, late


def bulk_letters(cluster: MemberCluster) -> list[Letter]:
    """A list that fills with the bulk frames that are sent from now on, while none is lost."""
    letters: list[Letter] = []

    def fate(letter: Letter) -> tuple[int, ...]:
        if letter.channel is Channel.BULK:
            letters.append(letter)
        return (0,)

    cluster.network.fate = fate
    return letters


def test_lagging_isCaughtUpByAStream() -> None:
    cluster = MemberCluster(limits=LIMITS)
    _, late = lagging(cluster)
    letters = bulk_letters(cluster)

    cluster.network.heal()
    cluster.converge()

    assert late.journal.count(INSTALLED) == 1
    assert len(letters) > 8
    assert len(cluster.hashes()) == 1
    assert late.value(b"k0059") == b"v" * 10


def test_lagging_goesOnFromTheLogAfterwards() -> None:
    cluster = MemberCluster(limits=LIMITS)
    _, late = lagging(cluster)
    cluster.network.heal()
    cluster.converge()

    cluster.put(10, prefix=b"later")
    cluster.converge()

    assert late.journal.count(INSTALLED) == 1
    assert late.value(b"later0009") == b"v" * 10


def test_install_survivesRestart() -> None:
    cluster = MemberCluster(limits=LIMITS)
    _, late = lagging(cluster)
    cluster.network.heal()
    cluster.converge()
    revision = late.machine.revision

    late.kill()
    late.start()

    assert late.machine.revision == revision
    assert late.value(b"k0059") == b"v" * 10


def test_lostChunks_areSentAgain() -> None:
    cluster = MemberCluster(limits=LIMITS)
    _, late = lagging(cluster)
    seen = 0

    def fate(letter: Letter) -> tuple[int, ...]:
        nonlocal seen
        seen += letter.channel is Channel.BULK
        return () if letter.channel is Channel.BULK and seen % 3 == 0 else (0,)

    cluster.network.fate = fate
    cluster.network.heal()
    cluster.converge()

    assert late.journal.count(INSTALLED) == 1
    assert len(cluster.hashes()) == 1


def stream_partly(cluster: MemberCluster) -> tuple[Node, Node]:
    """Leader and lagging follower after some chunks have arrived, with the way cut again."""
    leader, late = lagging(cluster)
    passed = 0

    def fate(letter: Letter) -> tuple[int, ...]:
        nonlocal passed
        if letter.channel is not Channel.BULK:
            return (0,)
        passed += 1
        return (0,) if passed <= 9 else ()

    cluster.network.fate = fate
    cluster.network.heal()
    cluster.until(lambda: passed > 9)
    assert late.journal.count(INSTALLED) == 0
    return leader, late


def test_senderKilledInTheMiddle_anotherStreamsAll() -> None:
    cluster = MemberCluster(limits=LIMITS)
    leader, late = stream_partly(cluster)

    leader.kill()
    cluster.network.fate = None
    cluster.elect()
    leader.start()
    cluster.converge()

    assert late.journal.count(INSTALLED) == 1
    assert len(cluster.hashes()) == 1


def test_receiverKilledInTheMiddle_startsOver() -> None:
    cluster = MemberCluster(limits=LIMITS)
    _, late = stream_partly(cluster)

    late.kill()
    cluster.network.fate = None
    late.start()
    cluster.converge()

    assert late.journal.count(INSTALLED) == 1
    assert len(cluster.hashes()) == 1


def test_receiverKilledInTheMiddle_isNotStreamedIntoTheVoid() -> None:
    """The sender must not take the silence of a new process for a snapshot delivered."""
    cluster = MemberCluster(limits=LIMITS)
    leader, late = stream_partly(cluster)
    late.kill()
    late.start()

    letters = bulk_letters(cluster)
    cluster.until(lambda: letters)
    cluster.tick(5)

    refused = [letter for letter in letters if letter.sender == late.id]
    assert len(letters) - len(refused) <= 8
    assert leader.role is Role.LEADER


def lagging_with_effects(cluster: MemberCluster, count: int = 40) -> tuple[Node, Node]:
    """As `lagging`, but the follower applies one more entry just before the snapshot comes."""
    leader = cluster.elect()
    late = cluster.followers()[0]
    cluster.converge()
    leader.put(b"stored, not committed", b"v")
    for node in (leader, late):
        node.turn()
    late.sync()
    late.turn()
    cluster.cut_off(late.id)
    cluster.put(count)
    cluster.until(lambda: leader.parts.disk.first_index() > late.parts.disk.last_index() + 1)
    return leader, late


def test_install_crashBetweenAnyTwoWrites_leavesABootableDisk() -> None:
    """Effects, chunks and the switch are writes of their own; a crash may fall between any two."""
    for synced in range(16):
        cluster = MemberCluster(limits=Limits(**COARSE))
        _, late = lagging_with_effects(cluster)
        before = late.applied
        late.stalled = True
        cluster.network.heal()
        cluster.tick(5)
        assert late.applied > before
        late.stalled = False
        for _ in range(synced):
            late.sync(1)
            late.turn()
        late.kill()

        image = DurableLog(late.engine).load(1 << 20)
        late.start()
        cluster.converge()

        assert image.hard_state.commit <= image.last.index
        assert len(cluster.hashes()) == 1


def test_install_withEffectsUnderWay_andAFullQueue() -> None:
    """The Ready of an install must be taken at once, with room or not."""
    for queue in (1, 2, 3):
        cluster = MemberCluster(limits=LIMITS, store_config=StoreConfig(queue_batches_max=queue))
        _, late = lagging_with_effects(cluster)
        cluster.network.heal()
        cluster.converge()

        assert late.journal.count(INSTALLED) >= 1
        assert len(cluster.hashes()) == 1


def test_install_underWay_releasesNoRead() -> None:
    """Until the switch is on disk the old state is what a reader would see."""
    cluster = MemberCluster(limits=LIMITS)
    leader, late = lagging(cluster)
    wanted = leader.machine.revision
    seen: list[int] = []
    late.stalled = True
    cluster.network.heal()
    cluster.until(lambda: late.parts.disk.installing)

    read = late.read(lambda: seen.append(late.machine.revision))
    cluster.tick(20)
    late.stalled = False
    cluster.until(lambda: read.done)

    assert read.answer is None
    assert seen == [leader.machine.revision]
    assert seen[0] >= wanted


@pytest.mark.parametrize("batches", [1, None], ids=["one-by-one", "at-once"])
def test_secondInstall_whileTheFirstIsUnderWay(batches: int | None) -> None:
    """Nothing is read or applied until the last of them is on disk."""
    limits = Limits(**COARSE, log_entries_held_max=5)
    cluster = MemberCluster(limits=limits)
    leader, late = lagging(cluster)
    late.stalled = True
    cluster.network.heal()
    cluster.until(lambda: late.parts.disk.installing)
    first = late.applied
    cluster.put(60, prefix=b"more")
    cluster.until(lambda: late.applied > first)
    wanted = leader.machine.revision

    seen: list[int] = []
    read = late.read(lambda: seen.append(late.machine.revision))
    cluster.tick(5)
    late.stalled = False
    before, halfway = late.machine, 0
    while late.sync(batches):
        while late.turn():
            if late.parts.disk.installing and late.machine is not before:
                assert late.machine.applied_index == first
                halfway += 1
    cluster.until(lambda: read.done)
    cluster.converge()

    events = late.journal.events
    installed = [facts["index"] for name, facts in events if name == "raft.snapshot_installed"]
    assert (first in installed) == bool(halfway) == (batches == 1)
    assert seen
    assert seen[0] >= wanted
    assert len(cluster.hashes()) == 1


def change(cluster: MemberCluster, kind: ConfChangeKind, member: int) -> None:
    """Carry one change of the configuration through the log."""

    def effective() -> bool:
        conf = cluster.elect().parts.conf
        inside = {*conf.voters, *conf.learners}
        return (member in inside) == (kind is not ConfChangeKind.REMOVE)

    cluster.elect().parts.core.propose_conf_change(ConfChange(kind, member))
    cluster.until(effective)


def test_install_bringsTheConfigurationAlong() -> None:
    """Members that came and went meanwhile are peers, or are not, when the snapshot is there."""
    cluster = MemberCluster(4, spares=1, limits=LIMITS)
    leader = cluster.elect()
    late, leaving, _ = cluster.followers()
    cluster.cut_off(late.id)
    change(cluster, ConfChangeKind.REMOVE, leaving.id)
    change(cluster, ConfChangeKind.ADD_LEARNER, 5)
    cluster.put(60)
    cluster.until(lambda: leader.parts.disk.first_index() > late.parts.disk.last_index() + 1)

    cluster.network.heal()
    cluster.until(lambda: late.journal.count(INSTALLED))

    assert late.parts.conf == leader.parts.conf
    assert leaving.id not in late.process.mesh.peers()
    assert 5 in late.process.mesh.peers()
    assert late.links.dropped == [leaving.id]


def test_followerOfABusyLeader_catchesUp() -> None:
    """The log is kept from the snapshot on while it travels, however much is written meanwhile."""
    cluster = MemberCluster(limits=LIMITS)
    leader, late = lagging(cluster)
    leader.put(b"large", bytes(40_000))
    cluster.network.fate = lambda letter: (2,) if letter.channel is Channel.BULK else (0,)
    cluster.network.heal()
    number = 0

    def busy() -> bool:
        nonlocal number
        for _ in range(3):
            number += 1
            leader.put(b"k%d" % (number % 10), b"%d" % number)
        cluster.settle()
        return late.applied > leader.applied - 10

    cluster.until(busy, 10.0)

    assert late.journal.count(INSTALLED) == 1


def test_entriesThatWaitToBeApplied_givePlaceToASnapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = MemberCluster(limits=Limits(**COARSE))
    _, late = lagging_with_effects(cluster)
    monkeypatch.setattr(loop, "SLICES_PER_TURN", 0)
    late.stalled = True
    cluster.network.heal()
    cluster.until(lambda: late.parts.disk.installing)

    waiting = late.parts.applier.waiting
    monkeypatch.undo()
    late.stalled = False
    cluster.converge()

    assert waiting == 0
    assert len(cluster.hashes()) == 1


def test_replacedState_staysWhole_untilNobodyReadsIt() -> None:
    """The writer is ahead of the loop: it must not sweep what the loop still shows."""
    cluster = MemberCluster(limits=LIMITS)
    cluster.put(10, prefix=b"old")
    cluster.converge()
    _, late = lagging(cluster)
    late.stalled = True
    cluster.network.heal()
    cluster.until(lambda: late.parts.disk.installing)
    late.stalled = False
    writer = late.process.store.writer
    while late.sync():
        while writer.tidy():
            pass

    old = [late.value(b"old%04d" % number) for number in range(10)]
    cluster.converge()
    cluster.tick(20)
    while writer.tidy():
        pass

    assert old == [b"v" * 10] * 10
    generations = {key[1] for key, _ in late.engine.scan(record.STATE, b"t")}
    assert generations == {late.process.store.view.generation}
