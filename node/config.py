"""Everything one member is told at its start: who it is, where its files are, and every limit.

Plain values only: `cluster.layout` builds them, `node.__main__` reads them. Nothing here touches a
file or the environment. Relations between limits are asserted in one place, so that a change of one
number cannot silently break the reasoning behind another.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from node.errors import ConfigError
from transport.tls.files import ServerFiles

ETCD_VERSION = "3.6.11"
"""The etcd release whose behaviour is served; clients parse it as a semantic version."""


QUOTA_BYTES = 2 << 30
"""etcd's default for --quota-backend-bytes."""


def minor_version(version: str) -> str:
    """3.6.0 for 3.6.11: the version of a cluster, and of how its data is laid out."""
    return version.rpartition(".")[0] + ".0"


def require(condition: bool, relation: str) -> None:
    """Refuse a configuration whose numbers contradict each other.

    Raises:
        ConfigError: naming the relation that does not hold.
    """
    if not condition:
        raise ConfigError(f"limits contradict each other: {relation}")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one member. Sizes are bytes; etcd's own defaults where etcd has the limit."""

    request_bytes_max: int = 1_572_864
    """Largest proposal (etcd --max-request-bytes)."""
    message_overhead_bytes: int = 512 * 1024
    """What a gRPC message may be larger than a request before the codec refuses it."""
    txn_operations_max: int = 128
    append_bytes_max: int = 256 * 1024
    inflight_messages_max: int = 256
    inflight_bytes_max: int = 8 << 20
    uncommitted_bytes_max: int = 16 << 20
    apply_bytes_max: int = 4 << 20
    pending_reads_max: int = 10_000
    pending_proposals_max: int = 20_000
    pending_bytes_max: int = 64 << 20
    """Requests without an answer: they are kept, to be proposed again if their leader dies."""
    apply_lag_entries_max: int = 5_000
    """Committed but unapplied entries above this answer TooManyRequests, as etcd does."""
    connections_max: int = 10_000
    streams_max: int = 10_000
    """Calls that one client may have open at a time (etcd --max-concurrent-streams)."""
    keepalive_min_ms: int = 5_000
    """Clients that ping more often are sent away (etcd --grpc-keepalive-min-time)."""
    keepalive_interval_ms: int = 7_200_000
    """Clients that say nothing for so long are pinged (etcd --grpc-keepalive-interval)."""
    keepalive_timeout_ms: int = 20_000
    """Those that then say nothing for so long are cut off (etcd --grpc-keepalive-timeout)."""
    watch_backlog_bytes_max: int = 8 << 20
    """Unsent watch bytes of one connection before its watchers catch up from history instead."""
    writer_batches_max: int = 4_096
    writer_bytes_max: int = 64 << 20
    log_entries_max: int = 10_000
    """Entries kept behind the applied index before the log is compacted."""
    log_entries_kept: int = 5_000
    """Entries left for slow followers when the log is compacted."""
    log_entries_held_max: int = 100_000
    """Entries left at most for a follower that is catching up, after a snapshot for instance."""
    snapshot_chunk_bytes: int = 256 * 1024
    snapshot_streams_max: int = 2
    quota_backend_bytes: int = 0
    """What the state may take of a member's disk; 0 = etcd's default, negative = no bound."""
    auto_compaction_mode: str = "periodic"
    """Or "revision"."""
    auto_compaction_retention: float = 0
    """Seconds of history that are kept, or revisions, by the mode; 0 = all of it."""
    lease_checkpoint_ms: int = 300_000
    """How often what is left of a lease is noted through the log, if it has that much left; 0 =
    never (etcd's feature LeaseCheckpoint, off there)."""
    lease_expiries_per_second: int = 1_000
    watch_progress_notify_ms: int = 600_000
    state_check_ms: int = 60_000
    """How often the members compare their whole states (etcd --corrupt-check-time, off there); 0 =
    only where there is a reason to."""
    auth_token: str = "simple"  # noqa: S105  the kind of token, and no token
    """How clients are given tokens: "simple", or "jwt,sign-method=…,…" (etcd --auth-token)."""
    auth_token_ttl_ms: int = 300_000
    """How long a simple token lives after its last use (etcd --auth-token-ttl)."""
    bcrypt_cost: int = 10
    """Of the passwords' hashes; each more doubles the time (etcd --bcrypt-cost)."""
    metrics: Literal["basic", "extensive"] = "basic"
    """Whether the time of each call is measured and shown (etcd --metrics)."""
    cors: tuple[str, ...] = ("*",)
    """Origins whose pages may read answers over HTTP (etcd --cors); "*" = any."""
    request_timeout_ms: int = 5_000
    """Server-side patience with one request, to which two election timeouts are added."""

    @property
    def quota_bytes(self) -> int:
        """`quota_backend_bytes` with the default put in."""
        return self.quota_backend_bytes or QUOTA_BYTES

    def __post_init__(self) -> None:
        """Assert the relations between limits.

        Raises:
            ConfigError: a relation does not hold.
        """
        require(self.inflight_bytes_max >= self.append_bytes_max, "a window holds one append")
        require(
            self.uncommitted_bytes_max > self.request_bytes_max,
            "one request fits below the uncommitted cap",
        )
        require(self.pending_bytes_max > self.request_bytes_max, "one request may wait")
        require(self.log_entries_max > self.log_entries_kept, "compaction removes something")
        require(self.log_entries_held_max >= self.log_entries_kept, "what is kept may be held")
        require(self.writer_bytes_max >= self.uncommitted_bytes_max, "the writer takes a full tail")


class Ticks(msgspec.Struct, frozen=True, kw_only=True):
    """Time in whole ticks; an election timeout is drawn from [election, 2 * election)."""

    tick_ms: int = 10
    heartbeat: int = 5
    election: int = 50

    def __post_init__(self) -> None:
        """Assert that several heartbeats fit into an election timeout.

        Raises:
            ConfigError: they do not.
        """
        require(self.tick_ms >= 1 and self.heartbeat >= 1, "time moves")
        require(self.election >= 3 * self.heartbeat, "three heartbeats fit an election timeout")


class MemberSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One member as the cluster was laid out."""

    id: int
    name: str
    client_host: str
    client_port: int
    client_scheme: Literal["http", "https"] = "http"
    arena_path: str = ""
    """Shared-memory arena that this member writes and its peers read; "" = none."""
    peer_urls: tuple[str, ...] = ()
    """Where the other members reach it; () = by a socket in the run directory."""
    advertised_urls: tuple[str, ...] = ()
    """What clients are told to dial; () = where it listens."""

    @property
    def client_url(self) -> str:
        """The URL at which it listens for clients."""
        return f"{self.client_scheme}://{self.client_host}:{self.client_port}"

    @property
    def client_urls(self) -> tuple[str, ...]:
        """The URLs that clients dial and MemberList reports."""
        return self.advertised_urls or (self.client_url,)


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All that one node process needs to run."""

    cluster_id: int
    member_id: int
    members: tuple[MemberSpec, ...]
    """The founding configuration; after the first start the stored one counts."""
    data_directory: str
    """The LevelDB directory; lock, mark and last words lie beside it (`store.directory`)."""
    run_directory: str = ""
    """Holds the peer sockets; short, because ipc paths end at 107 bytes."""
    peer_address: str = ""
    """Where it listens for the other members over TCP, "host:port" of loopback; "" = by sockets in
    the run directory."""
    log_path: str = ""
    """What the node itself has to say, line by line; never a pipe that a reader can stall."""
    page_path: str = ""
    """Shared-memory status page that this member writes; "" = one that nobody else sees."""
    bootstrap: bool = False
    """True on the very first start: an empty data directory is expected, else it is refused."""
    join: bool = False
    """At the first start: become part of a cluster that runs, and learn its configuration from a
    snapshot. `members` then only says whom to listen to. No effect later."""
    seed_path: str = ""
    """An etcd snapshot whose state a founding member begins with; "" = an empty state."""
    seed_digest: str = ""
    """SHA-256 of that file, as hex."""
    own_token: str = ""
    """By which the supervisor is known whatever users there are; "" = it is not."""
    campaign_first: bool = False
    """Campaign at once at bootstrap, so that start-up does not pay an election timeout."""
    tls: ServerFiles | None = None
    """Certificates of the client port; None = plain text."""
    ticks: Ticks = Ticks()
    limits: Limits = Limits()

    @property
    def spec(self) -> MemberSpec:
        """This member's own row.

        Raises:
            ConfigError: `members` does not name this member.
        """
        for member in self.members:
            if member.id == self.member_id:
                return member
        raise ConfigError(f"member {self.member_id:x} is not among the members")
