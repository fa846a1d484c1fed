"""etcdserverpb.Maintenance, as far as it is served: Status, Alarm and MoveLeader.

Status is this member's own view and is answered without a quorum. An alarm request goes through
the log even to list alarms; that is what makes `etcdctl endpoint health` fail without a quorum.
"""

from __future__ import annotations

from collections.abc import Iterator

from node.api.call import Call
from node.api.errors import LEADER_TRANSFER_TIMEOUT, NO_LEADER
from node.api.member import Member
from node.machine.envelope import RequestKind
from node.machine.errors import Refusal, Timeout
from node.proto import rpc
from node.status import MemberStatus


class Maintenance:
    """Status, Alarm, MoveLeader."""

    def __init__(self, member: Member) -> None:
        """Serve `member`."""
        self._member = member

    def status(self, call: Call, message: bytes) -> None:
        """Tell what this member knows of itself and its leader."""
        rpc.StatusRequest.FromString(message)
        status = self._member.status()
        version = self._member.identity.version
        call.respond(
            rpc.StatusResponse(
                version=version,
                dbSize=status.db_size,
                leader=status.leader,
                raftIndex=status.commit,
                raftTerm=status.term,
                raftAppliedIndex=status.applied,
                errors=_errors(status),
                dbSizeInUse=status.db_size_in_use,
                isLearner=status.is_learner,
                storageVersion=version.rpartition(".")[0] + ".0",
                dbSizeQuota=self._member.limits.quota_backend_bytes,
                downgradeInfo=rpc.DowngradeInfo(),
            )
        )

    def alarm(self, call: Call, message: bytes) -> None:
        """List, raise or lower alarms."""
        rpc.AlarmRequest.FromString(message)
        self._member.propose(RequestKind.ALARM, message, call.done)

    def move_leader(self, call: Call, message: bytes) -> None:
        """Hand leadership to another member; only the leader can, and it answers when it has."""
        request = rpc.MoveLeaderRequest.FromString(message)

        def done(refusal: Refusal | None) -> None:
            if refusal is None:
                call.reply(b"")  # etcd sends no header here
            elif isinstance(refusal, Timeout):
                call.fail(LEADER_TRANSFER_TIMEOUT)
            else:
                call.refuse(refusal)

        self._member.transfer_leader(request.targetID, done)


def _errors(status: MemberStatus) -> Iterator[str]:
    if not status.leader:
        yield NO_LEADER.text
    for alarm in status.alarms:
        yield f"memberID:{alarm.member_id} alarm:{rpc.AlarmType.Name(alarm.kind)}"
    if status.quarantined:
        yield f"quarantined: {status.quarantined}"
