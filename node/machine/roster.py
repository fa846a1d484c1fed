"""Who the members are: name and URLs, and who has left. Who votes is Raft's business.

A member is entered by whoever adds it, with its peer URLs only, and publishes name and client URLs
itself once it has started; the founding members' entries begin with that. A member that has left
leaves its id behind for ever: whoever comes back under it has forgotten what it promised.

Source: etcd server/etcdserver/api/membership (cluster.go: ValidateConfigurationChange).
"""

from __future__ import annotations

from collections.abc import Collection

from node.machine.answer import Operation
from node.machine.envelope import RequestKind
from node.machine.errors import (
    MemberExists,
    MemberNotFound,
    MemberNotLearner,
    PeerUrlExists,
    Refusal,
    TooManyLearners,
)
from node.machine.record import MEMBER, REMOVED, table_end
from node.machine.view import View
from node.proto import rpc
from node.status import MemberRecord

LEARNERS_MAX = 1
"""etcd --max-learners, its default."""
_ID_BYTES = 8


class Roster:
    """The members' entries, in memory beside their records."""

    __slots__ = ("_members", "_removed")

    def __init__(self, view: View) -> None:
        """Load; there are a handful."""
        self._members: dict[int, MemberRecord] = {}
        for _, stored in view.scan(MEMBER, table_end(MEMBER)):
            self._enter(rpc.Member.FromString(stored))
        self._removed = {
            int.from_bytes(key[len(REMOVED) :], "big")
            for key, _ in view.scan(REMOVED, table_end(REMOVED))
        }

    def members(self) -> list[MemberRecord]:
        """All entries, by id."""
        return [self._members[member] for member in sorted(self._members)]

    def check(
        self,
        kind: int,
        member: rpc.Member,
        voters: Collection[int],
        learners: Collection[int],
    ) -> Refusal | None:
        """Why a change of the members must not be applied; `kind` is ADD, REMOVE or PROMOTE."""
        if kind == RequestKind.MEMBER_ADD:
            return self._check_new(member, voters, learners)
        if member.ID not in voters and member.ID not in learners:
            return MemberNotFound()
        if kind == RequestKind.MEMBER_PROMOTE and member.ID not in learners:
            return MemberNotLearner()
        return None

    def add(self, member: rpc.Member) -> list[Operation]:
        """Enter a new member, which has no name before it has started."""
        return self._write(rpc.Member(ID=member.ID, peerURLs=member.peerURLs))

    def remove(self, member_id: int) -> list[Operation]:
        """Strike a member out for ever."""
        self._members.pop(member_id, None)
        self._removed.add(member_id)
        key = member_id.to_bytes(_ID_BYTES, "big")
        return [(MEMBER + key, None), (REMOVED + key, b"")]

    def publish(self, member: rpc.Member) -> list[Operation]:
        """A member's own word about its name and client URLs; its peer URLs count only as long as
        nobody has given it others. What one that has left still had to say is passed over."""
        if member.ID in self._removed:
            return []
        entered = self._members.get(member.ID)
        return self._write(
            rpc.Member(
                ID=member.ID,
                name=member.name,
                peerURLs=entered.peer_urls if entered else member.peerURLs,
                clientURLs=member.clientURLs,
            )
        )

    def update(self, member: rpc.Member) -> list[Operation] | Refusal:
        """Give a member other peer URLs."""
        entered = self._members.get(member.ID)
        if entered is None:
            return MemberNotFound()
        if self._urls_taken(member):
            return PeerUrlExists()
        return self._write(
            rpc.Member(
                ID=member.ID,
                name=entered.name,
                peerURLs=member.peerURLs,
                clientURLs=entered.client_urls,
            )
        )

    def _check_new(
        self, member: rpc.Member, voters: Collection[int], learners: Collection[int]
    ) -> Refusal | None:
        if member.ID in self._removed:
            return MemberNotFound()
        if member.ID in voters or member.ID in learners:
            return MemberExists()
        if self._urls_taken(member):
            return PeerUrlExists()
        if member.isLearner and len(learners) >= LEARNERS_MAX:
            return TooManyLearners()
        return None

    def _urls_taken(self, member: rpc.Member) -> bool:
        urls = {*member.peerURLs}
        others = [entered for entered in self._members.values() if entered.id != member.ID]
        return any(urls & {*entered.peer_urls} for entered in others)

    def _write(self, member: rpc.Member) -> list[Operation]:
        self._enter(member)
        return [(MEMBER + member.ID.to_bytes(_ID_BYTES, "big"), member.SerializeToString())]

    def _enter(self, member: rpc.Member) -> None:
        self._members[member.ID] = MemberRecord(
            member.ID, member.name, tuple(member.peerURLs), tuple(member.clientURLs)
        )
