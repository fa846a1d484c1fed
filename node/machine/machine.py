"""The replicated state machine: one entry in, its whole consequence out.

    apply(index, kind, request) ──► Applied(outcome, effects, events, leases)
                                       │ the owner stages the effects in the view,
                                       ▼ publishes the events, then applies the next entry

Applying is a function of the log alone. What a client did wrong is a refusal, which is a result
like any other and the same on every member; what cannot happen raises InvariantViolated and ends
the process, because a member that guesses would go its own way.

The machine keeps a few numbers in memory (revision, compact revision, alarms, members, users) and
everything else in the view's records, so that it starts in constant time. It writes nothing itself.

Reads show the applied state; whether that is fresh enough is the caller's question. Requests are
expected to have passed `node.machine.validate`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from node.errors import InvariantViolated
from node.machine import auth_change, history, kv, lease, txn
from node.machine.access import Access
from node.machine.alarm import NOBODY, OF_KEYSPACE, Alarms
from node.machine.answer import Answer, Applied, Event, LeaseChange, LeaseChangeKind, Operation
from node.machine.auth import Auth
from node.machine.change import Change
from node.machine.compaction import Compaction
from node.machine.digest import KeyspaceHash
from node.machine.downgrade import Downgrade
from node.machine.envelope import Credential, RequestKind
from node.machine.errors import Compacted, Corrupt, FutureRevision, Malformed, NoSpace, Refusal
from node.machine.keyspace import Keyspace
from node.machine.lease import Lease
from node.machine.paging import Page, Paging
from node.machine.range import Reading, range_body, read
from node.machine.record import COMPACT_REVISION, number
from node.machine.roster import Roster
from node.machine.state_hash import StateHash
from node.machine.view import View
from node.machine.wire import varint
from node.proto import rpc
from node.status import Alarm, MemberRecord
from node.tally import Tally

M = TypeVar("M", bound=Message)
Effects = Sequence[Operation] | Refusal
Ids = Collection[int]


class Machine:
    """The applied state of one member."""

    __slots__ = (
        "_alarms",
        "_apply",
        "_compaction",
        "_keyspace",
        "_roster",
        "access",
        "applied_index",
        "auth",
        "downgrade",
        "tally",
    )

    def __init__(
        self,
        view: View,
        applied_index: int = 0,
        member_id: int = NOBODY,
        tally: Tally | None = None,
    ) -> None:
        """Load from a view, which stands for the log up to `applied_index`.

        `member_id` is whose machine it is: reads depend on it, what is applied never does. What is
        done is counted in `tally`.
        """
        self.applied_index = applied_index
        self.tally = tally or Tally()
        self._keyspace = Keyspace(view)
        self._compaction = Compaction(self._keyspace, self.tally)
        self._alarms = Alarms(view, member_id)
        self._roster = Roster(view)
        self.downgrade = Downgrade(view)
        self.auth = Auth(view)
        """Users and roles; only looked at from outside."""
        self.access = Access(self.auth, view)
        """What they allow; reads are judged by whoever makes them."""
        self._apply: dict[int, Callable[[bytes, Credential | None], Applied]] = {
            RequestKind.PUT: self._put,
            RequestKind.DELETE_RANGE: self._delete_range,
            RequestKind.TXN: self._txn,
            RequestKind.COMPACT: self._compact,
            RequestKind.LEASE_GRANT: self._lease_grant,
            RequestKind.LEASE_REVOKE: self._lease_revoke,
            RequestKind.LEASE_CHECKPOINT: self._lease_checkpoint,
            RequestKind.ALARM: self._alarm,
            RequestKind.MEMBER_PUBLISH: partial(self._plain, rpc.Member, self._roster.publish),
            RequestKind.MEMBER_UPDATE: partial(self._plain, rpc.Member, self._roster.update),
            RequestKind.STATE_CHECK: partial(self._plain, rpc.StatusRequest, lambda _: ()),
            RequestKind.DOWNGRADE: partial(self._plain, rpc.DowngradeRequest, self.downgrade.apply),
            **{kind: partial(self._auth, kind) for kind in auth_change.KINDS},
        }

    # Applying.

    def apply(self, index: int, kind: int, request: bytes, by: Credential | None = None) -> Applied:
        """Apply one entry. `request` is the client's message of the given kind, as received; `by`
        is whom it is made for, None = nobody in particular.

        Raises:
            InvariantViolated: an unknown kind, or an index that was applied before.
        """
        self._advance(index)
        apply = self._apply.get(kind)
        if apply is None:
            raise InvariantViolated(f"entry {index} is of unknown kind {kind}")
        if self._alarms.corrupt and kind in OF_KEYSPACE:
            return Applied(Corrupt())
        try:
            return apply(request, by)
        except DecodeError as error:
            return Applied(Malformed(str(error)))

    def change_members(
        self, index: int, kind: int, request: bytes, voters: Ids, learners: Ids
    ) -> Applied:
        """Apply the members' part of a change of the configuration.

        A refusal means that the configuration must not change either. `voters` and `learners` are
        those before the change.

        Raises:
            InvariantViolated: a kind that is no such change, or an index that was applied before.
        """
        self._advance(index)
        member = rpc.Member.FromString(request)
        refusal = self.check_members(kind, member, voters, learners)
        if refusal is not None:
            return Applied(refusal)
        match kind:
            case RequestKind.MEMBER_ADD:
                effects = self._roster.add(member)
            case RequestKind.MEMBER_REMOVE:
                effects = [*self._roster.remove(member.ID), *self._alarms.forget(member.ID)]
            case RequestKind.MEMBER_PROMOTE:
                effects = []
            case _:
                raise InvariantViolated(f"entry {index} changes members by unknown kind {kind}")
        return Applied(Answer(self.revision, b""), effects)

    def compaction_slice(self, records_max: int) -> Sequence[Operation]:
        """Effects that remove about `records_max` records from below the compact revision.

        To be called between entries and staged like theirs; empty = nothing to remove. How often is
        up to each member: no answer depends on it.
        """
        return self._compaction.slice(records_max)

    # Reading.

    @property
    def revision(self) -> int:
        """The newest main revision; 1 for a store that never changed."""
        return self._keyspace.revision

    @property
    def compact_revision(self) -> int:
        """Reads below are refused; -1 as long as nothing was compacted."""
        return self._keyspace.compact_revision

    def physically_compacted(self, revision: int) -> bool:
        """Whether all that a compaction to `revision` obsoletes is gone from the view."""
        return self._compaction.done(revision)

    @property
    def accused(self) -> bool:
        """Whether the CORRUPT alarm names this member, or nobody, which means everybody."""
        return self._alarms.accused or self._alarms.corrupt

    def range(self, request: rpc.RangeRequest) -> Answer | Refusal:
        """Answer a Range. Refuses by Corrupt, FutureRevision, Compacted."""
        self.tally.ranges += 1
        refusal = self.check_range(request.revision)
        revision = self.revision
        return refusal or Answer(revision, range_body(self._keyspace.view, request, revision))

    def begin_range(self, request: rpc.RangeRequest) -> Reading | Refusal:
        """Read what a Range tells, and leave the rest to be counted. Refuses as `range` does."""
        self.tally.ranges += 1
        refusal = self.check_range(request.revision)
        return refusal or read(self._keyspace.view, request, self.revision)

    def check_range(self, revision: int) -> Refusal | None:
        """Why nothing can be read at a revision, <= 0 = now."""
        return Corrupt() if self.accused else self._keyspace.check_revision(revision)

    def next_page(self, paging: Paging, keys_max: int, bytes_max: int) -> Page | Refusal:
        """Go on with a range that is read in pages. Refuses as `range` does."""
        self.tally.ranges += 1
        return Corrupt() if self.accused else paging.read(self._keyspace, keys_max, bytes_max)

    def count_page(self, paging: Paging, keys_max: int) -> Page | Refusal:
        """Go on with it without telling the keys. Refuses as `range` does."""
        self.tally.ranges += 1
        return Corrupt() if self.accused else paging.count(self._keyspace, keys_max)

    def read_txn(self, request: rpc.TxnRequest) -> Answer | Refusal:
        """Answer a txn that `validate.is_read_only`. Refuses as `range` does."""
        if self.accused:
            return Corrupt()
        chosen = txn.plan(self._keyspace.view, request)
        self.tally.operations(chosen.compares + len(chosen.steps), 0, 0)
        refusal = txn.check(self._keyspace, chosen)
        if refusal is not None:
            return refusal
        return Answer(self.revision, txn.run(Change(self._keyspace), chosen))

    def leases(self) -> list[Lease]:
        """All leases, by id."""
        return list(lease.leases(self._keyspace.view))

    def lease_keys(self, lease_id: int) -> list[bytes]:
        """The keys attached to a lease, in order."""
        return lease.keys(self._keyspace.view, lease_id)

    def alarms(self) -> list[Alarm]:
        """The raised alarms."""
        return self._alarms.raised()

    def members(self) -> list[MemberRecord]:
        """What is known of the members besides their votes, by id."""
        return self._roster.members()

    def check_members(
        self, kind: int, member: rpc.Member, voters: Ids, learners: Ids
    ) -> Refusal | None:
        """Why `change_members` would refuse a change now; None if it would not."""
        return self._roster.check(kind, member, voters, learners)

    def events(self, lo: int, hi: int) -> Iterator[Event]:
        """What happened in the revisions `[lo, hi)`; `lo` must not be below the compact revision.

        The iterator shows the history as it is now, whatever is applied while it is consumed.
        """
        return history.events(self._keyspace.view, lo, hi)

    def previous_kv(self, event: Event) -> bytes | None:
        """The KeyValue (field 2) before an event; None = created by it, or compacted since."""
        if event.revision - 1 < self._keyspace.compact_revision:
            return None
        return history.previous_kv(self._keyspace.view, event)

    def hash_kv(self, revision: int) -> int | Refusal:
        """The same as `keyspace_hash`, all at once: walks the whole history."""
        begun = self.keyspace_hash(revision)
        return begun.finish() if isinstance(begun, KeyspaceHash) else begun

    def keyspace_hash(self, revision: int) -> KeyspaceHash | Refusal:
        """Begin to take a checksum of the keyspace at `revision` (0 = now), for members to compare.

        Refuses by FutureRevision, Compacted.
        """
        refusal = self._keyspace.check_revision(revision)
        if refusal is not None:
            return refusal
        upto = revision if revision > 0 else self.revision
        return KeyspaceHash(self._keyspace.view, upto, self.compact_revision)

    def state_hash(self) -> StateHash | None:
        """Begin to take the checksum of the state as it is now.

        None: a compaction is under way here, so that nobody else holds the same records.
        """
        compacted = self._keyspace.compact_revision
        if not self._compaction.done(compacted):
            return None
        return StateHash(self._keyspace.view, compacted)

    # One method for each kind of entry.

    def _put(self, encoded: bytes, by: Credential | None) -> Applied:
        request = rpc.PutRequest.FromString(encoded)
        if self._alarms.no_space:
            return Applied(NoSpace())
        keyspace = self._keyspace
        refusal = self.access.put(by, request)
        keeps = request.ignore_value or request.ignore_lease
        if refusal is None and (keeps or request.lease):
            view = keyspace.view
            # The lease first: a put in a txn is checked the other way round, in etcd as well.
            refusal = kv.check_lease(view, request) or kv.check_kept(view, request)
        if refusal is not None:
            return Applied(refusal)
        change = Change(keyspace)
        self.tally.puts += 1
        if keeps or request.prev_kv:
            self.tally.ranges += 1
            self.tally.txns += 1
        return self._adopt(change, kv.put(change, request))

    def _delete_range(self, encoded: bytes, by: Credential | None) -> Applied:
        request = rpc.DeleteRangeRequest.FromString(encoded)
        refusal = self.access.delete_range(by, request)
        if refusal is not None:
            return Applied(refusal)
        change = Change(self._keyspace)
        self.tally.operations(request.prev_kv, 0, 1)
        return self._adopt(change, kv.delete_range(change, request))

    def _txn(self, encoded: bytes, by: Credential | None) -> Applied:
        request = rpc.TxnRequest.FromString(encoded)
        if self._alarms.no_space and txn.has_put(request):
            return Applied(NoSpace())
        refusal = self.access.txn(by, request)
        if refusal is not None:
            return Applied(refusal)
        chosen = txn.plan(self._keyspace.view, request)
        self.tally.operations(txn.looks(chosen), 0, 0)
        refusal = txn.check(self._keyspace, chosen)
        if refusal is not None:
            return Applied(refusal)
        self.tally.operations(*txn.operations(chosen))
        change = Change(self._keyspace)
        return self._adopt(change, txn.run(change, chosen))

    def _compact(self, encoded: bytes, by: Credential | None) -> Applied:
        revision = rpc.CompactionRequest.FromString(encoded).revision
        keyspace = self._keyspace
        if revision <= keyspace.compact_revision:
            return Applied(Compacted(keyspace.compact_revision))
        if revision > keyspace.revision:
            return Applied(FutureRevision(keyspace.revision))
        keyspace.compact_revision = revision
        return Applied(Answer(keyspace.revision, b""), [(COMPACT_REVISION, number(revision))])

    def _lease_grant(self, encoded: bytes, by: Credential | None) -> Applied:
        request = rpc.LeaseGrantRequest.FromString(encoded)
        if self._alarms.no_space:
            return Applied(NoSpace())
        change = Change(self._keyspace)
        granted = lease.grant(change, request)
        if isinstance(granted, Refusal):
            return Applied(granted)
        self.tally.leases_granted += 1
        body = b"\x10" + varint(granted.id) + b"\x18" + varint(granted.ttl)
        return self._adopt(
            change, body, LeaseChange(LeaseChangeKind.GRANTED, granted.id, granted.ttl)
        )

    def _lease_revoke(self, encoded: bytes, by: Credential | None) -> Applied:
        lease_id = rpc.LeaseRevokeRequest.FromString(encoded).ID
        change = Change(self._keyspace)
        refusal = self.access.write_lease(by, lease_id) or lease.revoke(change, lease_id)
        if refusal is not None:
            return Applied(refusal)
        self.tally.leases_revoked += 1
        self.tally.operations(0, 0, len(change.events))
        return self._adopt(change, b"", LeaseChange(LeaseChangeKind.REVOKED, lease_id, 0))

    def _lease_checkpoint(self, encoded: bytes, by: Credential | None) -> Applied:
        request = rpc.LeaseCheckpointRequest.FromString(encoded)
        effects, changes = lease.checkpoint(self._keyspace.view, request)
        return Applied(Answer(self.revision, b""), effects, leases=changes)

    def _alarm(self, encoded: bytes, by: Credential | None) -> Applied:
        body, effects = self._alarms.apply(rpc.AlarmRequest.FromString(encoded))
        return Applied(Answer(self.revision, body), effects)

    def _plain(
        self, kind: type[M], change: Callable[[M], Effects], encoded: bytes, by: Credential | None
    ) -> Applied:
        """What changes no keys and answers nothing."""
        effects = change(kind.FromString(encoded))
        if isinstance(effects, Refusal):
            return Applied(effects)
        return Applied(Answer(self.revision, b""), effects)

    def _auth(self, kind: RequestKind, encoded: bytes, by: Credential | None) -> Applied:
        made = auth_change.apply(self.auth, kind, encoded, by, self.applied_index)
        if isinstance(made, Refusal):
            return Applied(made)
        return Applied(Answer(self.revision, made.body), made.effects, tokens=made.tokens)

    def _advance(self, index: int) -> None:
        if index <= self.applied_index:
            raise InvariantViolated(f"entry {index} applied again, after {self.applied_index}")
        self.applied_index = index

    def _adopt(self, change: Change, body: bytes, *leases: LeaseChange) -> Applied:
        effects = change.adopt_into(self._keyspace)
        self.tally.put_bytes += change.put_bytes
        return Applied(Answer(self._keyspace.revision, body), effects, change.events, leases)
