"""The judges behind the clients are judged: each lie that a member can tell is found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from node.lease_expiry import LeaseExpiry
from node.machine import kv
from node.machine.answer import Answer, Applied, Event
from node.machine.envelope import Credential, RequestKind
from node.machine.machine import Machine
from node.member import Member, OnFresh
from node.proto import rpc
from node.watch.hub import WatchHub
from tests.simulator.actions import WEIGHTS
from tests.simulator.calm import Calm
from tests.simulator.clients import BOUNDS, CLIENT_WEIGHTS, Clients
from tests.simulator.history import objections
from tests.simulator.ledger import marked
from tests.simulator.observer import SimulationFailed
from tests.simulator.plan import Plan
from tests.simulator.world import World

STEPS = 4_000
SEEDS_MAX = 12
"""Within so many runs every lie must have been found out."""
FAULTS = {"kill": 0.1, "pause": 0.2, "isolate_leader": 0.05, "transfer": 0.1}


def _plan(seed: int) -> Plan:
    pace = {name: WEIGHTS[name] for name in ("turn", "sync", "tick")}
    return Plan(seed=seed, weights={**pace, **FAULTS, **CLIENT_WEIGHTS}, stable_timeouts=1)


@dataclass
class Judged:
    """What came of one run, by who says it."""

    clients: Clients
    log: list[str]
    """Of the replayed log."""
    judges: list[str]
    """Rules of `tools.check` that were broken, and checks that could not decide."""
    failure: str = ""

    @property
    def good(self) -> bool:
        return not self.log and not self.judges and not self.failure


class Unjudged(Clients):
    """Clients that do not judge, so that a test can ask each judge by itself."""

    def judge(self) -> None:
        """Later."""


def _run(seed: int) -> Judged:
    world = World(_plan(seed), observed=False)
    clients = world.clients = Unjudged(world)
    failure = ""
    try:
        world.run(STEPS)
        world.calm()
    except SimulationFailed as failed:
        failure = str(failed)
    log = clients.ledger.replay(clients.recorder.asked).objections
    verdicts = objections(clients.history(), BOUNDS)
    judges = [found.rule for verdict in verdicts for found in verdict.findings]
    judges += [verdict.check for verdict in verdicts if not verdict.findings]
    return Judged(clients, log, judges, failure)


def _find(told: Callable[[Judged], object]) -> Judged:
    """Run until somebody says what is expected."""
    for seed in range(SEEDS_MAX):
        judged = _run(seed)
        if told(judged):
            return judged
    raise AssertionError("nobody has found it out")


@pytest.mark.parametrize("seed", range(3))
def test_good_runs_are_found_good(seed: int) -> None:
    judged = _run(seed)

    assert judged.good, judged
    outcomes = [asked.outcome for asked in judged.clients.recorder.asked]
    assert outcomes.count("ok") > 80
    assert len(judged.clients.recorder.watches) > 50
    assert len(judged.clients.recorder.hashes) > 6


def test_run_is_the_same_again() -> None:
    assert _run(5).clients.history() == _run(5).clients.history()


def test_stale_reads_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: Member, done: OnFresh) -> None:
        done(None)

    monkeypatch.setattr(Member, "read", read)

    assert _find(lambda judged: "real-time order" in judged.judges)
    assert _find(lambda judged: "order per key" in judged.judges)


def _every(count: int, request: bytes) -> bool:
    """The same choice at every member."""
    return sum(request) % count == 0


def test_acknowledged_put_that_is_lost_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    put = Machine._put

    def lose(self: Machine, request: bytes, by: Credential | None) -> Applied:
        if _every(20, request):
            return Applied(Answer(self.revision + 1, b""))
        return put(self, request, by)

    monkeypatch.setattr(Machine, "_put", lose)

    assert _find(lambda judged: judged.log and judged.judges)


def test_run_that_cannot_be_ended_is_judged_as_far_as_it_went(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put = Machine._put

    def lie(self: Machine, request: bytes, by: Credential | None) -> Applied:
        applied = put(self, request, by)
        if isinstance(applied.outcome, Answer):
            told = Answer(applied.outcome.revision + 1, applied.outcome.body)
            return Applied(told, applied.effects, applied.events, applied.leases)
        return applied

    monkeypatch.setattr(Machine, "_put", lie)
    world = World(_plan(0), observed=False)
    world.clients = Clients(world)
    world.run(STEPS)

    world.void = True
    with pytest.raises(SimulationFailed, match="the log does not agree"):
        world.look()


def test_put_that_is_applied_twice_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    put = kv.put

    def twice(change: object, request: object) -> bytes:
        put(change, request)  # type: ignore[arg-type]
        return put(change, request)  # type: ignore[arg-type]

    monkeypatch.setattr(kv, "put", twice)

    assert _find(lambda judged: judged.log and judged.judges)


def test_request_that_is_proposed_twice_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    propose = Member.propose

    def twice(self: Member, kind: RequestKind, request: bytes, done: object, *more: object) -> None:
        propose(self, kind, request, done, *more)  # type: ignore[arg-type]
        if _every(10, request):
            propose(self, kind, request, lambda outcome: None)

    monkeypatch.setattr(Member, "propose", twice)

    judged = _find(lambda judged: judged.log)
    assert any("is in the log again" in text for text in judged.log)


def test_watch_event_that_is_dropped_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    publish = WatchHub.publish

    def drop(self: WatchHub, events: Sequence[Event]) -> None:
        if events[0].revision % 30:
            publish(self, events)
        else:
            self.revision = events[0].revision

    monkeypatch.setattr(WatchHub, "publish", drop)

    assert _find(lambda judged: "reliable" in judged.judges and not judged.log)


def test_watch_that_begins_too_late_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    create = WatchHub._create

    def late(self: WatchHub, stream: object, request: object) -> None:
        if request.start_revision:  # type: ignore[attr-defined]
            request.start_revision += 1  # type: ignore[attr-defined]
        create(self, stream, request)  # type: ignore[arg-type]

    monkeypatch.setattr(WatchHub, "_create", late)

    assert _find(lambda judged: "reliable" in judged.judges and not judged.log)


def test_lease_that_ends_early_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    granted = LeaseExpiry.granted

    def shorter(self: LeaseExpiry, lease_id: int, ttl: int, now: float) -> None:
        granted(self, lease_id, 0, now)

    monkeypatch.setattr(LeaseExpiry, "granted", shorter)

    assert _find(lambda judged: "early expiry" in judged.judges and not judged.log)


def test_lease_that_does_not_end_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def due(self: LeaseExpiry, now: float, count_max: int) -> list[int]:
        return []

    monkeypatch.setattr(LeaseExpiry, "due", due)

    assert _find(lambda judged: "outlives its time" in judged.failure)


def test_request_that_is_never_answered_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    propose = Member.propose

    def swallow(
        self: Member, kind: RequestKind, request: bytes, done: object, *more: object
    ) -> None:
        if marked(request) is not None and _every(5, request):
            propose(self, kind, request, lambda outcome: None)
        else:
            propose(self, kind, request, done, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Member, "propose", swallow)

    assert _find(lambda judged: "is not answered" in judged.failure)


def test_wrong_answer_to_a_compare_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    txn = Machine._txn

    def wrong(self: Machine, request: bytes, by: Credential | None) -> Applied:
        applied = txn(self, request, by)
        outcome = applied.outcome
        if isinstance(outcome, Answer) and _every(5, request) and outcome.body[:2] == b"\x10\x01":
            return Applied(
                Answer(outcome.revision, outcome.body[2:]),
                applied.effects,
                applied.events,
                applied.leases,
            )
        return applied

    monkeypatch.setattr(Machine, "_txn", wrong)

    assert _find(lambda judged: judged.log and "state at revision" in judged.judges)


def test_keyspace_that_differs_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the members, whichever applies first, keeps less of a value than the others."""
    put = Machine._put
    first: set[bytes] = set()

    def keep_less(self: Machine, request: bytes, by: Credential | None) -> Applied:
        if request not in first:
            first.add(request)
            message = rpc.PutRequest.FromString(request)
            if _every(20, request) and message.value:
                message.value = message.value[:-1]
                request = message.SerializeToString()
        return put(self, request, by)

    monkeypatch.setattr(Machine, "_put", keep_less)
    monkeypatch.setattr(Calm, "_equal", lambda self, among: self._leader(among) is not None)

    assert _find(lambda judged: "equal hash" in judged.judges)
