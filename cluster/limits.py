"""What a user may set about every node of a cluster, under the names of etcd's own flags.

    --quota-backend-bytes ──► quota_backend_bytes ──► node.config.Limits

Flags are fields with underscores; durations are whole milliseconds and end in `_ms`. Standard
library only, as `cluster.config`, which these settings are part of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from cluster.errors import BadRequest
from node.errors import ConfigError
from node.retention_text import parse_retention
from node.token_option import parse as parse_token_option

BYTES_MAX = 1 << 60
DAYS_MS = 24 * 3_600_000
BOUNDS: dict[str, tuple[int, int]] = {
    "quota_backend_bytes": (-1, BYTES_MAX),
    "lease_checkpoint_interval_ms": (1_000, 365 * DAYS_MS),
    "max_request_bytes": (1_024, 15 << 20),
    "max_txn_ops": (1, 100_000),
    "max_concurrent_streams": (1, 1_000_000),
    "grpc_keepalive_min_time_ms": (1, DAYS_MS),
    "grpc_keepalive_interval_ms": (1_000, 365 * DAYS_MS),
    "grpc_keepalive_timeout_ms": (1_000, DAYS_MS),
    "watch_progress_notify_interval_ms": (100, DAYS_MS),
    "snapshot_count": (10, 10_000_000),
    "auth_token_ttl_ms": (1_000, 365 * DAYS_MS),
    "bcrypt_cost": (4, 31),
    "corrupt_check_time_ms": (1_000, 365 * DAYS_MS),
}
"""Smallest and largest value. 15 MiB is what one write of the store has room for."""
Metrics = Literal["basic", "extensive"]
MAY_BE_OFF = frozenset({"corrupt_check_time_ms", "lease_checkpoint_interval_ms"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLimits:
    """etcd's flags of the same names, with etcd's defaults unless a docstring says otherwise."""

    quota_backend_bytes: int = 0
    """What a node's state may take on disk; 0 = 2 GiB, negative = no bound."""
    auto_compaction_mode: str = "periodic"
    """Or `revision`."""
    auto_compaction_retention: str = "0"
    """Hours (`1`) or a duration (`30m`) of history, or a number of revisions; 0 = all of it."""
    lease_checkpoint_interval_ms: int = 300_000
    """How often what is left of longer leases is noted, so that a new leader does not give them
    their full time again; 0 = never, as etcd by default."""
    max_request_bytes: int = 1_572_864
    max_txn_ops: int = 128
    max_concurrent_streams: int = 10_000
    """Calls that one client may have open at a time; etcd has no bound."""
    grpc_keepalive_min_time_ms: int = 5_000
    grpc_keepalive_interval_ms: int = 7_200_000
    grpc_keepalive_timeout_ms: int = 20_000
    watch_progress_notify_interval_ms: int = 600_000
    snapshot_count: int = 10_000
    """Entries of the log that are kept behind the applied one; beyond, half of them go."""
    auth_token: str = "simple"  # noqa: S105  the kind of token, and no token
    """Or `jwt` with its settings, behind commas."""
    auth_token_ttl_ms: int = 300_000
    bcrypt_cost: int = 10
    metrics: Metrics = "basic"
    """`extensive` measures how long each call takes."""
    cors: str = "*"
    """Origins whose pages may read what nodes answer over HTTP, with commas between; * = any."""
    corrupt_check_time_ms: int = 60_000
    """How often the nodes compare their whole states; 0 = not by the clock, as etcd by default."""

    def check_limits(self) -> None:
        """Refuse what could not run.

        Raises:
            BadRequest: naming the flag, what was given, and what may be.
        """
        for name, (lo, hi) in BOUNDS.items():
            value = getattr(self, name)
            milliseconds = name.endswith("_ms")
            unit = "ms" if milliseconds else ""
            require(
                lo <= value <= hi or (not value and name in MAY_BE_OFF),
                f"{flag_of(name)} {value}{unit}: use {lo}{unit} to {hi}{unit}"
                + (", or 0 for never" if name in MAY_BE_OFF else ""),
            )
        require(
            self.metrics in get_args(Metrics),
            f"{flag_of('metrics')} {self.metrics!r}: use {' or '.join(get_args(Metrics))}",
        )
        for origin in self.origins():
            require(
                origin == "*" or is_origin(origin),
                f"{flag_of('cors')} {origin!r}: use * or origins like https://host:port",
            )
        try:
            self.retention()
            parse_token_option(self.auth_token)
        except (ValueError, ConfigError) as error:
            raise BadRequest(str(error)) from None

    def origins(self) -> tuple[str, ...]:
        """Those of `cors`, one by one."""
        return origins_of(self.cors)

    def retention(self) -> float:
        """Seconds or revisions, by the mode.

        Raises:
            ValueError: `auto_compaction_retention` is neither.
        """
        return parse_retention(self.auto_compaction_mode, self.auto_compaction_retention)


def origins_of(text: str) -> tuple[str, ...]:
    """What stands between the commas."""
    return tuple(filter(None, map(str.strip, text.split(","))))


def is_origin(text: str) -> bool:
    """Whether a browser could send this as the origin of a page: scheme, host, perhaps a port."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname
    bare = f"{parts.scheme}://{parts.netloc}" == text and "@" not in text
    return parts.scheme in ("http", "https") and bool(host) and bare and port != 0


def flag_of(name: str) -> str:
    """The flag of a field: `corrupt-check-time` of `corrupt_check_time_ms`."""
    return name.removesuffix("_ms").replace("_", "-")


def require(condition: bool, message: str) -> None:
    """Refuse a setting.

    Raises:
        BadRequest: the condition does not hold.
    """
    if not condition:
        raise BadRequest(message)
