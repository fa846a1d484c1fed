"""The supervisor as a client of its own members: the probe write and the hand-over of leadership.

Both block, and run on threads. The probe is a lease, granted and revoked: it passes through Raft
and the disks of a majority as any write does, and yet leaves no key and does not move the
revision.
"""

from __future__ import annotations

from cluster.errors import ClusterError
from node.client import ClientError, EtcdClient

PROBE_TTL_S = 60
"""Long enough never to expire between grant and revoke, short enough to go should both fail."""
PROBE_PATIENCE_S = 1.0


def commit_write(endpoint: str) -> None:
    """Commit one write through a member.

    Raises:
        ClusterError: it was not committed, as far as one can know.
    """
    try:
        with EtcdClient([endpoint], timeout_s=PROBE_PATIENCE_S) as client:
            lease = client.lease_grant(PROBE_TTL_S)
            client.lease_revoke(lease)
    except ClientError as error:
        raise ClusterError(f"probe write through {endpoint}: {error}") from error


def move_leader(endpoint: str, member_id: int, timeout_s: float) -> None:
    """Ask the leading member at `endpoint` to hand over to another.

    Raises:
        ClusterError: it refused or did not answer.
    """
    try:
        with EtcdClient([endpoint], timeout_s=timeout_s) as client:
            client.move_leader(member_id)
    except ClientError as error:
        raise ClusterError(f"{endpoint} did not hand over: {error}") from error
