"""Health, liveness and readiness over plain HTTP, with etcd's checks, texts and query words.

    /health          one JSON line; 503 while it cannot serve (alarm, no leader, failed read)
                     ?exclude=NOSPACE skips an alarm, ?serializable=true asks this member alone
    /livez /readyz   named checks, each also at /readyz/<name>; ?verbose lists, ?exclude= skips

Nothing is cached: a probe that asks gets this moment's truth. What checks said last is counted for
/metrics.
Source: etcd server/etcdserver/api/etcdhttp/health.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import msgspec

from node.api.errors import fault_of
from node.api.member import Member
from node.machine.errors import Refusal
from node.proto import rpc
from transport.http1 import Headers, Request, Responder

Verdict = Callable[[str], None]
"""Takes why a check failed; "" = it did not."""
Check = Callable[[Verdict], None]
Endpoint = Callable[[Request, Responder], None]

JSON: Final[Headers] = (("content-type", "application/json"),)
TEXT: Final[Headers] = (
    ("content-type", "text/plain; charset=utf-8"),
    ("x-content-type-options", "nosniff"),
)
_PROBE = rpc.RangeRequest(key=b"health", serializable=True)
"""One key, so that a probe costs the same on an empty and on a full store."""


class Probes:
    """The probes of one member, and what they said."""

    def __init__(self, member: Member) -> None:
        """Probe `member`."""
        self._member = member
        self.health: Counter[bool] = Counter()
        """Answers of /health: True = healthy."""
        self.checks: Counter[tuple[str, str, bool]] = Counter()
        """Outcomes of the named checks by (livez or readyz, name, well)."""
        self.last: dict[tuple[str, str], bool] = {}
        """The newest outcome of each."""
        self.endpoints: dict[str, Endpoint] = {"/health": self._health}
        reads: dict[str, Check] = {"serializable_read": self._serializable_read}
        self._offer("livez", reads)
        self._offer(
            "readyz",
            {
                "data_corruption": self._data_corruption,
                **reads,
                "linearizable_read": self._linearizable_read,
                "non_learner": self._non_learner,
            },
        )

    def _offer(self, kind: str, checks: dict[str, Check]) -> None:
        def answer(request: Request, responder: Responder, names: Iterable[str]) -> None:
            run = _Run(kind, checks, names, self._record)
            run.go(lambda: run.answer(request, responder))

        def all_but_excluded(request: Request, responder: Responder) -> None:
            # A word that names no check excludes nothing: it may be one of another release.
            excluded = set(request.query.get("exclude", ()))
            answer(request, responder, [name for name in checks if name not in excluded])

        self.endpoints[f"/{kind}"] = all_but_excluded
        for name in checks:
            self.endpoints[f"/{kind}/{name}"] = partial(answer, names=[name])

    def _record(self, kind: str, name: str, well: bool) -> None:
        self.checks[kind, name, well] += 1
        self.last[kind, name] = well

    # /health.

    def _health(self, request: Request, responder: Responder) -> None:
        excluded = set(request.query.get("exclude", ()))
        serializable = request.query.get("serializable", [""])[0] == "true"

        def verdict(failure: str) -> None:
            self.health[not failure] += 1
            found = {"health": "false" if failure else "true", "reason": failure}
            body = msgspec.json.encode(found)
            if failure:
                responder.respond(503, TEXT, body + b"\n")
            else:
                responder.respond(200, JSON, body)

        for alarm in self._member.status().alarms:
            name = rpc.AlarmType.Name(alarm.kind)
            if name not in excluded:
                verdict(f"ALARM {name}")
                return
        if not self._member.leader and not serializable:
            verdict("RAFT NO LEADER")
            return

        def read(failure: str) -> None:
            verdict(f"RANGE ERROR:{failure}" if failure else "")

        (self._serializable_read if serializable else self._linearizable_read)(read)

    # The checks of /livez and /readyz.

    def _data_corruption(self, verdict: Verdict) -> None:
        status = self._member.status()
        corrupt = any(alarm.kind == rpc.AlarmType.CORRUPT for alarm in status.alarms)
        verdict("alarm activated: CORRUPT" if corrupt else status.quarantined)

    def _serializable_read(self, verdict: Verdict) -> None:
        outcome = self._member.machine.range(_PROBE)
        verdict(fault_of(outcome).text if isinstance(outcome, Refusal) else "")

    def _linearizable_read(self, verdict: Verdict) -> None:
        def fresh(refusal: Refusal | None) -> None:
            if refusal is None:
                self._serializable_read(verdict)
            else:
                verdict(fault_of(refusal).text)

        self._member.read(fresh)

    def _non_learner(self, verdict: Verdict) -> None:
        verdict("not supported for learner" if self._member.is_learner else "")


class _Run:
    """The checks of one request, run one after the other because some answer later."""

    def __init__(
        self,
        kind: str,
        checks: dict[str, Check],
        names: Iterable[str],
        record: Callable[[str, str, bool], None],
    ) -> None:
        self._kind = kind
        self._checks = checks
        self._left = list(names)
        self._record = record
        self._lines: list[str] = []
        self._failed = False

    def go(self, done: Callable[[], None]) -> None:
        """Run what is left of the checks, then call `done`."""
        if not self._left:
            done()
            return
        name = self._left.pop(0)

        def verdict(failure: str) -> None:
            self._failed = self._failed or bool(failure)
            self._lines.append(f"[-]{name} failed: {failure}\n" if failure else f"[+]{name} ok\n")
            self._record(self._kind, name, not failure)
            self.go(done)

        self._checks[name](verdict)

    def answer(self, request: Request, responder: Responder) -> None:
        """Say what came out: the lines if one failed or if they are asked for."""
        lines = "".join(self._lines)
        if self._failed:
            responder.respond(503, TEXT, f"{lines}\n".encode())
        else:
            told = lines if "verbose" in request.query else ""
            responder.respond(200, TEXT, f"{told}ok\n".encode())
