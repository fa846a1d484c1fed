"""What a user may set about every node of a cluster, under the names of etcd's own flags.

    --quota-backend-bytes ──► quota_backend_bytes ──► node.config.Limits

Flags are fields with underscores; durations are whole milliseconds and end in `_ms`. Standard
library only, as `cluster.config`, which these settings are part of.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.errors import BadRequest
from node.retention_text import parse_retention

BYTES_MAX = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLimits:
    """etcd's flags of the same names, with etcd's defaults unless a docstring says otherwise."""

    quota_backend_bytes: int = 0
    """What a node's state may take on disk; 0 = 2 GiB, negative = no bound."""
    auto_compaction_mode: str = "periodic"
    """Or `revision`."""
    auto_compaction_retention: str = "0"
    """Hours (`1`) or a duration (`30m`) of history, or a number of revisions; 0 = all of it."""

    def check_limits(self) -> None:
        """Refuse what could not run.

        Raises:
            BadRequest: naming the flag, what was given, and what may be.
        """
        require(
            self.quota_backend_bytes <= BYTES_MAX,
            f"quota-backend-bytes {self.quota_backend_bytes}: no disk is that large",
        )
        try:
            self.retention()
        except ValueError as error:
            raise BadRequest(str(error)) from None

    def retention(self) -> float:
        """Seconds or revisions, by the mode.

        Raises:
            ValueError: `auto_compaction_retention` is neither.
        """
        return parse_retention(self.auto_compaction_mode, self.auto_compaction_retention)


def require(condition: bool, message: str) -> None:
    """Refuse a setting.

    Raises:
        BadRequest: the condition does not hold.
    """
    if not condition:
        raise BadRequest(message)
