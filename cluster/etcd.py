"""The supervisor as a client of its own members: probe, hand-over, changes of the members.

All block, and run on threads; `tls` is what to trust and to show at https:// endpoints, `token` is
what the members were told to know the supervisor by: no user needs to be there for it, nor can one
lock it out.

The probe revokes a lease that cannot exist: it passes through Raft and the disks of a majority as
any write does, to be refused where it is applied. It leaves nothing, does not move the revision,
and no full store forbids it: a cluster whose NOSPACE alarm stands was once never ready again,
because the probe was a lease granted.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.errors import ClusterError, Degraded, NotReady
from node.client import CallFailed, ClientError, EtcdClient
from transport.grpc import Status
from transport.tls import ClientFiles

NO_LEASE = 0
"""The one id that no lease can have."""
PROBE_PATIENCE_S = 1.0


def commit_write(endpoint: str, tls: ClientFiles | None = None, token: str = "") -> None:
    """Commit one write through a member.

    Raises:
        ClusterError: it was not committed, as far as one can know.
    """
    try:
        with EtcdClient([endpoint], timeout_s=PROBE_PATIENCE_S, tls=tls, token=token) as client:
            client.lease_revoke(NO_LEASE)
    except ClientError as error:
        if not (isinstance(error, CallFailed) and error.status == Status.NOT_FOUND):
            raise ClusterError(f"probe write through {endpoint}: {error}") from error


def move_leader(
    endpoint: str, member_id: int, timeout_s: float, tls: ClientFiles | None = None, token: str = ""
) -> None:
    """Ask the leading member at `endpoint` to hand over to another.

    Raises:
        ClusterError: it refused or did not answer.
    """
    try:
        with EtcdClient([endpoint], timeout_s=timeout_s, tls=tls, token=token) as client:
            client.move_leader(member_id)
    except ClientError as error:
        raise ClusterError(f"{endpoint} did not hand over: {error}") from error


def add_learner(
    endpoints: Sequence[str],
    peer_url: str,
    timeout_s: float,
    tls: ClientFiles | None = None,
    token: str = "",
) -> int:
    """Make room for a member that has no vote yet; returns its id.

    Raises:
        Degraded: the members refuse it now. ClusterError: they refuse it, or did not answer.
    """
    try:
        with EtcdClient(endpoints, timeout_s=timeout_s, tls=tls, token=token) as client:
            return client.member_add([peer_url], learner=True)
    except ClientError as error:
        raise _refusal("add a member", error) from error


def promote(
    endpoints: Sequence[str],
    member_id: int,
    timeout_s: float,
    tls: ClientFiles | None = None,
    token: str = "",
) -> None:
    """Give a learner a vote; no effect if it has one.

    Raises:
        NotReady: it has to catch up first. Degraded, ClusterError: as above.
    """
    try:
        with EtcdClient(endpoints, timeout_s=timeout_s, tls=tls, token=token) as client:
            client.member_promote(member_id)
    except ClientError as error:
        if str(error).endswith("can only promote a learner member"):
            return
        raise _refusal(f"promote member {member_id:x}", error, repeatable=True) from error


def remove(
    endpoints: Sequence[str],
    member_id: int,
    timeout_s: float,
    tls: ClientFiles | None = None,
    token: str = "",
) -> None:
    """Take a member out; no effect if it is out.

    Raises:
        Degraded, ClusterError: as above.
    """
    try:
        with EtcdClient(endpoints, timeout_s=timeout_s, tls=tls, token=token) as client:
            client.member_remove(member_id)
    except ClientError as error:
        if str(error).endswith("member not found"):
            return
        raise _refusal(f"remove member {member_id:x}", error, repeatable=True) from error


def _refusal(what: str, error: ClientError, *, repeatable: bool = False) -> ClusterError:
    """What etcd's words mean for whoever asks the supervisor.

    Degraded means that it may be asked again: a request that got no answer may have had its effect,
    so that only a repeatable one is so.
    """
    text = f"cannot {what}: {error}"
    if isinstance(error, CallFailed):
        if repeatable and error.status in (Status.DEADLINE_EXCEEDED, Status.UNAVAILABLE):
            return Degraded(text, hint="conclave status")
        if "in sync with leader" in error.text:
            return NotReady(text, hint="try again when it has caught up")
        if "unhealthy cluster" in error.text or "not enough started" in error.text:
            return Degraded(text, hint="conclave status: start what is down first")
        if "too many learner" in error.text:
            return ClusterError(text, hint="promote or remove the learner that there is")
    return ClusterError(text, hint="conclave status")
