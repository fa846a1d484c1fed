"""The bound on what the state may take of this member's disk (etcd --quota-backend-bytes).

    put, txn with a put, lease grant ──room?──► the log
                                        └─ no: NOSPACE raised through the log, then NoSpace answered

Judged where a request comes in and never where it is applied: the same state takes more space on
one member's disk than on another's, and what is applied must not depend on that. So a member also
raises the alarm when it finds itself too large after others have let writes in. Once the alarm
stands it is part of the state, and refuses writes everywhere alike until it is disarmed.

Nothing is measured for a request: as much as is left at one measurement may come in before the
next one. With the quota off that is infinitely much.

Source: etcd server/etcdserver/api/v3rpc/quota.go, server/storage/quota.go.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from node.machine.answer import Answer
from node.machine.cost import KEY_OVERHEAD_BYTES, cost_of
from node.machine.envelope import RequestKind
from node.machine.errors import NoSpace, Refusal
from node.machine.machine import Machine
from node.proto import rpc_pb2
from node.status import Alarm

OnOutcome = Callable[[Answer | Refusal], None]
Propose = Callable[[RequestKind, bytes, OnOutcome], None]

MEASURE_SECONDS = 1.0
REFUSED_MAX = 1_024
"""Requests that wait for the alarm before they are refused; further ones do not wait."""


class Quota:
    """What is left for this member's clients."""

    def __init__(
        self,
        member_id: int,
        bytes_max: int,
        measure: Callable[[], int],
        machine: Callable[[], Machine],
        propose: Propose,
    ) -> None:
        """`bytes_max` negative = no bound; `measure` gives the bytes that the state takes now."""
        self._bytes_max = bytes_max
        self._measure = measure
        self._machine = machine
        self._propose = propose
        self._alarm = Alarm(member_id, rpc_pb2.AlarmType.NOSPACE)
        self._left: float = inf
        self._measured_at = -inf
        self._revision: int | None = None
        """At the last measurement by the clock."""
        self._refused: list[OnOutcome] = []
        self._raising = False
        if bytes_max >= 0:
            self._look()

    def admits(self, kind: RequestKind, request: bytes) -> bool:
        """Whether there is room for a request, which then counts as come in.

        Every request counts with its size at first, whatever it does: what it really costs is asked
        only where that has used up the room.
        """
        size = len(request) + KEY_OVERHEAD_BYTES
        if size < self._left:
            self._left -= size
            return True
        cost = cost_of(kind, request)
        self._look()  # there may be room again
        if cost and cost >= self._left:
            return False
        self._left -= cost
        return True

    def refuse(self, done: OnOutcome) -> None:
        """Answer NoSpace to a request that was not admitted, once the alarm stands."""
        full = len(self._refused) >= REFUSED_MAX
        if full or self._alarm in self._machine().alarms():
            done(NoSpace())
        else:
            self._refused.append(done)
            self._raise()

    def keep(self, now: float) -> None:
        """Look after the size every now and then."""
        if self._bytes_max < 0 or now - self._measured_at < MEASURE_SECONDS:
            return
        self._measured_at = now
        self._look()
        machine = self._machine()
        before, self._revision = self._revision, machine.revision
        grown = before is not None and machine.revision > before
        if self._left <= 0 and grown and self._alarm not in machine.alarms():
            self._raise()

    def _look(self) -> None:
        self._left = self._bytes_max - self._measure()

    def _raise(self) -> None:
        if self._raising:
            return
        self._raising = True
        request = rpc_pb2.AlarmRequest(
            action=rpc_pb2.AlarmRequest.ACTIVATE,
            memberID=self._alarm.member_id,
            alarm=rpc_pb2.AlarmType.NOSPACE,
        )
        self._propose(RequestKind.ALARM, request.SerializeToString(), self._raised)

    def _raised(self, outcome: Answer | Refusal) -> None:
        """Whether or not it could be raised: there is no room."""
        self._raising = False
        refused, self._refused = self._refused, []
        for done in refused:
            done(NoSpace())
