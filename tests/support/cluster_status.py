"""Status documents for tests of what reads them."""

from __future__ import annotations

from cluster.document import STATUS_SCHEMA, NodeDocument, StatusDocument


def status_of(
    state: str, leader: str | None = None, term: str = "0", commit: str = "0", **nodes: str
) -> StatusDocument:
    """A document with nodes given as name="state/applied"."""
    rows = [node_of(name, *text.split("/")) for name, text in nodes.items()]
    return {
        "schema": STATUS_SCHEMA,
        "cluster": "default",
        "state": state,
        "leader": leader,
        "term": int(term),
        "commit": int(commit),
        "quorum": {"needed": len(rows) // 2 + 1, "up": len(rows), "voters": len(rows)},
        "leaderless_ms": 0.0,
        "elections": 0,
        "uptime_ms": 1.0,
        "supervisor": {"pid": 1, "loop_lag_ms": 0.0, "zygote_pid": 2},
        "endpoints": [row["client"] for row in rows],
        "tls": None,
        "directory": "/data",
        "settings": {},
        "nodes": rows,
        "links": [],
    }


def node_of(name: str, state: str, applied: str) -> NodeDocument:
    """One row with the fields that conditions look at."""
    return {
        "name": name,
        "id": "1",
        "role": "follower",
        "state": state,
        "pid": None,
        "uptime_ms": None,
        "restarts": 0,
        "applied": int(applied),
        "commit": int(applied),
        "lag": 0,
        "term": 0,
        "leader": None,
        "hb_age_ms": None,
        "hb_rtt": {"p50_ms": None, "p99_ms": None, "max_ms": None},
        "fsync_p99_ms": None,
        "cpu_percent": None,
        "rss_bytes": None,
        "client": f"127.0.0.1:{name}",
        "faults": [],
        "age_ms": None,
        "exit": None,
    }
