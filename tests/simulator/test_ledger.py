"""The log as truth: what it holds against what clients were told."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from node.machine.envelope import RequestKind, pack
from node.proto import rpc
from node.raft.message import Entry, EntryKind
from tests.simulator.history import Recorder
from tests.simulator.ledger import Ledger, differences, mark, marked
from tools.check.convert import message_of
from tools.check.history import (
    Compact,
    Compare,
    DeleteRange,
    KeyValue,
    LeaseGrant,
    LeaseRevoke,
    Put,
    Range,
    Request,
    Txn,
)

KINDS: dict[type[Request], RequestKind] = {
    Put: RequestKind.PUT,
    DeleteRange: RequestKind.DELETE_RANGE,
    Txn: RequestKind.TXN,
    Compact: RequestKind.COMPACT,
    LeaseGrant: RequestKind.LEASE_GRANT,
    LeaseRevoke: RequestKind.LEASE_REVOKE,
}


class Run:
    """A recorder and a log, both by hand."""

    def __init__(self) -> None:
        self.recorder = Recorder(lambda: 0.0)
        self.ledger = Ledger(self.recorder.clock)
        self._sequences = count(1)
        self._indexes = count(2)

    def ask(self, request: Request) -> int:
        return self.recorder.ask("c", "n", request).id

    def told(self, number: int, revision: int, **fields: object) -> None:
        """The answer; of what kind it is does not matter for its header."""
        asked = self.recorder.asked[number]
        kinds = {Put: rpc.PutResponse, DeleteRange: rpc.DeleteRangeResponse, Txn: rpc.TxnResponse}
        kinds |= {Compact: rpc.CompactionResponse, LeaseGrant: rpc.LeaseGrantResponse}
        response = kinds[type(asked.request)](header={"revision": revision}, **fields)
        self.recorder.told(asked, response.SerializeToString(), "")

    def refused(self, number: int, text: str) -> None:
        self.recorder.told(self.recorder.asked[number], None, f"etcdserver: {text}")

    def log(self, number: int) -> None:
        request = self.recorder.asked[number].request
        message = mark(message_of(request).SerializeToString(), number)
        self.log_raw(KINDS[type(request)], message)

    def log_raw(self, kind: RequestKind, message: bytes, sequence: int = 0) -> None:
        data = pack(kind, 1, sequence or next(self._sequences), message)
        self.ledger.note([Entry(1, next(self._indexes), EntryKind.NORMAL, data)])

    def objections(self) -> Sequence[str]:
        return self.ledger.replay(self.recorder.asked).objections


def test_mark_is_found_again_and_leaves_the_message_as_it_was() -> None:
    message = rpc.PutRequest(key=b"k", value=b"v").SerializeToString()

    assert marked(mark(message, 7_000)) == 7_000
    assert marked(message) is None
    assert rpc.PutRequest.FromString(mark(message, 7)).value == b"v"


def test_log_that_says_what_clients_were_told_is_good() -> None:
    run = Run()
    put, swap, compact = (
        run.ask(Put(b"k", b"1")),
        run.ask(Txn((Compare(b"k", "mod", "=", 2),), (DeleteRange(b"k"),), ())),
        run.ask(Compact(2)),
    )
    for number in (put, swap, compact):
        run.log(number)
    run.told(put, 2)
    run.told(swap, 3, succeeded=True, responses=[{"response_delete_range": {"deleted": 1}}])
    run.told(compact, 3)

    assert run.objections() == []
    assert run.ledger.recorded[put].revision == 2
    assert run.ledger.recorded[swap].revision == 3
    assert run.ledger.recorded[compact].revision == 0


def test_acknowledged_write_that_is_in_no_log_is_found() -> None:
    run = Run()
    put = run.ask(Put(b"k", b"1"))
    run.told(put, 2)

    [objection] = run.objections()
    assert "is in no log" in objection


def test_transaction_that_only_reads_needs_no_log() -> None:
    run = Run()
    run.told(run.ask(Txn((), (Range(b"k"),), ())), 1, succeeded=True, responses=[])

    assert run.objections() == []


def test_write_that_is_in_the_log_twice_is_found() -> None:
    run = Run()
    put = run.ask(Put(b"k", b"1"))
    run.log(put)
    run.log(put)

    [objection] = run.objections()
    assert "again" in objection


def test_proposal_that_is_in_the_log_twice_is_found() -> None:
    run = Run()
    message = rpc.LeaseRevokeRequest(ID=1).SerializeToString()
    run.log_raw(RequestKind.LEASE_REVOKE, message, 5)
    run.log_raw(RequestKind.LEASE_REVOKE, message, 5)

    [objection] = run.objections()
    assert "repeats a proposal" in objection


def test_write_that_nobody_asked_for_is_found_unless_the_world_may_write() -> None:
    run, calm = Run(), Run()
    calm.ledger.calming()
    message = rpc.PutRequest(key=b"k", value=b"v").SerializeToString()
    run.log_raw(RequestKind.PUT, message)
    calm.log_raw(RequestKind.PUT, message)

    [objection] = run.objections()
    assert "asked for by nobody" in objection
    assert calm.objections() == []
    assert [put.revision for put in calm.ledger.foreign] == [2]


def test_refused_write_that_the_log_lets_happen_is_found() -> None:
    run = Run()
    put = run.ask(Put(b"k", b"1", lease=5))
    grant = run.ask(LeaseGrant(5, 2))
    run.log(grant)
    run.log(put)
    run.refused(put, "requested lease not found")
    run.told(grant, 1, ID=5, TTL=2)

    [objection] = run.objections()
    assert "the right answer" in objection


def test_refused_write_that_the_log_refuses_as_well_is_good() -> None:
    run = Run()
    put = run.ask(Put(b"k", b"1", lease=5))
    run.log(put)
    run.refused(put, "requested lease not found")

    assert run.objections() == []
    assert run.ledger.recorded[put].refused


def test_answer_that_is_not_that_of_its_place_is_found() -> None:
    run = Run()
    first, second = run.ask(Put(b"k", b"1")), run.ask(Put(b"k", b"2", prev_kv=True))
    run.log(first)
    run.log(second)
    run.told(second, 3, prev_kv={"key": b"k", "value": b"0"})

    [objection] = run.objections()
    assert 'k="1"' in objection


def test_entry_that_nobody_applied_is_found() -> None:
    run = Run()
    run.log(run.ask(Put(b"k", b"1")))
    next(run._indexes)
    run.log(run.ask(Put(b"k", b"2")))

    assert "entry 3 was applied by nobody" in run.objections()


def test_lease_that_ends_takes_its_keys_in_one_revision() -> None:
    run = Run()
    run.log(run.ask(LeaseGrant(5, 2)))
    run.log(run.ask(Put(b"a", b"1", lease=5)))
    run.log(run.ask(Put(b"b", b"2", lease=5)))
    run.log_raw(RequestKind.LEASE_REVOKE, rpc.LeaseRevokeRequest(ID=5).SerializeToString())

    replay = run.ledger.replay(run.recorder.asked)

    assert replay.space.revision == 4
    assert differences(replay.space, {}) == []
    assert differences(replay.space, {b"c": KeyValue(b"c")}) == [b"c"]


def test_open_outcomes_are_settled_by_the_log() -> None:
    run = Run()
    happened, refused, lost = (
        run.ask(Put(b"k", b"1")),
        run.ask(Put(b"x", b"", ignore_value=True)),
        run.ask(Put(b"k", b"3")),
    )
    run.log(happened)
    run.log(refused)
    run.objections()

    operations = run.recorder.history(run.ledger).operations

    assert operations[happened].taken_revision == 2
    assert [operations[n].outcome for n in (happened, refused, lost)] == [
        "unknown",
        "failed",
        "failed",
    ]
