"""What members tell about themselves: name and URLs. Who votes is Raft's business, not this one's.

A member publishes its own entry after it has started, through the log.
Source: etcd server/etcdserver/api/membership (member attributes).
"""

from __future__ import annotations

from node.machine.answer import Operation
from node.machine.record import MEMBER, table_end
from node.machine.view import View
from node.proto import rpc
from node.status import MemberRecord

_ID_BYTES = 8


class Roster:
    """The published members, in memory beside their records."""

    __slots__ = ("_members",)

    def __init__(self, view: View) -> None:
        """Load; there are a handful."""
        self._members: dict[int, MemberRecord] = {}
        for _, stored in view.scan(MEMBER, table_end(MEMBER)):
            self._add(rpc.Member.FromString(stored))

    def members(self) -> list[MemberRecord]:
        """All published members, by id."""
        return [self._members[member] for member in sorted(self._members)]

    def publish(self, member: rpc.Member, encoded: bytes) -> list[Operation]:
        """Add or replace an entry; `encoded` are the message's own bytes."""
        self._add(member)
        return [(MEMBER + member.ID.to_bytes(_ID_BYTES, "big"), encoded)]

    def _add(self, member: rpc.Member) -> None:
        self._members[member.ID] = MemberRecord(
            member.ID,
            member.name,
            tuple(member.peerURLs),
            tuple(member.clientURLs),
            member.isLearner,
        )
