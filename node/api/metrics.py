"""What this member tells Prometheus: etcd's names where etcd has the figure, `conclave_` elsewhere.

Name, type and labels are etcd's, so that its dashboard and alerts (contrib/mixin) read a member of
ours like one of its own; what is not known here is left out rather than shown as zero.

Nothing is counted through prometheus-client. The hot path keeps plain numbers, and a collector
makes samples of them when somebody scrapes; a labelled counter would cost more than the call it
counts.
The registry is the member's own, so that several members can live in one process (tests do that).

Source: the metrics.go files of etcd's server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from node.api.call import Method
from node.api.call_metrics import render_calls
from node.api.handshake import Handshakes, Refusals
from node.api.member import Member
from node.api.probe import Probes
from node.config import minor_version
from node.proto import rpc
from node.status import Durations, Identity, MemberStatus, PeerFigures, Role

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Traffic(Protocol):
    """What the client port counts."""

    @property
    def connections(self) -> int:
        """Clients that are connected."""

    @property
    def open_calls(self) -> int:
        """gRPC calls that have not ended."""

    @property
    def refused(self) -> int:
        """Clients cut off because there were too many."""

    @property
    def handshakes(self) -> Handshakes:
        """Those of TLS."""

    @property
    def refusals(self) -> Refusals:
        """Clients sent away before they could ask anything."""

    @property
    def writes(self) -> int:
        """Writes to the sockets of gRPC clients; far fewer than calls when batching works."""


class Metrics(Collector):
    """The member's registry and the collector in it."""

    def __init__(
        self,
        member: Member,
        methods: Callable[[], list[Method]],
        traffic: Traffic,
        probes: Probes,
    ) -> None:
        """Collect from `member`, and what calls, the port and the probes have counted."""
        self._member = member
        self._methods = methods
        self._traffic = traffic
        self._probes = probes
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """The exposition text of this moment."""
        timed = self._member.limits.metrics == "extensive"
        return generate_latest(self._registry) + render_calls(self._methods(), timed=timed)

    def collect(self) -> Iterator[Metric]:
        """Samples of this moment (called by the registry)."""
        status, identity = self._member.status(), self._member.identity
        yield from _identity(identity)
        yield from _raft(status)
        yield from _storage(status, self._member.limits.quota_bytes)
        yield from _keyspace(status)
        yield from _leases_and_watches(status)
        yield from _alarms(status)
        yield from _peers(f"{identity.member_id:x}", status.peers)
        yield from _bytes(self._methods())
        yield from _clients(self._traffic)
        yield from _health(self._probes)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    """`name` without `_total`, which the exposition adds."""
    return CounterMetricFamily(name, text, value=value)


def _info(name: str, text: str, label: str, value: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    family.add_metric((value,), 1)
    return family


def _identity(identity: Identity) -> Iterator[Metric]:
    minor = minor_version(identity.version).rpartition(".")[0]
    yield _info("etcd_server_version", "Version served.", "server_version", identity.version)
    yield _info("etcd_cluster_version", "Version of the cluster.", "cluster_version", minor)
    yield _info("etcd_server_id", "Member id.", "server_id", f"{identity.member_id:x}")


def _raft(status: MemberStatus) -> Iterator[Metric]:
    is_leader = status.role is Role.LEADER
    yield _gauge("etcd_server_has_leader", "1 if a leader is known.", int(status.leader != 0))
    yield _gauge("etcd_server_is_leader", "1 if this member leads.", int(is_leader))
    yield _gauge("etcd_server_is_learner", "1 if it has no vote.", int(status.is_learner))
    yield _counter("etcd_server_leader_changes_seen", "Leader changes seen.", status.leader_changes)
    # Gauges by etcd's declaration, for all their names.
    yield _gauge("etcd_server_proposals_committed_total", "Last committed index.", status.commit)
    yield _gauge("etcd_server_proposals_applied_total", "Last applied index.", status.applied)
    yield _gauge(
        "etcd_server_proposals_pending", "Proposals without an answer.", status.proposals_pending
    )
    yield _counter("etcd_server_proposals_failed", "Failed proposals.", status.proposals_failed)
    yield _counter("etcd_server_read_indexes_failed", "Failed reads.", status.reads_failed)
    yield _gauge(
        "etcd_server_snapshot_apply_in_progress_total",
        "1 while a snapshot is being installed.",
        int(status.installing),
    )
    yield _gauge("conclave_raft_term", "Current term.", status.term)
    yield _gauge("conclave_raft_last_index", "Last index of the log.", status.last_index)
    yield _counter("conclave_loop_slow_turns", "Turns beyond their bound.", status.slow_turns)


def _storage(status: MemberStatus, quota: int) -> Iterator[Metric]:
    # One batch is both here: the log's sync and the commit of what it made of the state.
    for name in ("etcd_disk_wal_fsync", "etcd_disk_backend_commit"):
        family = HistogramMetricFamily(f"{name}_duration_seconds", "Time of one batch's sync.")
        _add_durations(family, (), status.sync_times)
        yield family
    yield _gauge("etcd_disk_defrag_inflight", "1 while files are rewritten.", status.defragmenting)
    yield _gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes of the state.", status.db_size)
    yield _gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes in use.", status.db_size_in_use)
    yield _gauge("etcd_server_quota_backend_bytes", "Quota of the store.", quota)
    yield _gauge("conclave_disk_size_bytes", "Bytes of all files.", status.disk_size)
    yield _gauge("conclave_writer_batches", "Batches waiting.", status.writer_batches)
    yield _gauge(
        "conclave_quarantined", "1 if it does not trust its state.", bool(status.quarantined)
    )
    yield _counter("conclave_state_checks", "Checks of the whole state.", status.state_checks)
    yield _gauge("conclave_state_records", "Records in the newest check.", status.state_records)
    yield _counter("conclave_state_mismatches", "Verdicts against states.", status.state_mismatches)


def _keyspace(status: MemberStatus) -> Iterator[Metric]:
    tally = status.tally
    yield _counter("etcd_mvcc_range", "Intervals read.", tally.ranges)
    yield _counter("etcd_mvcc_put", "Keys put.", tally.puts)
    yield _counter("etcd_mvcc_delete", "Intervals deleted.", tally.deletes)
    yield _counter("etcd_mvcc_txn", "Views used more than once.", tally.txns)
    yield _gauge(
        "etcd_debugging_mvcc_total_put_size_in_bytes", "Keys and values put.", tally.put_bytes
    )
    yield _gauge("etcd_debugging_mvcc_current_revision", "Current revision.", status.revision)
    yield _gauge(
        "etcd_debugging_mvcc_compact_revision", "Compacted revision.", status.compact_revision
    )
    yield _counter(
        "etcd_debugging_mvcc_db_compaction_keys", "Versions removed.", tally.versions_compacted
    )


def _leases_and_watches(status: MemberStatus) -> Iterator[Metric]:
    tally = status.tally
    yield _gauge("etcd_debugging_auth_revision", "Of users and roles.", status.auth_revision)
    yield _counter("etcd_debugging_lease_granted", "Leases granted.", tally.leases_granted)
    yield _counter("etcd_debugging_lease_revoked", "Leases revoked.", tally.leases_revoked)
    yield _counter("etcd_debugging_lease_renewed", "Keep-alives as leader.", status.leases_renewed)
    yield _counter(
        "etcd_debugging_server_lease_expired", "Expiries as leader.", status.leases_expired
    )
    yield _gauge("etcd_debugging_mvcc_watch_stream_total", "Open streams.", status.watch_streams)
    yield _gauge("etcd_debugging_mvcc_watcher_total", "Watchers.", status.watchers)
    yield _gauge("etcd_debugging_mvcc_slow_watcher_total", "Those behind.", status.watchers_behind)
    yield _counter("etcd_debugging_mvcc_events", "Events sent.", status.events_told)


def _alarms(status: MemberStatus) -> Iterator[Metric]:
    raised = GaugeMetricFamily(
        "etcd_debugging_server_alarms", "1 while raised.", labels=("server_id", "alarm_type")
    )
    for alarm in status.alarms:
        raised.add_metric((f"{alarm.member_id:x}", rpc.AlarmType.Name(alarm.kind)), 1)
    yield raised


def _peers(own: str, peers: tuple[PeerFigures, ...]) -> Iterator[Metric]:
    ends = ("Local", "Remote")
    known = GaugeMetricFamily("etcd_network_known_peers", "1 for each peer.", labels=ends)
    active = GaugeMetricFamily("etcd_network_active_peers", "1 if connected.", labels=ends)
    sent, failures = (
        CounterMetricFamily(f"etcd_network_peer_sent_{name}", text, labels=("To",))
        for name, text in (("bytes", "Bytes sent."), ("failures", "Frames that did not leave."))
    )
    received = CounterMetricFamily(
        "etcd_network_peer_received_bytes", "Bytes received.", labels=("From",)
    )
    round_trips = HistogramMetricFamily(
        "etcd_network_peer_round_trip_time_seconds", "Heartbeats there and back.", labels=("To",)
    )
    for peer in peers:
        name = f"{peer.member_id:x}"
        known.add_metric((own, name), 1)
        active.add_metric((own, name), int(peer.connected))
        sent.add_metric((name,), peer.sent_bytes)
        received.add_metric((name,), peer.received_bytes)
        failures.add_metric((name,), peer.unsent)
        _add_durations(round_trips, (name,), peer.round_trips)
    yield from (known, active, sent, received, failures, round_trips)


def _add_durations(
    family: HistogramMetricFamily, labels: tuple[str, ...], durations: Durations
) -> None:
    bounds = (*map(str, durations.bounds_seconds), "+Inf")
    buckets = list(zip(bounds, accumulate(durations.counts), strict=True))
    family.add_metric(labels, buckets=buckets, sum_value=durations.sum_seconds)


def _bytes(methods: list[Method]) -> Iterator[Metric]:
    received, sent = (
        sum(method.bytes_received for method in methods),
        sum(method.bytes_sent for method in methods),
    )
    yield _counter("etcd_network_client_grpc_received_bytes", "Of messages.", received)
    yield _counter("etcd_network_client_grpc_sent_bytes", "Of messages.", sent)


def _clients(traffic: Traffic) -> Iterator[Metric]:
    yield _gauge("conclave_client_connections", "Open connections.", traffic.connections)
    yield _gauge("conclave_client_open_calls", "Calls that have not ended.", traffic.open_calls)
    yield _counter("conclave_client_connections_refused", "Clients cut off.", traffic.refused)
    yield _counter("conclave_client_writes", "Writes to gRPC sockets.", traffic.writes)
    yield _counter("conclave_client_handshakes", "Ended well.", traffic.handshakes.done)
    failed = CounterMetricFamily(
        "conclave_client_handshakes_failed",
        "Clients that were not understood.",
        labels=("cause",),
    )
    for cause, count in sorted(traffic.refusals.causes.items()):
        failed.add_metric((cause,), count)
    yield failed


def _health(probes: Probes) -> Iterator[Metric]:
    # Counters by etcd's declaration; the exposition would add `_total` to their names.
    yield _gauge("etcd_server_health_success", "Healthy answers.", probes.health[True])
    yield _gauge("etcd_server_health_failures", "Other answers.", probes.health[False])
    last = GaugeMetricFamily(
        "etcd_server_healthcheck", "Newest outcomes, 1 = well.", labels=("type", "name")
    )
    for labels, well in probes.last.items():
        last.add_metric(labels, well)
    checks = CounterMetricFamily(
        "etcd_server_healthchecks", "Outcomes.", labels=("type", "name", "status")
    )
    for (kind, name, well), count in probes.checks.items():
        checks.add_metric((kind, name, "success" if well else "error"), count)
    yield from (last, checks)
