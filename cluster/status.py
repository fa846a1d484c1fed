"""The status document: the process table, the nodes' pages and the fold of events, put together.

Nothing is cached and nobody is asked: a node writes its figures into shared memory as it works, so
a paused, hung or dead one costs no time-out and shows its last word with its age. Pure but for the
reading of pages; the caller supplies clock and processor figures.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from cluster.config import ClusterConfig, ClusterPaths
from cluster.document import (
    STATUS_SCHEMA,
    LinkDocument,
    NodeDocument,
    RoundTrip,
    StatusDocument,
    TlsDocument,
)
from cluster.limits import ClusterLimits, flag_of
from cluster.policy import ExitClass
from cluster.state import DOWN, State
from cluster.supervisor import Supervisor
from cluster.table import Node
from cluster.usage import NOTHING, Usage
from node.telemetry import AlarmFlag, LinkFigures, RoleCode, Status

ROLES: dict[int, str] = {
    RoleCode.FOLLOWER: "follower",
    RoleCode.PRE_CANDIDATE: "candidate",
    RoleCode.CANDIDATE: "candidate",
    RoleCode.LEADER: "leader",
}
UNMEASURED: RoundTrip = {"p50_ms": None, "p99_ms": None, "max_ms": None}
STATE_WORDS = ("READY", "DEGRADED", "STARTING", "DOWN")


@dataclass(frozen=True, slots=True)
class Look:
    """One node's page at one moment."""

    node: Node
    status: Status | None
    links: list[LinkFigures]
    usage: Usage


def look_at(node: Node, now_ns: int, usage: Usage) -> Look:
    """Read one page."""
    return Look(node, node.page.status(), node.page.links(now_ns), usage)


def status_document(
    supervisor: Supervisor,
    paths: ClusterPaths,
    zygote_pid: int | None,
    usage: Mapping[str, Usage],
    now_ns: int,
    tls: TlsDocument | None = None,
) -> StatusDocument:
    """The whole cluster at this moment.

    Args:
        usage: processor and memory figures by node name.
        now_ns: monotonic clock, the one that pages are written with.
        tls: what clients have to be told; None = plain text.
    """
    nodes = supervisor.nodes
    looks = [look_at(node, now_ns, usage.get(node.name, NOTHING)) for node in nodes]
    now_ms = supervisor.events.now_ms()
    leadership = supervisor.readiness.leadership
    links = _links(supervisor, looks)
    commit = max((look.status.commit for look in looks if look.status), default=0)
    return {
        "schema": STATUS_SCHEMA,
        "cluster": supervisor.config.name,
        "state": state_word(supervisor),
        "leader": leadership.leader,
        "term": max([leadership.term, *(look.status.term for look in looks if look.status)]),
        "commit": commit,
        "quorum": {
            "needed": nodes.quorum_needed,
            "up": nodes.voters_up,
            "voters": nodes.voters,
        },
        "leaderless_ms": round(leadership.leaderless_ms(now_ms), 3),
        "elections": leadership.elections,
        "uptime_ms": round(now_ms, 3),
        "supervisor": {
            "pid": os.getpid(),
            "loop_lag_ms": round(supervisor.loop_lag_ms, 3),
            "zygote_pid": zygote_pid,
        },
        "endpoints": [node.endpoint for node in nodes],
        "tls": tls,
        "directory": str(paths.data),
        "settings": settings_of(supervisor.config),
        "nodes": [_node(supervisor, look, commit, links, now_ns) for look in looks],
        "links": links,
    }


def settings_of(config: ClusterConfig) -> dict[str, int | str]:
    """etcd's flags and their values, defaults included."""
    limits = {flag_of(field.name): getattr(config, field.name) for field in fields(ClusterLimits)}
    return {
        "heartbeat-interval": config.tick_ms * config.heartbeat_ticks,
        "election-timeout": config.tick_ms * config.election_ticks,
        **limits,
    }


def state_word(supervisor: Supervisor) -> str:
    """READY, DEGRADED, STARTING or DOWN."""
    if supervisor.readiness.ready:
        return "READY"
    if all(node.state in DOWN for node in supervisor.nodes):
        return "DOWN"
    return "DEGRADED" if supervisor.readiness.was_ready else "STARTING"


def _node(
    supervisor: Supervisor, look: Look, commit: int, links: list[LinkDocument], now_ns: int
) -> NodeDocument:
    node, page = look.node, look.status
    role = role_word(node, page)
    now_ms = supervisor.events.now_ms()
    return {
        "name": node.name,
        "id": f"{node.member_id:x}",
        "role": role,
        "state": node.state.value,
        "pid": node.child.pid if node.child else None,
        "uptime_ms": round(now_ms - node.started_ms, 3) if node.live else None,
        "restarts": node.restarts,
        "applied": page.applied if page else None,
        "commit": page.commit if page else None,
        "lag": max(0, commit - page.applied) if page else None,
        "term": page.term if page else None,
        "leader": supervisor.nodes.name_of(page.leader) if page and page.leader else None,
        "hb_age_ms": None if role == "leader" else _heartbeat_age_ms(look),
        "hb_rtt": _round_trip(supervisor.readiness.leadership.leader, node.name, links),
        "fsync_p99_ms": round(page.sync_p99_ns / 1e6, 3) if page and page.sync_p99_ns else None,
        "cpu_percent": look.usage.cpu_percent,
        "rss_bytes": look.usage.rss_bytes,
        "client": node.endpoint,
        "faults": _faults(node, page),
        "age_ms": _rounded((now_ns - page.updated_at_ns) / 1e6) if page else None,
        "exit": node.exit,
    }


def role_word(node: Node, page: Status | None) -> str:
    """The role by the node's own last word, as far as its process is still there to hold it.

    That it has no vote is for the members to say, who may know of its promotion before it does.
    """
    if page is None or node.state in DOWN:
        return "unknown"
    if node.learner:
        return "learner"
    return ROLES.get(page.role, "unknown")  # a page of another release may know more roles


def _heartbeat_age_ms(look: Look) -> float | None:
    """Since the leader that this node follows was heard; since anyone was, if it follows nobody."""
    leader = look.status.leader if look.status else 0
    ages = [
        link.age_ms
        for link in look.links
        if link.age_ms is not None and (not leader or link.peer == leader)
    ]
    return _rounded(min(ages, default=None))


def _round_trip(leader: str | None, name: str, links: list[LinkDocument]) -> RoundTrip:
    """A follower's as its leader measures it; the leader's own: the worst of its links."""
    if leader is None:
        return UNMEASURED
    rows = [
        link for link in links if link["from"] == leader and (link["to"] == name or name == leader)
    ]
    return {
        "p50_ms": max((row["p50_ms"] for row in rows if row["p50_ms"] is not None), default=None),
        "p99_ms": max((row["p99_ms"] for row in rows if row["p99_ms"] is not None), default=None),
        "max_ms": max((row["max_ms"] for row in rows if row["max_ms"] is not None), default=None),
    }


def _links(supervisor: Supervisor, looks: list[Look]) -> list[LinkDocument]:
    return [
        {
            "from": look.node.name,
            "to": supervisor.nodes.name_of(link.peer) or f"{link.peer:x}",
            "p50_ms": _rounded(link.p50_ms),
            "p99_ms": _rounded(link.p99_ms),
            "max_ms": _rounded(link.max_ms),
            "age_ms": _rounded(link.age_ms),
            "count": link.count,
        }
        for look in looks
        for link in look.links
    ]


def _faults(node: Node, page: Status | None) -> list[str]:
    faults = ["pause"] if node.state is State.PAUSED else []
    # A quarantined node does not run, so that it has no page that could say so.
    if node.exit is not None and node.exit["reason"] == ExitClass.QUARANTINE.value:
        faults.append("quarantine")
    if page is not None and page.corrupt:
        faults.append("corrupt")
    if page is not None and page.alarms:
        faults.append("alarm")
    if page is not None and page.alarms & AlarmFlag.NOSPACE:
        faults.append("nospace")
    return faults


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
