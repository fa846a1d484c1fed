"""etcdserverpb.Maintenance.

Status is this member's own view and is answered without a quorum. An alarm request goes through
the log even to list alarms; that is what makes `etcdctl endpoint health` fail without a quorum.
A snapshot is this member's own state too, with all that was applied here when it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from node.api.call import Call, StreamCall
from node.api.errors import LEADER_TRANSFER_TIMEOUT, NO_LEADER, UNKNOWN_ACTION, fault_of
from node.api.identity import identify
from node.api.member import Backup, Member, Outcome
from node.api.steps import REST_SECONDS, in_steps
from node.config import minor_version
from node.machine.downgrade import parse_target
from node.machine.envelope import Credential, RequestKind
from node.machine.errors import NoDowngrade, Refusal, Timeout
from node.proto import rpc
from node.status import MemberStatus

BLOB_BYTES = 32 << 10
BLOBS_PER_STEP = 8


class Maintenance:
    """Status, Alarm, Defragment, Downgrade, Hash, HashKV, MoveLeader, Snapshot."""

    def __init__(self, member: Member) -> None:
        """Serve `member`."""
        self._member = member

    def status(self, call: Call, message: bytes) -> None:
        """Tell what this member knows of itself and its leader."""
        rpc.StatusRequest.FromString(message)
        status = self._member.status()
        version = self._member.identity.version
        target = self._member.machine.downgrade.target
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
                storageVersion=minor_version(version),
                dbSizeQuota=self._member.limits.quota_bytes,
                downgradeInfo=rpc.DowngradeInfo(enabled=bool(target), targetVersion=target),
            )
        )

    def alarm(self, call: Call, message: bytes) -> None:
        """List, raise or lower alarms."""
        request = rpc.AlarmRequest.FromString(message)
        if request.action != rpc.AlarmRequest.GET:
            refusal = self._member.machine.auth.check_admin(call.credential)
            if refusal is not None:
                call.refuse(refusal)
                return
        self._member.propose(RequestKind.ALARM, message, call.done, call)

    def defragment(self, call: Call, message: bytes) -> None:
        """Give back this member's disk space of everything dead."""
        rpc.DefragmentRequest.FromString(message)

        def done(refusal: Refusal | None) -> None:
            if refusal is None:
                call.reply(b"")  # no header, as in etcd
            else:
                call.refuse(refusal)

        self._member.defragment(done)

    def downgrade(self, call: Call, message: bytes) -> None:
        """Judge, announce or take back a downgrade; the answer names the cluster's version."""
        request = rpc.DowngradeRequest.FromString(message)
        match request.action:
            case rpc.DowngradeRequest.VALIDATE:
                self._judge_downgrade(call, request.version, lambda _: self._downgraded(call))
            case rpc.DowngradeRequest.ENABLE:
                self._judge_downgrade(
                    call, request.version, lambda target: self._announce(call, target)
                )
            case rpc.DowngradeRequest.CANCEL:
                self._announce(call, "")
            case _:
                call.fail(UNKNOWN_ACTION)

    def _judge_downgrade(self, call: Call, text: str, go_on: Callable[[str], None]) -> None:
        target = parse_target(text)
        if isinstance(target, Refusal):
            call.refuse(target)
            return
        version = minor_version(self._member.identity.version)

        def fresh(stale: Refusal | None) -> None:
            refusal = stale or self._member.machine.downgrade.check(target, version)
            if refusal is None:
                go_on(target)
            else:
                call.refuse(refusal)

        self._member.read(fresh)

    def _announce(self, call: Call, target: str) -> None:
        """Through the log; "" takes back. Nothing to take back is no error, as in etcd since
        3.6."""
        action = rpc.DowngradeRequest.ENABLE if target else rpc.DowngradeRequest.CANCEL
        request = rpc.DowngradeRequest(action=action, version=target)

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, Refusal) and not isinstance(outcome, NoDowngrade):
                call.refuse(outcome)
            else:
                self._downgraded(call)

        self._member.propose(RequestKind.DOWNGRADE, request.SerializeToString(), done, call)

    def _downgraded(self, call: Call) -> None:
        version = self._member.identity.version.rpartition(".")[0]
        call.respond(rpc.DowngradeResponse(version=version))

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

    def hash_kv(self, call: Call, message: bytes) -> None:
        """A checksum of the keyspace at a revision: equal on all members, and only on ours."""
        request = rpc.HashKVRequest.FromString(message)
        machine = self._member.machine
        revision = request.revision or machine.revision
        begun = machine.keyspace_hash(revision)
        if isinstance(begun, Refusal):
            call.refuse(begun)
            return

        def done() -> None:
            response = rpc.HashKVResponse(
                hash=begun.value, compact_revision=begun.compact_revision, hash_revision=revision
            )
            call.respond(response)

        self._in_steps(call, begun.work, done)

    def hash(self, call: Call, message: bytes) -> None:
        """A checksum of everything that is stored here; only changes of it mean something."""
        rpc.HashRequest.FromString(message)
        begun = self._member.machine.state_hash()
        if begun is None:  # while a compaction removes records there is no state to speak of
            call.link.later(REST_SECONDS, lambda: None if call.over else self.hash(call, message))
            return

        self._in_steps(call, begun.step, lambda: call.respond(rpc.HashResponse(hash=begun.crc)))

    def _in_steps(self, call: Call, work: Callable[[int], bool], done: Callable[[], None]) -> None:
        def gone() -> bool:
            return call.over or not call.link.awaits(call)

        call.link.in_turn(lambda: in_steps(call.link, self._member.now, gone, work, done))

    def snapshot(self, call: StreamCall) -> SnapshotStream:
        """Send the whole state as a file of etcd's own kind, followed by its SHA-256."""
        return SnapshotStream(self._member, call)


class SnapshotStream:
    """One file on its way: wait until the state is on disk, convert it, send it."""

    def __init__(self, member: Member, call: StreamCall) -> None:
        """Wait for the one request."""
        self._member = member
        self._call = call
        self._index = -1
        self._backup: Backup | None = None
        self._ready = False
        self._paused = False

    def received(self, message: bytes) -> None:
        """Begin."""
        rpc.SnapshotRequest.FromString(message)
        if self._index >= 0:
            return
        self._index = self._member.applied
        if self._member.machine.auth.enabled:
            identify(self._call, self._known)
        else:
            self._open()

    def half_closed(self) -> None:
        """A server stream's client says nothing after its request."""

    def pause(self) -> None:
        """The client does not read: convert on, but send nothing."""
        self._paused = True

    def resume(self) -> None:
        """The client reads again."""
        self._paused = False
        if self._ready:
            self._soon(self._send)

    def closed(self) -> None:
        """Throw away what was made."""
        if self._backup is not None:
            self._backup.close()

    def _known(self, by: Credential | None) -> None:
        """It holds everything, and the hashes of passwords."""
        refusal = self._member.machine.auth.check_admin(by)
        if refusal is None:
            self._open()
        else:
            self._call.refuse(refusal)

    def _soon(self, step: Callable[[], None]) -> None:
        self._call.link.in_turn(lambda: None if self._call.over else step())

    def _later(self, seconds: float, step: Callable[[], None]) -> None:
        self._call.link.later(seconds, lambda: None if self._call.over else step())

    def _open(self) -> None:
        backup = self._member.open_backup(self._index)
        if isinstance(backup, Refusal):
            self._call.fail(fault_of(backup))
        elif backup is None:
            self._later(REST_SECONDS, self._open)
        else:
            self._backup = backup
            call = self._call
            in_steps(call.link, self._member.now, lambda: call.over, backup.work, self._made)

    def _made(self) -> None:
        self._ready = True
        self._send()

    def _send(self) -> None:
        backup = self._backup
        for _ in range(BLOBS_PER_STEP):
            if backup is None or self._paused or self._call.over:
                return  # resume() comes back here
            if not backup.remaining:
                self._respond(0, backup.digest)
                self._call.finish()
                return
            blob = backup.read(BLOB_BYTES)
            self._respond(backup.remaining, blob)
        self._soon(self._send)

    def _respond(self, remaining: int, blob: bytes) -> None:
        version = minor_version(self._member.identity.version)
        response = rpc.SnapshotResponse(remaining_bytes=remaining, blob=blob, version=version)
        self._call.send(response.SerializeToString())


def _errors(status: MemberStatus) -> Iterator[str]:
    if not status.leader:
        yield NO_LEADER.text
    for alarm in status.alarms:
        yield f"memberID:{alarm.member_id} alarm:{rpc.AlarmType.Name(alarm.kind)}"
    if status.quarantined:
        yield f"quarantined: {status.quarantined}"
