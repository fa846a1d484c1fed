"""Plain HTTP on the client port: health, readiness, version and metrics, for probes and people.

    /health          one JSON line; 503 while it cannot serve (alarm, no leader, failed read)
    /livez /readyz   named checks, each also at /readyz/<name>; ?verbose lists, ?exclude= skips
    /version         what is served, for clients that pick features by it
    /metrics         Prometheus text

What is below /v3/ goes to the JSON gateway. Nothing is cached: a probe that asks gets this moment's
truth.
Source: etcd server/etcdserver/api/etcdhttp/health.go, version.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from node.api.errors import fault_of
from node.api.gateway import Gateway
from node.api.member import Member
from node.api.metrics import CONTENT_TYPE, Metrics
from node.config import minor_version
from node.machine.errors import Refusal
from node.proto import rpc
from transport.http1 import Request, Responder

Verdict = Callable[[str], None]
"""Takes why a check failed; "" = it did not."""
Check = Callable[[Verdict], None]

_JSON = (("content-type", "application/json"),)
_TEXT = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))
_PROBE = rpc.RangeRequest(key=b"health", serializable=True)
"""One key, so that a probe costs the same on an empty and on a full store."""


class HttpEndpoints:
    """Answers HTTP/1.1 requests about one member."""

    def __init__(self, member: Member, metrics: Metrics, gateway: Gateway) -> None:
        """Serve `member`; `metrics` renders /metrics."""
        self._gateway = gateway
        self._member = member
        self._metrics = metrics
        reads: dict[str, Check] = {"serializable_read": self._serializable_read}
        self._checks: dict[str, dict[str, Check]] = {
            "/livez": reads,
            "/readyz": {
                "data_corruption": self._data_corruption,
                **reads,
                "linearizable_read": self._linearizable_read,
                "non_learner": self._non_learner,
            },
        }

    def handle(self, request: Request, responder: Responder) -> None:
        """Answer one request, now or once a check has its verdict."""
        if self._gateway.serves(request.path):
            self._gateway.handle(request, responder)
            return
        root = "/" + request.path.lstrip("/").partition("/")[0]
        if root in self._checks:
            endpoint: Callable[[Request, Responder], None] = self._probe
        elif request.path == "/health":
            endpoint = self._health
        elif request.path == "/version":
            endpoint = self._version
        elif request.path == "/metrics":
            endpoint = self._scrape
        else:
            responder.respond(404, _TEXT, b"404 page not found\n")
            return
        if request.method != "GET":
            responder.respond(405, (("allow", "GET"), *_TEXT), b"Method Not Allowed\n")
            return
        endpoint(request, responder)

    # /health.

    def _health(self, request: Request, responder: Responder) -> None:
        excluded = set(request.query.get("exclude", ()))
        serializable = request.query.get("serializable") == ["true"]

        def verdict(failure: str) -> None:
            body = {"health": "false" if failure else "true", "reason": failure}
            responder.respond(503 if failure else 200, _JSON, msgspec.json.encode(body))

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

    # /livez, /readyz.

    def _probe(self, request: Request, responder: Responder) -> None:
        root, _, name = request.path.strip("/").partition("/")
        checks = self._checks["/" + root]
        if name and name not in checks:
            responder.respond(404, _TEXT, b"404 page not found\n")
            return
        excluded = set(request.query.get("exclude", ()))
        chosen = [name] if name else [check for check in checks if check not in excluded]
        lines = [
            f"warn: some health checks cannot be excluded: no matches for {unknown!r}"
            for unknown in sorted(excluded.difference(checks))
        ]
        verbose = "verbose" in request.query
        _Probe(request.path, checks, chosen, lines, responder, verbose=verbose).run()

    def _data_corruption(self, verdict: Verdict) -> None:
        status = self._member.status()
        corrupt = any(alarm.kind == rpc.AlarmType.CORRUPT for alarm in status.alarms)
        verdict(status.quarantined or ("alarm CORRUPT" if corrupt else ""))

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
        verdict("this member is a learner" if self._member.is_learner else "")

    # The rest.

    def _version(self, request: Request, responder: Responder) -> None:
        version = self._member.identity.version
        minor = minor_version(version)
        body = {"etcdserver": version, "etcdcluster": minor, "storage": minor}
        responder.respond(200, _JSON, msgspec.json.encode(body))

    def _scrape(self, request: Request, responder: Responder) -> None:
        responder.respond(200, (("content-type", CONTENT_TYPE),), self._metrics.render())


class _Probe:
    """The checks of one request, run one after the other because some answer later."""

    def __init__(
        self,
        path: str,
        checks: dict[str, Check],
        chosen: Iterable[str],
        lines: list[str],
        responder: Responder,
        *,
        verbose: bool,
    ) -> None:
        self._path = path
        self._checks = checks
        self._left = list(chosen)
        self._lines = lines
        self._responder = responder
        self._verbose = verbose
        self._failed = False

    def run(self) -> None:
        """Run the next check, or answer when none is left."""
        if not self._left:
            self._answer()
            return
        name = self._left.pop(0)

        def verdict(failure: str) -> None:
            self._failed = self._failed or bool(failure)
            self._lines.append(f"[-]{name} failed: {failure}" if failure else f"[+]{name} ok")
            self.run()

        self._checks[name](verdict)

    def _answer(self) -> None:
        if self._failed or self._verbose:
            word = "failed" if self._failed else "passed"
            body = "\n".join([*self._lines, f"{self._path} check {word}", ""])
        else:
            body = "ok\n"
        self._responder.respond(503 if self._failed else 200, _TEXT, body.encode())
