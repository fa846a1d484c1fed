"""The converter: what a machine answers to our messages is what the model says it must answer."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from node.api.errors import REFUSALS
from node.machine import errors as refusals
from node.machine.answer import Answer
from node.machine.envelope import RequestKind
from node.machine.machine import Machine
from node.machine.view import MemoryView
from node.proto import rpc
from tools.check import History, Operation
from tools.check.convert import (
    message_of,
    outcome_of,
    response_of,
    watch_created,
    watch_record,
)
from tools.check.history import (
    Baseline,
    Compact,
    CompactResponse,
    Compare,
    DeleteRange,
    Event,
    KeyValue,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseResponse,
    LeaseRevoke,
    LeaseTimeToLive,
    Put,
    Range,
    Request,
    Response,
    Txn,
    TxnOperation,
    WatchCanceled,
    WatchResponse,
)
from tools.check.keyspace import Keyspace
from tools.check.model import Draft, Refused, evaluate, strip
from tools.check.revision import check_revisions
from tools.check.verdict import Result

KINDS = {
    Put: RequestKind.PUT,
    DeleteRange: RequestKind.DELETE_RANGE,
    Txn: RequestKind.TXN,
    Compact: RequestKind.COMPACT,
    LeaseGrant: RequestKind.LEASE_GRANT,
    LeaseRevoke: RequestKind.LEASE_REVOKE,
}
KEYS = (b"a", b"b", b"c", b"d")


def _draw(chance: Random, depth: int = 0) -> TxnOperation:
    key, other = chance.sample(KEYS, 2)
    kinds: list[TxnOperation] = [
        Put(key, b"%d" % chance.getrandbits(40), prev_kv=chance.random() < 0.5),
        Put(key, ignore_value=True, prev_kv=True),
        Range(key),
        Range(b"a", b"\0", limit=chance.randrange(3), count_only=chance.random() < 0.2),
        Range(b"a", b"c", keys_only=True, serializable=True),
        DeleteRange(key, prev_kv=chance.random() < 0.5),
        DeleteRange(b"c", b"d"),
    ]
    if depth < 2:
        target = chance.choice(["version", "create", "mod", "value", "lease"])
        given: int | bytes = b"7" if target == "value" else chance.randrange(4)
        compare = Compare(key, target, chance.choice(["=", "!=", ">", "<"]), given)  # type: ignore[arg-type]
        branches: list[TxnOperation] = [Put(other, b"%d" % chance.getrandbits(40)), Range(other)]
        kinds.append(Txn((compare,), tuple(branches), (_draw(chance, depth + 1),)))
        kinds.append(Txn((Compare(b"a", "version", ">", 1, b"c"),), (_draw(chance, depth + 1),)))
    return chance.choice(kinds)


def _serve(machine: Machine, view: MemoryView, request: Request) -> Response | None:
    """Apply a request as a member does; None = refused."""
    message = message_of(request)
    if isinstance(request, Range):
        asked = rpc.RangeRequest.FromString(message.SerializeToString())
        outcome = machine.range(asked)
    else:
        applied = machine.apply(
            machine.applied_index + 1, KINDS[type(request)], message.SerializeToString()
        )
        view.stage(applied.effects)
        outcome = applied.outcome
    if not isinstance(outcome, Answer):
        return None
    header = rpc.PutResponse(header={"revision": outcome.revision}).SerializeToString()
    return response_of(request, header + outcome.body)


def _runs(seeds: int) -> Iterator[tuple[Random, Machine, MemoryView]]:
    for seed in range(seeds):
        view = MemoryView()
        yield Random(seed), Machine(view), view


def test_machine_answers_what_the_model_says() -> None:
    compared = 0
    for chance, machine, view in _runs(30):
        space = Keyspace(Baseline())
        for _ in range(60):
            request = _draw(chance)
            draft = Draft(space, space.revision + 1)
            try:
                expected: Response | None = evaluate(request, draft)
            except Refused:
                expected = None

            answer = _serve(machine, view, request)

            told = None if answer is None else strip(answer, request)
            assert told == (None if expected is None else strip(expected, request)), request
            if answer is not None and draft.changes():
                assert answer.revision == space.revision + 1
                space.record(answer.revision, draft.changes())
            compared += answer is not None
    assert compared > 1_000


def test_recorded_run_passes_the_revision_check() -> None:
    for chance, machine, view in _runs(5):
        operations = []
        for number in range(100):
            request = _draw(chance)
            answer = _serve(machine, view, request)
            if answer is not None:
                at_ns = 10 * number
                operation = Operation(
                    number, "c", "n", at_ns, at_ns, at_ns + 5, "ok", request, answer
                )
                operations.append(operation)

        report = check_revisions(History(tuple(operations)))

        assert report.verdict.result == Result.OK, report.verdict


def test_lease_and_compaction_calls_are_taken_apart() -> None:
    view = MemoryView()
    machine = Machine(view)

    assert _serve(machine, view, LeaseGrant(7, 60)) == LeaseResponse(1, 7, 60)
    _serve(machine, view, Put(b"k", b"1", lease=7))
    assert _serve(machine, view, Compact(2)) == CompactResponse(2)
    assert _serve(machine, view, LeaseRevoke(7)) == LeaseResponse(3, 7)
    alive = rpc.LeaseKeepAliveResponse(header={"revision": 4}, ID=7, TTL=60)
    assert response_of(LeaseKeepAlive(7), alive.SerializeToString()) == LeaseResponse(4, 7, 60)
    left = rpc.LeaseTimeToLiveResponse(header={"revision": 4}, ID=7, TTL=-1, grantedTTL=0)
    assert response_of(LeaseTimeToLive(7), left.SerializeToString()) == LeaseResponse(4, 7, -1)
    assert message_of(LeaseTimeToLive(7)) == rpc.LeaseTimeToLiveRequest(ID=7)


def test_watch_responses_become_records() -> None:
    asked = rpc.WatchCreateRequest(key=b"a", range_end=b"b", prev_kv=True, filters=["NODELETE"])
    place: dict[str, Any] = {"stream": "s", "position": 3, "at_ns": 9}
    header = {"revision": 5}

    created = watch_created(
        rpc.WatchResponse(header=header, watch_id=2, created=True),
        asked,
        subscription="w",
        endpoint="n1",
        **place,
    )
    told = watch_record(
        rpc.WatchResponse(
            header=header,
            watch_id=2,
            events=[
                {"kv": {"key": b"a", "value": b"1", "mod_revision": 5}, "prev_kv": {"key": b"a"}},
                {"type": "DELETE", "kv": {"key": b"a", "mod_revision": 5}},
            ],
        ),
        **place,
    )
    end = rpc.WatchResponse(header=header, watch_id=2, canceled=True, compact_revision=4)

    assert (created.watch, created.revision, created.range_end) == (2, 5, b"b")
    assert (created.prev_kv, created.no_put, created.no_delete) == (True, False, True)
    assert told == WatchResponse(
        "s",
        3,
        2,
        9,
        5,
        (
            Event("put", KeyValue(b"a", b"1", 0, 5), KeyValue(b"a")),
            Event("delete", KeyValue(b"a", b"", 0, 5)),
        ),
    )
    assert watch_record(end, **place) == WatchCanceled("s", 3, 2, 9, 4)


def test_errors_that_leave_it_open_are_no_failures() -> None:
    open_ended = {
        refusals.NoLeader,
        refusals.NotLeader,
        refusals.Stopped,
        refusals.Timeout,
        refusals.LeaderFailed,
    }

    outcomes = {outcome_of(REFUSALS[refusal].text) for refusal in open_ended}

    assert outcomes == {"unknown"}


def test_what_the_store_refuses_has_failed() -> None:
    assert outcome_of("etcdserver: requested lease not found") == "failed"
    assert outcome_of("etcdserver: request timed out") == "unknown"
    assert outcome_of("context deadline exceeded") == "unknown"
