"""v3electionpb.Election: one of many candidates leads, and everybody can follow who.

Source: etcd server/etcdserver/api/v3election/election.go.
"""

from __future__ import annotations

from node.api.call import Call, StreamCall
from node.api.identity import identify
from node.api.member import Member
from node.api.queue import (
    Place,
    Queues,
    created_at,
    end_of,
    first_of,
    joined,
    key_of,
    place_in,
    read,
    refuse,
    unknown,
)
from node.machine.answer import Answer
from node.machine.envelope import Credential
from node.machine.errors import Refusal
from node.proto import election, kv, rpc

NOT_LEADER = unknown("election: not leader")
NO_LEADER = unknown("election: no leader")
MISSING_LEADER = unknown('"leader" field must be provided')


class Election:
    """Campaign, Proclaim, Leader, Observe, Resign."""

    def __init__(self, queues: Queues) -> None:
        """Serve the member of `queues`."""
        self._member = queues.member
        self._queues = queues

    def campaign(self, call: Call, message: bytes) -> None:
        """Answer once the caller leads."""
        request = election.CampaignRequest.FromString(message)
        prefix = request.name + b"/"

        def join(lease: int) -> None:
            key = key_of(prefix, lease)
            leader = election.LeaderKey(name=request.name, key=key, lease=lease)
            self._queues.commit(
                call,
                joined(key, request.value, lease),
                lambda answer: self._joined(call, leader, request.value, answer),
            )

        self._queues.lease(call, request.lease, join)

    def proclaim(self, call: Call, message: bytes) -> None:
        """Change the leader's value."""
        request = election.ProclaimRequest.FromString(message)
        if not request.HasField("leader"):
            call.fail(MISSING_LEADER)
            return

        def done(answer: Answer) -> None:
            if rpc.TxnResponse.FromString(answer.body).succeeded:
                call.respond(election.ProclaimResponse(), answer.revision)
            else:
                call.fail(NOT_LEADER)

        self._queues.commit(call, _proclaimed(request.leader, request.value), done)

    def resign(self, call: Call, message: bytes) -> None:
        """Lead no more; whoever does not lead is answered as well."""
        request = election.ResignRequest.FromString(message)
        if not request.HasField("leader"):
            call.fail(MISSING_LEADER)
            return
        leader = request.leader
        delete = rpc.DeleteRangeRequest(key=leader.key)
        txn = rpc.TxnRequest(
            compare=[created_at(leader.key, leader.rev)],
            success=[rpc.RequestOp(request_delete_range=delete)],
        )
        self._queues.commit(
            call, txn, lambda answer: call.respond(election.ResignResponse(), answer.revision)
        )

    def leader(self, call: Call, message: bytes) -> None:
        """Tell who leads."""
        name = election.LeaderRequest.FromString(message).name

        def fresh(refusal: Refusal | None) -> None:
            outcome = refusal or read(self._member, call.credential, first_of(name + b"/"))
            if not isinstance(outcome, Answer):
                refuse(call, outcome)
                return
            found = rpc.RangeResponse.FromString(outcome.body).kvs
            if found:
                call.respond(election.LeaderResponse(kv=found[0]), outcome.revision)
            else:
                call.fail(NO_LEADER)

        self._member.read(fresh)

    def observe(self, call: StreamCall) -> Observer:
        """Tell who leads, now and whenever that changes."""
        return Observer(self._member, call)

    def _joined(self, call: Call, leader: election.LeaderKey, value: bytes, answer: Answer) -> None:
        leader.rev, former = place_in(answer)
        if former is not None and former.value != value:
            self._queues.commit(
                call, _proclaimed(leader, value), lambda answer: self._wait(call, leader, answer)
            )
        else:
            self._wait(call, leader, answer)

    def _wait(self, call: Call, leader: election.LeaderKey, answer: Answer) -> None:
        def lead() -> None:
            call.respond(election.CampaignResponse(leader=leader), answer.revision)

        prefix = leader.name + b"/"
        self._queues.wait(Place(self._member, call, leader.key, prefix, leader.rev, lead))


class Observer:
    """One client that follows an election."""

    def __init__(self, member: Member, call: StreamCall) -> None:
        """Wait for the one request."""
        self._member = member
        self._call = call
        self._prefix = b""
        self._watched = b""
        """Key of the present leader; empty = there is none, and anybody's put tells of one."""
        self._stream = 0

    def received(self, message: bytes) -> None:
        """Begin to follow."""
        self._prefix = election.LeaderRequest.FromString(message).name + b"/"
        if self._member.machine.auth.enabled:
            identify(self._call, self._known)
        else:
            self._look()

    def half_closed(self) -> None:
        """A server stream's client says nothing after its request."""

    def pause(self) -> None:
        """The client does not read: what it misses it will be told later."""
        if self._stream:
            self._member.pause_watch(self._stream)

    def resume(self) -> None:
        """The client reads again."""
        if self._stream:
            self._member.resume_watch(self._stream)

    def closed(self) -> None:
        """Stop following."""
        if self._stream:
            self._member.close_watch(self._stream)
            self._stream = 0

    def _known(self, by: Credential | None) -> None:
        self._call.credential = by
        self._look()

    def _look(self) -> None:
        self._member.read(self._fresh)

    def _fresh(self, refusal: Refusal | None) -> None:
        if self._call.over:
            return
        outcome = refusal or read(self._member, self._call.credential, first_of(self._prefix))
        if not isinstance(outcome, Answer):
            refuse(self._call, outcome)
            return
        found = rpc.RangeResponse.FromString(outcome.body).kvs
        if found:
            self._tell(found[0], outcome.revision)
            self._watched = found[0].key
            self._watch(rpc.WatchCreateRequest(key=found[0].key), outcome.revision + 1)
        else:
            self._watched = b""
            anybody = rpc.WatchCreateRequest(key=self._prefix, range_end=end_of(self._prefix))
            self._watch(anybody, outcome.revision)

    def _watch(self, create: rpc.WatchCreateRequest, revision: int) -> None:
        create.start_revision = revision
        self._stream = self._member.open_watch(self._told)
        self._member.watch_request(self._stream, rpc.WatchRequest(create_request=create))
        if self._call.paused:
            self._member.pause_watch(self._stream)

    def _told(self, response: bytes) -> None:
        told = rpc.WatchResponse.FromString(response)
        for event in told.events:
            if not self._stream:
                return
            if event.type == kv.Event.DELETE and self._watched:
                self._again()
            elif event.type == kv.Event.PUT and self._watched:
                self._tell(event.kv, event.kv.mod_revision)
            elif event.type == kv.Event.PUT:
                self._again()
        if told.canceled and self._stream:
            self._again()

    def _again(self) -> None:
        """Whoever led is gone, or somebody came: see who leads now."""
        self.closed()
        self._look()

    def _tell(self, leader: kv.KeyValue, revision: int) -> None:
        response = election.LeaderResponse(kv=leader)
        self._call.send(self._member.header(revision) + response.SerializeToString())


def _proclaimed(leader: election.LeaderKey, value: bytes) -> rpc.TxnRequest:
    """Change the value of a key as long as it is the one that was elected."""
    put = rpc.PutRequest(key=leader.key, value=value, lease=leader.lease)
    return rpc.TxnRequest(
        compare=[created_at(leader.key, leader.rev)], success=[rpc.RequestOp(request_put=put)]
    )
