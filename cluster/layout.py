"""From the cluster's configuration to one node's. Pure: it names files and touches none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cluster.config import ClusterConfig, ClusterPaths, Identity
from node.config import Limits, MemberSpec, NodeConfig, Ticks
from transport.tls import ServerFiles

LOG_ENTRIES_KEPT_MAX = 5_000
"""Left for slow followers of a log that is cut, as in etcd."""
LOG_ENTRIES_HELD = 100_000
"""Left at most for one that is catching up, unless more are kept for everybody."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the supervisor holds for one node: its client port and its shared memory."""

    port: int
    page_path: str
    arena_path: str


def node_config(
    config: ClusterConfig,
    identity: Identity,
    paths: ClusterPaths,
    shared: dict[str, Shared],
    name: str,
    *,
    bootstrap: bool,
    own_token: str,
    campaign_first: bool,
    tls: ServerFiles | None = None,
) -> NodeConfig:
    """All that the process of node `name` is told.

    Args:
        shared: by node name, for every node of the cluster.
        bootstrap: this node has never run before, so an empty data directory is expected.
        own_token: by which this node is to know its supervisor.
        campaign_first: nobody leads, and this node need not wait for a timeout to notice.
        tls: what the nodes show their clients; None = plain text.
    """
    return NodeConfig(
        cluster_id=identity.cluster_id,
        member_id=identity.member_id(name),
        members=_members(config, identity, shared, "http" if tls is None else "https"),
        data_directory=str(paths.database(name)),
        run_directory=str(paths.runtime),
        log_path=str(paths.log(name)),
        page_path=shared[name].page_path,
        bootstrap=bootstrap,
        join=identity.changed,
        seed_path=config.seed_path,
        seed_digest=config.seed_digest,
        own_token=own_token,
        campaign_first=campaign_first,
        tls=tls,
        ticks=Ticks(
            tick_ms=config.tick_ms,
            heartbeat=config.heartbeat_ticks,
            election=config.election_ticks,
        ),
        limits=node_limits(config),
    )


def node_limits(config: ClusterConfig) -> Limits:
    """What the user has set, among all the bounds of a node."""
    return Limits(
        quota_backend_bytes=config.quota_backend_bytes,
        auto_compaction_mode=config.auto_compaction_mode,
        auto_compaction_retention=config.retention(),
        lease_checkpoint_ms=config.lease_checkpoint_interval_ms,
        request_bytes_max=config.max_request_bytes,
        txn_operations_max=config.max_txn_ops,
        streams_max=config.max_concurrent_streams,
        keepalive_min_ms=config.grpc_keepalive_min_time_ms,
        keepalive_interval_ms=config.grpc_keepalive_interval_ms,
        keepalive_timeout_ms=config.grpc_keepalive_timeout_ms,
        watch_progress_notify_ms=config.watch_progress_notify_interval_ms,
        log_entries_max=config.snapshot_count,
        log_entries_kept=min(LOG_ENTRIES_KEPT_MAX, config.snapshot_count // 2),
        log_entries_held_max=max(LOG_ENTRIES_HELD, config.snapshot_count),
        state_check_ms=config.corrupt_check_time_ms,
        auth_token=config.auth_token,
        auth_token_ttl_ms=config.auth_token_ttl_ms,
        bcrypt_cost=config.bcrypt_cost,
        metrics=config.metrics,
        cors=config.origins(),
    )


def _members(
    config: ClusterConfig,
    identity: Identity,
    shared: dict[str, Shared],
    scheme: Literal["http", "https"],
) -> tuple[MemberSpec, ...]:
    return tuple(
        MemberSpec(
            id=member,
            name=name,
            client_host=config.host,
            client_port=shared[name].port,
            client_scheme=scheme,
            arena_path=shared[name].arena_path,
        )
        for name, member in identity.members
    )
