"""One server in a comparison: it is asked in its own numbers and answers in everybody's.

What two correct servers may answer differently is taken out: ids and term in the header, the
seconds that a lease has left, the order in which leases and their keys are listed (etcd's is that
of a hash table). Everything else is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import Message

from node.proto import rpc
from tests.differential.numbering import Numbering
from tests.differential.step import CALLS, Ask
from tests.support.api_client import ApiClient, Failed, failure

Answer = Message | Failed

BEGIN = b"begin"
"""The key that every episode finds."""
DEADLINE_SECONDS = 30.0
LEFT_SECONDS_MAX = 900
"""More than an episode lasts, less than any lease of one."""
PASSING = {4, 14}
"""DeadlineExceeded, Unavailable: what a cluster says that just then has no leader."""


class Disturbed(Exception):
    """A server could not answer for a while: this episode says nothing about anybody."""


@dataclass(frozen=True)
class Pending:
    """A call under way."""

    request: Message
    call: Any  # grpcio's future or stream


class Side:
    """One server, or one cluster whose members are asked in turn."""

    def __init__(self, name: str, endpoints: Sequence[str]) -> None:
        """Connect on first use."""
        self.name = name
        self._clients = [ApiClient(endpoint) for endpoint in endpoints]
        self._turn = 0
        self.numbering = Numbering(0)

    @property
    def home(self) -> ApiClient:
        """The member that has the watches, and is asked what a member answers by itself."""
        return self._clients[0]

    def close(self) -> None:
        """Disconnect."""
        for client in self._clients:
            client.channel.close()

    def begin(self) -> None:
        """Begin an episode: with one key, whose revision is 1 and all that is not compacted.

        A key and not a deletion, because what is left of a deletion that compaction stops at
        depends on etcd's version.
        """
        self.numbering = Numbering(0)
        self._turn = 0
        self._done(rpc.DeleteRangeRequest(key=b"\0", range_end=b"\0"))
        self.catch_up()
        for lease in self._done(rpc.LeaseLeasesRequest()).leases:
            self._done(rpc.LeaseRevokeRequest(ID=lease.ID))
        revision = self._done(rpc.PutRequest(key=BEGIN)).header.revision
        self._done(rpc.CompactionRequest(revision=revision))
        self.catch_up()  # a watch from now on must not be told of what was before
        self.numbering = Numbering(revision - 1)

    def catch_up(self) -> None:
        """Have the home member apply all that was acknowledged by any."""
        if len(self._clients) > 1:
            self._turn = 0
            self._done(rpc.RangeRequest(key=b"barrier", count_only=True))

    def send(self, step: Ask) -> Pending:
        """Begin a call; members take turns, but local requests stay at home."""
        path, _ = CALLS[type(step.request)]
        message = self.numbering.to_server(step.request).SerializeToString()
        client = self.home if step.local else self._clients[self._turn % len(self._clients)]
        self._turn += 1
        if isinstance(step.request, rpc.LeaseKeepAliveRequest):
            return Pending(step.request, client.stream(path, [message]))
        call = client.channel.unary_unary(path).future(message, timeout=DEADLINE_SECONDS)
        return Pending(step.request, call)

    def receive(self, pending: Pending) -> Answer:
        """The answer to a call, comparable with other sides'.

        Raises:
            Disturbed: there was nobody to answer.
        """
        try:
            message = next(pending.call) if _is_stream(pending) else pending.call.result()
        except grpc.RpcError as error:
            failed = failure(error)
            if failed.code in PASSING:
                raise Disturbed(f"{self.name}: {failed.text}") from error
            return failed
        answer = CALLS[type(pending.request)][1].FromString(message)
        if isinstance(answer, rpc.LeaseGrantResponse) and not _asked_id(pending.request):
            self.numbering.choose(answer.ID)
        return plain(self.numbering.from_server(answer))

    def _done(self, request: Message) -> Any:
        answer = self.receive(self.send(Ask(request)))
        assert not isinstance(answer, Failed), (self.name, request, answer)
        return answer


def plain(answer: Message) -> Message:
    """An answer without what correct servers may differ in; changes it."""
    header: rpc.ResponseHeader | None = getattr(answer, "header", None)
    if header is not None and answer.HasField("header"):
        assert header.cluster_id, answer
        assert header.member_id, answer
        assert header.raft_term, answer
        header.cluster_id = header.member_id = header.raft_term = 0
    match answer:
        case rpc.LeaseTimeToLiveResponse():
            if 0 <= answer.grantedTTL - answer.TTL < LEFT_SECONDS_MAX:
                answer.TTL = answer.grantedTTL
            attached = sorted(answer.keys)
            del answer.keys[:]
            answer.keys.extend(attached)
        case rpc.LeaseLeasesResponse():
            leases = sorted(lease.ID for lease in answer.leases)
            del answer.leases[:]
            answer.leases.extend(rpc.LeaseStatus(ID=lease) for lease in leases)
        case _:
            pass
    return answer


def _is_stream(pending: Pending) -> bool:
    return isinstance(pending.request, rpc.LeaseKeepAliveRequest)


def _asked_id(request: Message) -> int:
    assert isinstance(request, rpc.LeaseGrantRequest)
    return request.ID
