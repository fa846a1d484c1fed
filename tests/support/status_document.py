"""Status documents of a healthy three-node cluster, for tests that read or serve them."""

from __future__ import annotations

from typing import Any

from cluster.document import STATUS_SCHEMA, NodeDocument, StatusDocument


def node_document(name: str, **facts: Any) -> NodeDocument:
    """A healthy follower with some facts replaced."""
    healthy: NodeDocument = {
        "name": name,
        "id": "8e9e05c52164694d",
        "role": "follower",
        "state": "running",
        "pid": 24112,
        "uptime_ms": 252_000.0,
        "restarts": 0,
        "applied": 18204,
        "commit": 18204,
        "lag": 0,
        "term": 7,
        "leader": "n2",
        "hb_age_ms": 8.2,
        "hb_rtt": {"p50_ms": 0.21, "p99_ms": 0.9, "max_ms": 2.0},
        "fsync_p99_ms": 1.8,
        "cpu_percent": 2.2,
        "rss_bytes": 61 << 20,
        "client": "127.0.0.1:2379",
        "faults": [],
        "age_ms": 12.0,
        "exit": None,
    }
    return {**healthy, **facts}  # type: ignore[typeddict-item]


def status_document(*nodes: NodeDocument, **facts: Any) -> StatusDocument:
    """A ready cluster of these nodes, or of n1, n2 (leader), n3, with some facts replaced."""
    chosen = list(nodes) or [
        node_document("n1"),
        node_document("n2", role="leader", client="127.0.0.1:22379"),
        node_document("n3", client="127.0.0.1:32379"),
    ]
    ready: StatusDocument = {
        "schema": STATUS_SCHEMA,
        "cluster": "default",
        "state": "READY",
        "leader": "n2",
        "term": 7,
        "commit": 18204,
        "quorum": {"needed": 2, "up": len(chosen), "voters": len(chosen)},
        "leaderless_ms": 310.0,
        "elections": 2,
        "uptime_ms": 252_000.0,
        "supervisor": {"pid": 100, "loop_lag_ms": 0.2, "zygote_pid": 101},
        "endpoints": [node["client"] for node in chosen],
        "tls": None,
        "directory": "/tmp/data/default",
        "settings": {"quota-backend-bytes": 0},
        "nodes": chosen,
        "links": [],
    }
    return {**ready, **facts}  # type: ignore[typeddict-item]
