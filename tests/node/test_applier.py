"""Entries in, consequences out: in order, once, and to everyone who must hear of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from node.applier import Applier
from node.chain import Chain
from node.errors import InvariantViolated
from node.machine.answer import Answer, Event, LeaseChange, LeaseChangeKind, Operation
from node.machine.envelope import RequestKind, pack
from node.machine.errors import LeaseNotFound, Refusal
from node.machine.machine import Machine
from node.machine.view import MemoryView
from node.proto import rpc
from node.raft.message import ConfChange, ConfChangeKind, ConfState, Entry, EntryKind


class Bench:
    """An applier over a real machine, and what comes out of it, in order."""

    def __init__(self) -> None:
        self.log: list[object] = []
        self.conf = ConfState(voters=(1,))
        self.view = MemoryView()
        self.machine = Machine(self.view)
        self.index = 0
        self.chain = Chain(b"", 0)
        self.applier = Applier(
            self.machine,
            self,
            self,
            self.chain,
            complete=lambda *done: self.log.append(("done", *done)),
            leases=lambda changes: self.log.append(("leases", *changes)),
            tokens=lambda changes: self.log.append(("tokens", *changes)),
            conf=lambda: self.conf,
            change_conf=self._change_conf,
            changed=lambda *done: self.log.append(("changed", *done)),
            checked=lambda index: self.log.append(("checked", index)),
            term_applied=lambda term: self.log.append(("term", term)),
        )

    def stage(self, operations: Sequence[Operation]) -> None:
        self.view.stage(operations)
        self.log.append(("stage", len(operations)))

    def publish(self, events: Sequence[Event]) -> None:
        self.log.append(("events", [(event.revision, event.key) for event in events]))

    def _change_conf(self, change: ConfChange | None, index: int) -> ConfState:
        self.log.append(("conf", change))
        return self.conf

    def entry(self, data: bytes, term: int = 1, kind: EntryKind = EntryKind.NORMAL) -> Entry:
        self.index += 1
        return Entry(term, self.index, kind, data)

    def put(self, key: bytes, sequence: int, term: int = 1) -> Entry:
        request = rpc.PutRequest(key=key, value=b"v").SerializeToString()
        return self.entry(pack(RequestKind.PUT, 9, sequence, request), term)


def kinds(log: list[object]) -> list[str]:
    return [row[0] for row in log if isinstance(row, tuple)]


def test_entry_isStagedThenPublishedThenAnswered() -> None:
    """Who is answered or hears of an event may read at once, and must find it."""
    bench = Bench()
    bench.applier.add([bench.put(b"a", 5)])

    last = bench.applier.apply(10)

    assert last is not None
    assert last.index == 1
    assert kinds(bench.log) == ["term", "stage", "events", "done"]
    assert bench.log[2] == ("events", [(2, b"a")])
    assert bench.log[3] == ("done", 9, 5, Answer(2, b""))


def test_entries_areAppliedInOrder_inSlices() -> None:
    bench = Bench()
    bench.applier.add([bench.put(b"%d" % n, n) for n in range(5)])
    waiting = bench.applier.waiting

    lasts = [bench.applier.apply(2) for _ in range(4)]

    assert waiting == 5
    assert [entry.index if entry else None for entry in lasts] == [2, 4, 5, None]
    done = [row[2] for row in bench.log if isinstance(row, tuple) and row[0] == "done"]
    assert done == [0, 1, 2, 3, 4]


def test_refusal_isAnAnswer_withoutEffects() -> None:
    bench = Bench()
    request = rpc.LeaseRevokeRequest(ID=3).SerializeToString()
    bench.applier.add([bench.entry(pack(RequestKind.LEASE_REVOKE, 9, 5, request))])

    bench.applier.apply(10)

    refusal: Refusal = LeaseNotFound(3)
    assert bench.log == [("term", 1), ("done", 9, 5, refusal)]


def test_leaseChanges_reachTheClock() -> None:
    bench = Bench()
    request = rpc.LeaseGrantRequest(ID=3, TTL=30).SerializeToString()
    bench.applier.add([bench.entry(pack(RequestKind.LEASE_GRANT, 9, 5, request))])

    bench.applier.apply(10)

    assert ("leases", LeaseChange(LeaseChangeKind.GRANTED, 3, 30)) in bench.log


def test_newTerm_isToldBeforeItsFirstEntry_alsoAnEmptyOne() -> None:
    bench = Bench()
    bench.applier.add([bench.put(b"a", 1, term=3), bench.entry(b"", 4), bench.put(b"b", 2, 4)])

    bench.applier.apply(10)

    assert kinds(bench.log) == [
        "term",
        "stage",
        "events",
        "done",
        "term",
        "stage",
        "events",
        "done",
    ]


def test_confChange_isCarriedOut() -> None:
    bench = Bench()
    change = ConfChange(ConfChangeKind.ADD_LEARNER, 4)
    bench.applier.add([bench.entry(msgspec.msgpack.encode(change), kind=EntryKind.CONF_CHANGE)])

    bench.applier.apply(10)

    assert bench.log == [("term", 1), ("conf", change)]


def test_drop_forgetsWhatWaits() -> None:
    bench = Bench()
    bench.applier.add([bench.put(b"a", 1)])

    bench.applier.drop()

    assert bench.applier.apply(10) is None
    assert bench.log == []


def test_unknownKind_endsTheMember() -> None:
    bench = Bench()
    bench.applier.add([bench.entry(pack(31, 9, 5, b""))])  # no kind of this release

    with pytest.raises(InvariantViolated):
        bench.applier.apply(10)


def test_replacedMachine_goesOn() -> None:
    bench = Bench()
    bench.applier.add([bench.put(b"a", 1)])
    bench.applier.apply(10)
    machine = Machine(bench.view, bench.index)
    bench.applier.replace_machine(machine, b"", bench.index)

    bench.applier.add([bench.put(b"b", 2)])
    bench.applier.apply(10)

    assert machine.revision == 3


def test_compaction_isStaged_untilNothingIsLeft() -> None:
    bench = Bench()
    bench.applier.add([bench.put(b"a", n) for n in range(10)])
    request = rpc.CompactionRequest(revision=11).SerializeToString()
    bench.applier.add([bench.entry(pack(RequestKind.COMPACT, 9, 99, request))])
    before = bench.applier.compact(4)
    bench.applier.apply(20)

    rounds = 0
    while bench.applier.compact(4):
        rounds += 1

    assert not before
    assert rounds >= 3
    assert bench.machine.physically_compacted(11)


def test_digest_isAFunctionOfTheIndex_notOfTheSlices() -> None:
    whole, slices = Bench(), Bench()
    for bench in (whole, slices):
        conf_change = msgspec.msgpack.encode(ConfChange(ConfChangeKind.ADD_VOTER, 2))
        bench.applier.add([bench.entry(b""), bench.put(b"a", 1), bench.put(b"b", 2)])
        bench.applier.add([bench.entry(conf_change, kind=EntryKind.CONF_CHANGE)])

    whole.applier.apply(10)
    while slices.applier.apply(1):
        pass

    assert whole.chain.link == slices.chain.link != Chain(b"", 0).link


def test_digest_ofAnApplyThatWentItsOwnWay_differs() -> None:
    """The same entry over another state: the answer says so, and so do the records."""
    one, other = Bench(), Bench()
    other.machine.apply(1, RequestKind.PUT, rpc.PutRequest(key=b"x").SerializeToString())
    for bench in (one, other):
        bench.index = 1
        bench.applier.add([bench.put(b"a", 1)])
        bench.applier.apply(10)

    assert one.chain.link != other.chain.link
