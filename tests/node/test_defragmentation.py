"""Defragment, over whole members: what it waits for, and who is answered when."""

from __future__ import annotations

from node.defragmentation import WAITING_MAX
from node.machine.errors import Refusal, TooManyRequests
from tests.support.member_cluster import Call, MemberCluster, Node

Done = Call[Refusal | None]


class Rewrites:
    """A rewriter that notes what the disk held at first, and lasts as long as it is told."""

    def __init__(self, node: Node) -> None:
        self.busy = False
        self.lasting = False
        self.revisions: list[int] = []
        """Records of revisions on disk at the beginning of each rewrite."""
        self._node = node
        node.parts.defragmentation._rewriter = self

    def begin(self) -> None:
        self.busy = self.lasting
        prefix = b"s" + bytes((self._node.parts.disk._state.generation,)) + b"r"
        found = self._node.engine.scan(prefix, prefix[:-1] + b"s")
        self.revisions.append(len(list(found)))


def ask(node: Node) -> Done:
    done: Done = Call()
    node.member.defragment(done)
    return done


def test_defragment_isAnsweredAfterTheRewrite() -> None:
    cluster = MemberCluster(1)
    leader = cluster.elect()
    rewrites = Rewrites(leader)
    rewrites.lasting = True

    asked = ask(leader)
    cluster.tick(100)
    during = list(asked.answers)
    rewrites.busy = False
    cluster.until(lambda: asked.done)

    assert (during, asked.answers, len(rewrites.revisions)) == ([], [None], 1)


def test_defragment_waitsForWhatWasCompacted() -> None:
    """The compaction is answered long before its records are gone, and again before that is on
    disk."""
    cluster = MemberCluster(1)
    leader = cluster.elect()
    rewrites = Rewrites(leader)
    for number in range(2_000):
        leader.put(b"k", b"%d" % number)
    cluster.settle()

    leader.compact(leader.machine.revision)
    cluster[1].stalled = True
    asked = ask(leader)
    cluster.tick(50)
    while_stalled = list(rewrites.revisions)
    cluster[1].stalled = False
    cluster.until(lambda: asked.done)

    assert while_stalled == []
    assert rewrites.revisions == [1]


def test_defragment_thatComesDuringOneHasAnother() -> None:
    cluster = MemberCluster(1)
    leader = cluster.elect()
    rewrites = Rewrites(leader)
    rewrites.lasting = True

    first = ask(leader)
    cluster.until(lambda: rewrites.busy)
    second, third = ask(leader), ask(leader)
    rewrites.busy = False
    cluster.until(lambda: first.done)
    answered = [second.done, third.done]
    rewrites.busy = False
    cluster.until(lambda: second.done and third.done)

    assert answered == [False, False]
    assert len(rewrites.revisions) == 2


def test_defragment_ofTooManyIsRefused() -> None:
    cluster = MemberCluster(1)
    leader = cluster.elect()

    asked = [ask(leader) for _ in range(WAITING_MAX + 1)]
    cluster.until(lambda: all(each.done for each in asked))

    assert [each.answer for each in asked] == [None] * WAITING_MAX + [TooManyRequests()]


def test_defragment_isEachMembersOwn() -> None:
    cluster = MemberCluster()
    cluster.elect()
    rewrites = {node.id: Rewrites(node) for node in cluster}

    asked = ask(cluster[2])
    cluster.until(lambda: asked.done)

    assert [len(rewrites[member].revisions) for member in (1, 2, 3)] == [0, 1, 0]
