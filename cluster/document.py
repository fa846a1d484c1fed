"""Shapes of the JSON documents that the management socket answers and the launcher yields.

Typed dictionaries only, so that the daemon and its clients are checked against the same shape and
the command line can print a document as it came. Durations are milliseconds and end in `_ms`; a
figure that nobody knows is null, never a made-up zero. Inside one schema version fields are only
ever added.
"""

from __future__ import annotations

from typing import Any, TypedDict

STATUS_SCHEMA = "conclave/status.v1"
HISTORY_SCHEMA = "conclave/history.v1"
EVENT_SNAPSHOT = "snapshot"
"""Type of the first line of a followed event stream; it carries `seq` and `status`."""


class Quorum(TypedDict):
    """Voters needed for a majority, and voters that serve now."""

    needed: int
    up: int
    voters: int


class SupervisorFigures(TypedDict):
    """The daemon itself."""

    pid: int
    loop_lag_ms: float
    zygote_pid: int | None


class Exit(TypedDict):
    """How the last process of a node ended; exactly one of code and signal is set."""

    code: int | None
    signal: str | None
    expected: bool
    reason: str
    """stopped, killed, or the class of an unexpected end (cluster.policy)."""
    detail: str
    """The node's own last words; "" if it had none."""


class RoundTrip(TypedDict):
    """Heartbeat round trips in milliseconds; null while none was measured."""

    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None


class NodeDocument(TypedDict):
    """One node: its process, its own view of the cluster, its figures."""

    name: str
    id: str
    """Member id, lower-case hex, as etcdctl prints it."""
    role: str
    """leader, follower, candidate, learner; "unknown" for a node that never reported."""
    state: str
    """stopped, starting, running, paused, stopping, exited, backoff or failed."""
    pid: int | None
    uptime_ms: float | None
    restarts: int
    applied: int | None
    commit: int | None
    lag: int | None
    """Entries behind the cluster's commit index."""
    term: int | None
    leader: str | None
    """Whom this node follows, by name: a split view shows."""
    hb_age_ms: float | None
    """Since the last heartbeat from its leader; null for the leader itself."""
    hb_rtt: RoundTrip
    """Round trips to its peers as this node measured them when it led, or over all its links."""
    fsync_p99_ms: float | None
    cpu_percent: float | None
    rss_bytes: int | None
    client: str
    """Its client endpoint: host:port, with TLS https://host:port."""
    faults: list[str]
    age_ms: float | None
    """Since the node last wrote its figures; large for a paused or dead node."""
    exit: Exit | None


# `from` is a keyword of Python, hence the functional form.
LinkDocument = TypedDict(
    "LinkDocument",
    {
        "from": str,
        "to": str,
        "p50_ms": float | None,
        "p99_ms": float | None,
        "max_ms": float | None,
        "age_ms": float | None,
        "count": int,
    },
)


class TlsDocument(TypedDict):
    """What clients of a cluster that speaks TLS have to be told; paths of PEM files."""

    cacert: str
    """Whom to trust."""
    cert: str | None
    key: str | None
    """What to show; null = nothing is asked for."""
    client_cert_auth: bool
    """The common name of what is shown says which user it is."""
    not_after: str
    """When the first of the certificates expires, RFC 3339 UTC."""


class StatusDocument(TypedDict):
    """conclave/status.v1."""

    schema: str
    cluster: str
    state: str
    """READY, DEGRADED, STARTING or DOWN. READY: a quorum serves, a leader is known, and a write
    was committed in that leader's term."""
    leader: str | None
    term: int
    commit: int
    quorum: Quorum
    leaderless_ms: float
    """Total time without a leader since the first election of this run."""
    elections: int
    uptime_ms: float
    supervisor: SupervisorFigures
    endpoints: list[str]
    """host:port of every node, in node order; with TLS https://host:port."""
    tls: TlsDocument | None
    """null = plain text."""
    directory: str
    settings: dict[str, int | str]
    """What every node was told, under the names of etcd's flags; durations in milliseconds."""
    nodes: list[NodeDocument]
    links: list[LinkDocument]


class Reign(TypedDict):
    """One row of the leaders' history; times are RFC 3339 UTC."""

    leader: str
    term: int
    since: str
    until: str | None
    duration_ms: float | None
    gap_ms: float | None
    """Time without a leader before this one."""
    reason: str
    """Why the reign before it ended ("n1 killed", "transfer", "start")."""


class HistoryDocument(TypedDict):
    """conclave/history.v1, oldest first."""

    schema: str
    cluster: str
    reigns: list[Reign]


class Affected(TypedDict):
    """Answer of every verb over nodes: what the selector meant, and what was done to whom."""

    selector: str
    resolved: list[str]
    done: list[str]
    unchanged: list[str]
    """Nodes that were already as asked; verbs are idempotent."""
    failed: dict[str, str]
    """Node → reason; not empty means exit code 5 (or 1 when nothing was done)."""
    ms: float


class ConditionMet(TypedDict):
    """Answer of `wait`."""

    condition: str
    waited_ms: float


class Progress(TypedDict, total=False):
    """One line of the launcher's progress; `phase` and `ms` are always there.

    "zygote": it is warm. "node": one serves (node, ms since its fork). "node-failed": node, reason;
    a quorum may still form. "nodes": no more to come (ms since the zygote was warm). "leader":
    node, term, ms since the nodes serve. "write": the first write is committed (ms since the
    leader). "ready": ms since the launch, status. "already-up": status.
    """

    phase: str
    ms: float
    node: str
    reason: str
    term: int
    status: StatusDocument


Event = dict[str, Any]
"""{"seq", "ts", "t_ms", "type", "node"?, …}: open by design, one line of events.jsonl each."""
