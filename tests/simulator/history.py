"""What the clients of a run saw, as a `tools.check.History`, and the verdict on it.

Times are virtual nanoseconds of one clock that never shows the same twice: the cluster's time, plus
the number of looks at it. What happens one after the other in a step of no length is thereby told
apart, and since the number only grows, no span of time is ever measured as too short.

A recorder knows more than a client: which requests reached the logs of the members (`ledger`). One
with an open outcome that is in no log has failed, whatever its client was told or not; one that is
in the log had taken effect by the time at which a member was first given it to apply, and at the
revision that the replay of the log gives it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import structs

from tests.simulator.ledger import LOGGED, Foreign, Ledger, Recorded
from tools.check import Bounds, History, check_history, describe_verdict
from tools.check.convert import outcome_of, response_of
from tools.check.history import (
    HashReport,
    Operation,
    Outcome,
    Request,
    Response,
    WatchRecord,
)
from tools.check.verdict import Result, Verdict

NO_EFFECT: Final = "in no log, or refused there"


class Asked:
    """One request under way, or over; what `Operation` is made of."""

    __slots__ = (
        "client",
        "end_ns",
        "endpoint",
        "error",
        "id",
        "outcome",
        "request",
        "response",
        "start_ns",
    )

    def __init__(self, id_: int, client: str, endpoint: str, start_ns: int, request: Request):
        self.id = id_
        self.client = client
        self.endpoint = endpoint
        self.start_ns = start_ns
        self.request = request
        self.end_ns: int | None = None
        self.outcome: Outcome = "unknown"
        self.response: Response | None = None
        self.error = ""


class Recorder:
    """Everything that clients ask and are told."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` is the cluster's time in seconds."""
        self._now = now
        self._looks = 0
        self.asked: list[Asked] = []
        self.watches: list[WatchRecord] = []
        self.hashes: list[HashReport] = []
        self.revision = 1
        """The highest that any answer has shown."""

    def clock(self) -> int:
        """Nanoseconds; later than ever before."""
        self._looks += 1
        return int(self._now() * 1e9) + self._looks

    def ask(self, client: str, endpoint: str, request: Request) -> Asked:
        """A request is about to be sent."""
        asked = Asked(len(self.asked), client, endpoint, self.clock(), request)
        self.asked.append(asked)
        return asked

    def told(self, asked: Asked, message: bytes | None, error: str) -> None:
        """The answer has come: a response, or the text of an error."""
        asked.end_ns = self.clock()
        if message is None:
            asked.outcome, asked.error = outcome_of(error), error
            return
        asked.outcome, asked.response = "ok", response_of(asked.request, message)
        self.revision = max(self.revision, asked.response.revision)

    def gave_up(self, asked: Asked, why: str) -> None:
        """The client waits no longer, or its connection is gone."""
        asked.error = why

    def hashed(self, member: int, revision: int, value: int, compact_revision: int) -> None:
        """A member has told the hash of its keyspace at a revision."""
        report = HashReport(f"n{member}", self.clock(), revision, value, compact_revision)
        self.hashes.append(report)

    def history(self, ledger: Ledger) -> History:
        """All of it."""
        operations = [_operation(asked, ledger.recorded.get(asked.id)) for asked in self.asked]
        operations += [
            _foreign(number, put) for number, put in enumerate(ledger.foreign, len(operations))
        ]
        return History(
            tuple(operations),
            tuple(self.watches),
            tuple(self.hashes),
        )


def _operation(asked: Asked, recorded: Recorded | None) -> Operation:
    operation = Operation(
        asked.id,
        asked.client,
        asked.endpoint,
        asked.start_ns,
        asked.start_ns,
        asked.end_ns,
        asked.outcome,
        asked.request,
        asked.response,
        asked.error,
    )
    if asked.outcome != "unknown" or not isinstance(asked.request, LOGGED):
        return operation
    if recorded is None or recorded.refused:
        return structs.replace(operation, outcome="failed", error=NO_EFFECT)
    return structs.replace(
        operation,
        taken_ns=recorded.at_ns,
        taken_revision=recorded.revision,
        taken_branch=recorded.succeeded,
    )


def _foreign(number: int, put: Foreign) -> Operation:
    """A put of the world itself, which is not among those of the clients."""
    return Operation(
        number,
        "world",
        "",
        put.start_ns,
        put.start_ns,
        None,
        "unknown",
        put.request,
        taken_ns=put.at_ns,
        taken_revision=put.revision,
    )


def objections(history: History, bounds: Bounds) -> list[Verdict]:
    """Give the verdicts that are not good."""
    return [each for each in check_history(history, bounds) if each.result != Result.OK]


def explain(verdicts: list[Verdict]) -> str:
    """Give them as text."""
    return "\n".join(map(describe_verdict, verdicts))
