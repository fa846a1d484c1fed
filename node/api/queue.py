"""A queue of keys under a prefix: whoever was created first comes first, and holds until it goes.

Locks and elections are both this. A caller puts a key of its own, named after its lease, so that it
leaves the queue when the lease ends; then it waits until no key under the prefix is older. It looks
at the next older one only, so that the end of a holder wakes one caller and not all of them.

Source: etcd client/v3/concurrency (key.go, mutex.go, election.go), which etcd's own lock and
election services use.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from node.api.call import Call, StreamCall
from node.api.errors import Fault, fault_of
from node.api.member import Member, Outcome
from node.machine.answer import Answer
from node.machine.envelope import MEMBER, Credential, RequestKind
from node.machine.errors import Refusal
from node.proto import kv, rpc
from transport.grpc.status import Status

SESSION_SECONDS = 60
"""Of the lease that a caller without one is given; nobody keeps it alive."""
ID_BITS = 63

OnLease = Callable[[int], None]
OnAnswer = Callable[[Answer], None]


class Queues:
    """Those who wait, so that whoever gives up leaves the queue as well."""

    def __init__(self, member: Member, chance: Random) -> None:
        """`chance` draws the ids of leases."""
        self.member = member
        self._chance = chance
        self._waiting: list[Place] = []

    def wait(self, place: Place) -> None:
        """Let a caller wait for its turn."""
        self._waiting.append(place)
        place.look()

    def poll(self) -> None:
        """Let go of the places of callers that are gone."""
        self._waiting = [place for place in self._waiting if not place.over]
        for place in self._waiting:
            if place.call.over or not place.call.link.awaits(place.call):
                place.leave()

    def lease(self, call: Call, given: int, then: OnLease) -> None:
        """Go on with the caller's lease, or with a new one if it has none."""
        if given:
            then(given)
            return
        refusal = self.member.machine.auth.check_user(call.credential)
        if refusal is not None:
            refuse(call, refusal)
            return
        lease_id = self._chance.getrandbits(ID_BITS) or 1
        grant = rpc.LeaseGrantRequest(ID=lease_id, TTL=SESSION_SECONDS)
        message = grant.SerializeToString()
        done = answered(call, lambda _: then(lease_id))
        self.member.propose(RequestKind.LEASE_GRANT, message, done, call)

    def commit(self, call: Call, request: rpc.TxnRequest, then: OnAnswer) -> None:
        """Make a txn and go on with its answer; a refusal ends the call."""
        message = request.SerializeToString()
        self.member.propose(RequestKind.TXN, message, answered(call, then), call)


class Place:
    """One caller in a queue, from its key's revision on."""

    def __init__(
        self,
        member: Member,
        call: Call,
        key: bytes,
        prefix: bytes,
        revision: int,
        then: Callable[[], None],
    ) -> None:
        """Wait behind all keys under `prefix` that were created before `revision`; `then` runs in
        the moment of a linearizable read that found none."""
        self.call = call
        self.over = False
        self._member = member
        self._key = key
        self._older = first_of(prefix, newest=True, before=revision)
        self._then = then
        self._stream = 0

    def look(self) -> None:
        """See whether anybody is before us."""
        self._member.read(self._fresh)

    def leave(self) -> None:
        """Give the place up."""
        self._end()
        request = rpc.DeleteRangeRequest(key=self._key).SerializeToString()
        self._member.propose(RequestKind.DELETE_RANGE, request, lambda _: None)

    def _fresh(self, refusal: Refusal | None) -> None:
        if self.over or self.call.over:
            return  # poll() sees to it
        outcome = refusal or read(self._member, self.call.credential, self._older)
        if not isinstance(outcome, Answer):
            self.leave()
            refuse(self.call, outcome)
            return
        older = rpc.RangeResponse.FromString(outcome.body).kvs
        if older:
            self._watch(older[0].key, outcome.revision)
        else:
            self._end()
            self._then()

    def _watch(self, key: bytes, revision: int) -> None:
        self._stream = self._member.open_watch(self._told)
        create = rpc.WatchCreateRequest(
            key=key, start_revision=revision, filters=[rpc.WatchCreateRequest.NOPUT]
        )
        self._member.watch_request(self._stream, rpc.WatchRequest(create_request=create))

    def _told(self, response: bytes) -> None:
        told = rpc.WatchResponse.FromString(response)
        if self._stream and (told.events or told.canceled):
            self._close_watch()
            self.look()

    def _end(self) -> None:
        self.over = True
        self._close_watch()

    def _close_watch(self) -> None:
        if self._stream:
            self._member.close_watch(self._stream)
            self._stream = 0


def read(member: Member, by: Credential | None, request: rpc.RangeRequest) -> Outcome:
    """Read for a caller who may have waited for long: as whom it was known when it came, and with
    the rights of now."""
    machine = member.machine
    auth = machine.auth
    if auth.enabled and by is not None and by is not MEMBER:
        by = Credential(by.name, auth.revision)
    return machine.access.range(by, request) or machine.range(request)


def answered(call: Call, then: OnAnswer) -> Callable[[Outcome], None]:
    """A callback that goes on with an answer and ends the call with a refusal."""

    def done(outcome: Outcome) -> None:
        if isinstance(outcome, Answer):
            then(outcome)
        else:
            refuse(call, outcome)

    return done


def refuse(call: Call | StreamCall, refusal: Refusal) -> None:
    """End a call as etcd does here: with the right text, and without its code."""
    call.fail(unknown(fault_of(refusal).text))


def key_of(prefix: bytes, lease: int) -> bytes:
    """A caller's key: its lease as hex under the prefix."""
    return prefix + format(lease, "x").encode()


def end_of(prefix: bytes) -> bytes:
    """The first key after all those with this prefix, which ends in a slash."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def first_of(prefix: bytes, *, newest: bool = False, before: int = 0) -> rpc.RangeRequest:
    """The oldest key under a prefix, or the newest of those created before a revision."""
    return rpc.RangeRequest(
        key=prefix,
        range_end=end_of(prefix),
        limit=1,
        sort_target=rpc.RangeRequest.CREATE,
        sort_order=rpc.RangeRequest.DESCEND if newest else rpc.RangeRequest.ASCEND,
        max_create_revision=before - 1 if before else 0,
    )


def created_at(key: bytes, revision: int) -> rpc.Compare:
    """Whether a key was created at a revision; 0 = whether it is not there."""
    return rpc.Compare(
        key=key,
        result=rpc.Compare.EQUAL,
        target=rpc.Compare.CREATE,
        create_revision=revision,
    )


def joined(key: bytes, value: bytes, lease: int) -> rpc.TxnRequest:
    """Put a key unless it is there; else read it."""
    put = rpc.PutRequest(key=key, value=value, lease=lease)
    return rpc.TxnRequest(
        compare=[created_at(key, 0)],
        success=[rpc.RequestOp(request_put=put)],
        failure=[rpc.RequestOp(request_range=rpc.RangeRequest(key=key))],
    )


def place_in(answer: Answer) -> tuple[int, kv.KeyValue | None]:
    """What `joined` gave: the key's create revision, and the key if it was there before."""
    response = rpc.TxnResponse.FromString(answer.body)
    if response.succeeded:
        return answer.revision, None
    found = response.responses[0].response_range.kvs[0]
    return found.create_revision, found


def unknown(text: str) -> Fault:
    """The errors of etcd's client library, which its server passes on without a code."""
    return Fault(Status.UNKNOWN, text)
