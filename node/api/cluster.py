"""etcdserverpb.Cluster, as far as it is served: MemberList.

Headers of this service carry no revision: members are not part of the keyspace.
"""

from __future__ import annotations

from node.api.call import Call
from node.api.member import Member
from node.machine.errors import Refusal
from node.proto import rpc


class Cluster:
    """MemberList."""

    def __init__(self, member: Member) -> None:
        """Serve `member`."""
        self._member = member

    def member_list(self, call: Call, message: bytes) -> None:
        """List the members; `linearizable` asks for a fresh list."""
        if not rpc.MemberListRequest.FromString(message).linearizable:
            self._list(call)
            return

        def fresh(stale: Refusal | None) -> None:
            if stale is None:
                self._list(call)
            else:
                call.refuse(stale)

        self._member.read(fresh)

    def _list(self, call: Call) -> None:
        members = [
            rpc.Member(
                ID=record.id,
                name=record.name,
                peerURLs=record.peer_urls,
                clientURLs=record.client_urls,
                isLearner=record.is_learner,
            )
            for record in self._member.members()
        ]
        call.respond(rpc.MemberListResponse(members=members), revision=0)
