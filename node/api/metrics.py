"""What this member tells Prometheus: etcd's names where etcd has the figure, `conclave_` elsewhere.

Nothing is counted through prometheus-client. The hot path keeps plain numbers, and a collector
makes samples of them when somebody scrapes; a labelled counter would cost more than the call it
counts.
The registry is the member's own, so that several members can live in one process (tests do that).

Counters named …_total that etcd declares as gauges are counters here: queries by `rate` read both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from node.api.handshake import Handshakes, Refusals
from node.api.member import Member
from node.api.probe import Probes
from node.status import MemberStatus, Role, SyncTimes

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

GRPC_CODES = (
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
)
"""Names by number, as grpc-go's metrics write them (`Canceled` has one l there)."""

_METHOD_LABELS = ("grpc_type", "grpc_service", "grpc_method")


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
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Samples of this moment (called by the registry)."""
        status = self._member.status()
        yield from self._identity()
        yield from _raft(status)
        yield from _storage(status, self._member.limits.quota_bytes)
        yield from self._clients()
        yield from _calls(self._methods())
        yield from _health(self._probes)

    def _identity(self) -> Iterator[Metric]:
        identity = self._member.identity
        minor = ".".join(identity.version.split(".")[:2])
        yield _info("etcd_server_version", "Version served.", "server_version", identity.version)
        yield _info("etcd_cluster_version", "Version of the cluster.", "cluster_version", minor)
        yield _info("etcd_server_id", "Member id.", "server_id", f"{identity.member_id:x}")

    def _clients(self) -> Iterator[Metric]:
        traffic = self._traffic
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


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    """`name` without `_total`, which the exposition adds."""
    return CounterMetricFamily(name, text, value=value)


def _info(name: str, text: str, label: str, value: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    family.add_metric((value,), 1)
    return family


def _raft(status: MemberStatus) -> Iterator[Metric]:
    is_leader = status.role is Role.LEADER
    yield _gauge("etcd_server_has_leader", "1 if a leader is known.", int(status.leader != 0))
    yield _gauge("etcd_server_is_leader", "1 if this member leads.", int(is_leader))
    yield _gauge("etcd_server_is_learner", "1 if it has no vote.", int(status.is_learner))
    yield _counter("etcd_server_leader_changes_seen", "Leader changes seen.", status.leader_changes)
    yield _counter("etcd_server_proposals_committed", "Last committed index.", status.commit)
    yield _counter("etcd_server_proposals_applied", "Last applied index.", status.applied)
    yield _gauge(
        "etcd_server_proposals_pending", "Proposals without an answer.", status.proposals_pending
    )
    yield _counter("etcd_server_proposals_failed", "Failed proposals.", status.proposals_failed)
    yield _gauge("conclave_raft_term", "Current term.", status.term)
    yield _gauge("conclave_raft_last_index", "Last index of the log.", status.last_index)
    yield _counter("conclave_loop_slow_turns", "Turns beyond their bound.", status.slow_turns)


def _storage(status: MemberStatus, quota: int) -> Iterator[Metric]:
    # One batch is both here: the log's sync and the commit of what it made of the state.
    yield _sync("etcd_disk_wal_fsync_duration_seconds", status.sync_times)
    yield _sync("etcd_disk_backend_commit_duration_seconds", status.sync_times)
    yield _gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes of the state.", status.db_size)
    yield _gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes in use.", status.db_size_in_use)
    yield _gauge("etcd_server_quota_backend_bytes", "Quota of the store.", quota)
    yield _gauge("etcd_debugging_mvcc_current_revision", "Current revision.", status.revision)
    yield _gauge(
        "etcd_debugging_mvcc_compact_revision", "Compacted revision.", status.compact_revision
    )
    yield _gauge("conclave_disk_size_bytes", "Bytes of all files.", status.disk_size)
    yield _gauge("conclave_writer_batches", "Batches waiting.", status.writer_batches)
    yield _gauge(
        "conclave_quarantined", "1 if it does not trust its state.", bool(status.quarantined)
    )
    yield _counter("conclave_state_checks", "Checks of the whole state.", status.state_checks)
    yield _gauge("conclave_state_records", "Records in the newest check.", status.state_records)
    yield _counter("conclave_state_mismatches", "Verdicts against states.", status.state_mismatches)


def _sync(name: str, times: SyncTimes) -> Metric:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*times.bounds_seconds, "+Inf"), times.counts, strict=True):
        total += count
        buckets.append((str(bound), total))
    return HistogramMetricFamily(
        name, "Time of one batch's sync.", buckets=buckets, sum_value=times.sum_seconds
    )


def _calls(methods: list[Method]) -> Iterator[Metric]:
    started = CounterMetricFamily("grpc_server_started", "Calls begun.", labels=_METHOD_LABELS)
    handled = CounterMetricFamily(
        "grpc_server_handled", "Calls over.", labels=(*_METHOD_LABELS, "grpc_code")
    )
    received = CounterMetricFamily(
        "grpc_server_msg_received", "Messages received.", labels=_METHOD_LABELS
    )
    sent = CounterMetricFamily("grpc_server_msg_sent", "Messages sent.", labels=_METHOD_LABELS)
    for method in methods:
        labels = (method.kind.value, method.service, method.name)
        started.add_metric(labels, method.started)
        received.add_metric(labels, method.messages_received)
        sent.add_metric(labels, method.messages_sent)
        for code, count in enumerate(method.handled):
            if count:
                handled.add_metric((*labels, GRPC_CODES[code]), count)
    yield from (started, handled, received, sent)


def _health(probes: Probes) -> Iterator[Metric]:
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
