"""etcdserverpb.Cluster: the members, and how they change.

Headers of this service carry no revision: members are not part of the keyspace. A change is
answered when this member has applied it, with the members as they are then.

The id of a new member is drawn at random, not made of its URLs and the time as in etcd: an id is
never used twice, and nobody can have two members in one second.

Source: etcd server/etcdserver/api/v3rpc/member.go.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from google.protobuf.message import Message

from node.api.call import Call
from node.api.errors import MEMBER_BAD_URLS, fault_of
from node.api.member import Member, Outcome
from node.machine.envelope import RequestKind
from node.machine.errors import MemberNotFound, Refusal
from node.proto import rpc

_ID_BITS = 64


class Cluster:
    """MemberList, MemberAdd, MemberRemove, MemberUpdate, MemberPromote."""

    def __init__(self, member: Member, chance: random.Random) -> None:
        """Serve `member`; `chance` draws the ids of new members."""
        self._member = member
        self._chance = chance

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

    def member_add(self, call: Call, message: bytes) -> None:
        """Make room for a member, voting or not, which is then started elsewhere."""
        request = rpc.MemberAddRequest.FromString(message)
        if not are_urls(request.peerURLs):
            call.fail(MEMBER_BAD_URLS)
            return
        added = rpc.Member(
            ID=self._chance.getrandbits(_ID_BITS) or 1,
            peerURLs=sorted(request.peerURLs),
            isLearner=request.isLearner,
        )
        answer = self._answer(
            call, lambda: rpc.MemberAddResponse(member=added, members=self._members())
        )
        self._member.change_members(RequestKind.MEMBER_ADD, added, answer)

    def member_remove(self, call: Call, message: bytes) -> None:
        """Take a member out for ever."""
        removed = rpc.MemberRemoveRequest.FromString(message).ID
        # Asked for its own removal, a member may hear of it before it can apply it.
        answer = self._answer(
            call, lambda: rpc.MemberRemoveResponse(members=self._members(without=removed))
        )
        self._member.change_members(RequestKind.MEMBER_REMOVE, rpc.Member(ID=removed), answer)

    def member_update(self, call: Call, message: bytes) -> None:
        """Give a member other peer URLs."""
        request = rpc.MemberUpdateRequest.FromString(message)
        if not are_urls(request.peerURLs):
            # etcd would store anything here; of a member that it does not know it says just that.
            known = any(record.id == request.ID for record in self._member.members())
            call.fail(MEMBER_BAD_URLS if known else fault_of(MemberNotFound()))
            return
        updated = rpc.Member(ID=request.ID, peerURLs=sorted(request.peerURLs))
        answer = self._answer(call, lambda: rpc.MemberUpdateResponse(members=self._members()))
        request_bytes = updated.SerializeToString()
        self._member.propose(RequestKind.MEMBER_UPDATE, request_bytes, answer, call)

    def member_promote(self, call: Call, message: bytes) -> None:
        """Give a learner a vote."""
        promoted = rpc.Member(ID=rpc.MemberPromoteRequest.FromString(message).ID)
        answer = self._answer(call, lambda: rpc.MemberPromoteResponse(members=self._members()))
        self._member.change_members(RequestKind.MEMBER_PROMOTE, promoted, answer)

    def _list(self, call: Call) -> None:
        call.respond(rpc.MemberListResponse(members=self._members()), revision=0)

    def _answer(self, call: Call, response: Callable[[], Message]) -> Callable[[Outcome], None]:
        def done(outcome: Outcome) -> None:
            if isinstance(outcome, Refusal):
                call.refuse(outcome)
            else:
                call.respond(response(), revision=0)

        return done

    def _members(self, *, without: int = 0) -> list[rpc.Member]:
        return [
            rpc.Member(
                ID=record.id,
                name=record.name,
                peerURLs=record.peer_urls,
                clientURLs=record.client_urls,
                isLearner=record.is_learner,
            )
            for record in self._member.members()
            if record.id != without
        ]


def are_urls(urls: Iterable[str]) -> bool:
    """Whether etcd would take these as a member's URLs: at least one, all with a known scheme, over
    TCP with host, port and no path. Source: etcd client/pkg/types/urls.go (NewURLs)."""
    given = list(urls)
    return bool(given) and all(_is_url(url.strip()) for url in given)


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if parts.scheme in ("unix", "unixs"):
        return True
    return parts.scheme in ("http", "https") and bool(host) and port is not None and not parts.path
