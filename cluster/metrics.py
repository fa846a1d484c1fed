"""Prometheus text about the whole cluster, made from one status document.

Each node keeps its own registry and serves etcd's metric names on its client port; this page has
what only the supervisor can know: processes, leadership as seen from outside, and the figures of
nodes that are paused or dead, from shared memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cluster.document import NodeDocument, StatusDocument
from cluster.status import STATE_WORDS

NODE_GAUGES: Mapping[str, tuple[str, str, float]] = {
    "uptime_ms": ("conclave_node_uptime_seconds", "Since the process was started.", 1e-3),
    "applied": ("conclave_node_applied_index", "Last applied entry.", 1),
    "commit": ("conclave_node_commit_index", "Last committed entry that the node knows.", 1),
    "lag": ("conclave_node_lag_entries", "Entries behind the cluster's commit index.", 1),
    "term": ("conclave_node_term", "The node's Raft term.", 1),
    "hb_age_ms": ("conclave_heartbeat_age_seconds", "Since its leader was last heard.", 1e-3),
    "fsync_p99_ms": ("conclave_node_fsync_p99_seconds", "Recent disk syncs.", 1e-3),
    "rss_bytes": ("conclave_node_resident_memory_bytes", "Resident memory.", 1),
    "age_ms": ("conclave_node_figures_age_seconds", "Age of the node's figures.", 1e-3),
}
QUANTILES: Mapping[str, str] = {"p50_ms": "0.5", "p99_ms": "0.99", "max_ms": "1"}


def exposition(status: StatusDocument) -> bytes:
    """The page."""
    registry = CollectorRegistry()
    registry.register(_Page(status))
    return generate_latest(registry)


class _Page(Collector):
    def __init__(self, status: StatusDocument) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        yield from _cluster(self._status)
        yield from _nodes(self._status["nodes"])
        yield from _links(self._status)


def _cluster(status: StatusDocument) -> Iterable[Metric]:
    yield InfoMetricFamily(
        "conclave_cluster", "The cluster.", {"name": status["cluster"], "path": status["directory"]}
    )
    state = GaugeMetricFamily(
        "conclave_cluster_state", "1 for the present state.", labels=["state"]
    )
    for word in STATE_WORDS:
        state.add_metric([word], float(status["state"] == word))
    yield state
    for name, text, value in (
        ("conclave_has_leader", "A leader is known.", float(status["leader"] is not None)),
        ("conclave_term", "Highest known Raft term.", status["term"]),
        ("conclave_commit_index", "Highest known commit index.", status["commit"]),
        ("conclave_quorum_needed", "Voters of a majority.", status["quorum"]["needed"]),
        ("conclave_quorum_up", "Voters that serve.", status["quorum"]["up"]),
        (
            "conclave_supervisor_loop_lag_seconds",
            "Worst lateness of the last second.",
            status["supervisor"]["loop_lag_ms"] / 1e3,
        ),
        (
            "conclave_supervisor_uptime_seconds",
            "Since the supervisor started.",
            status["uptime_ms"] / 1e3,
        ),
    ):
        yield GaugeMetricFamily(name, text, float(value))
    yield CounterMetricFamily(
        "conclave_leader_elections", "Leaders elected in this run.", status["elections"]
    )
    yield CounterMetricFamily(
        "conclave_leaderless_seconds", "Time without a leader.", status["leaderless_ms"] / 1e3
    )


def _nodes(nodes: list[NodeDocument]) -> Iterable[Metric]:
    up = GaugeMetricFamily("conclave_node_up", "The node serves.", labels=["node"])
    leads = GaugeMetricFamily("conclave_node_is_leader", "It says that it leads.", labels=["node"])
    restarts = CounterMetricFamily(
        "conclave_node_restarts", "Starts after the first.", labels=["node"]
    )
    for node in nodes:
        up.add_metric([node["name"]], float(node["state"] == "running"))
        leads.add_metric([node["name"]], float(node["role"] == "leader"))
        restarts.add_metric([node["name"]], node["restarts"])
    yield from (up, leads, restarts)
    for field, (name, text, factor) in NODE_GAUGES.items():
        gauge = GaugeMetricFamily(name, text, labels=["node"])
        for node in nodes:
            value = node[field]  # type: ignore[literal-required]
            if value is not None:
                gauge.add_metric([node["name"]], value * factor)
        yield gauge


def _links(status: StatusDocument) -> Iterable[Metric]:
    trips = GaugeMetricFamily(
        "conclave_heartbeat_rtt_seconds",
        "Heartbeat round trips of the last half minute to minute; quantile 1 is the maximum.",
        labels=["from", "to", "quantile"],
    )
    counts = CounterMetricFamily(
        "conclave_heartbeat_rtt_samples", "Round trips measured.", labels=["from", "to"]
    )
    for link in status["links"]:
        ends = [link["from"], link["to"]]
        counts.add_metric(ends, link["count"])
        for field, quantile in QUANTILES.items():
            value = link[field]  # type: ignore[literal-required]
            if value is not None:
                trips.add_metric([*ends, quantile], value / 1e3)
    yield from (trips, counts)
