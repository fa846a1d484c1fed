"""What etcd's Prometheus mixin (contrib/mixin of 3.6: dashboards and alerts) reads of a member.

Names are those of the families: counters without `_total`, histograms without `_bucket`. Left out
is `grpc_server_handling_seconds`, which is shown with `--metrics=extensive` only, as in etcd.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wanted:
    """A family's type and the labels of its samples, without a histogram's `le`."""

    type: str
    labels: frozenset[str] = frozenset()


_METHOD = frozenset({"grpc_type", "grpc_service", "grpc_method"})

MIXIN = {
    "etcd_disk_backend_commit_duration_seconds": Wanted("histogram"),
    "etcd_disk_wal_fsync_duration_seconds": Wanted("histogram"),
    "etcd_mvcc_db_total_size_in_bytes": Wanted("gauge"),
    "etcd_mvcc_db_total_size_in_use_in_bytes": Wanted("gauge"),
    "etcd_network_client_grpc_received_bytes": Wanted("counter"),
    "etcd_network_client_grpc_sent_bytes": Wanted("counter"),
    "etcd_network_peer_received_bytes": Wanted("counter", frozenset({"From"})),
    "etcd_network_peer_round_trip_time_seconds": Wanted("histogram", frozenset({"To"})),
    "etcd_network_peer_sent_bytes": Wanted("counter", frozenset({"To"})),
    "etcd_network_peer_sent_failures": Wanted("counter", frozenset({"To"})),
    "etcd_server_has_leader": Wanted("gauge"),
    "etcd_server_leader_changes_seen": Wanted("counter"),
    "etcd_server_proposals_applied_total": Wanted("gauge"),
    "etcd_server_proposals_committed_total": Wanted("gauge"),
    "etcd_server_proposals_failed": Wanted("counter"),
    "etcd_server_proposals_pending": Wanted("gauge"),
    "etcd_server_quota_backend_bytes": Wanted("gauge"),
    "grpc_server_handled": Wanted("counter", _METHOD | {"grpc_code"}),
    "grpc_server_started": Wanted("counter", _METHOD),
    "process_resident_memory_bytes": Wanted("gauge"),
}
