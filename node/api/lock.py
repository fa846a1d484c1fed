"""v3lockpb.Lock: locks that are kept by the server on behalf of a client's lease.

A lock is not mutual exclusion: who is paused longer than its lease lives still believes to hold it.
The revision at which the key was created is a fencing token.

Source: etcd server/etcdserver/api/v3lock/lock.go.
"""

from __future__ import annotations

from node.api.call import Call
from node.api.queue import Place, Queues, answered, joined, key_of, place_in, read, unknown
from node.machine.answer import Answer
from node.machine.envelope import RequestKind
from node.proto import lock, rpc

SESSION_EXPIRED = unknown("mutex: session is expired")


class Lock:
    """Lock, Unlock."""

    def __init__(self, queues: Queues) -> None:
        """Serve the member of `queues`."""
        self._member = queues.member
        self._queues = queues

    def lock(self, call: Call, message: bytes) -> None:
        """Answer once the caller holds the lock; it does until its key goes."""
        request = lock.LockRequest.FromString(message)
        prefix = request.name + b"/"

        def join(lease: int) -> None:
            key = key_of(prefix, lease)
            self._queues.commit(
                call, joined(key, b"", lease), lambda answer: self._wait(call, key, prefix, answer)
            )

        self._queues.lease(call, request.lease, join)

    def unlock(self, call: Call, message: bytes) -> None:
        """Delete the key that was given with the lock."""
        request = lock.UnlockRequest.FromString(message)
        delete = rpc.DeleteRangeRequest(key=request.key).SerializeToString()
        done = answered(call, lambda answer: call.respond(lock.UnlockResponse(), answer.revision))
        self._member.propose(RequestKind.DELETE_RANGE, delete, done, call)

    def _wait(self, call: Call, key: bytes, prefix: bytes, answer: Answer) -> None:
        revision, _ = place_in(answer)

        def hold() -> None:
            found = read(self._member, call.credential, rpc.RangeRequest(key=key))
            if isinstance(found, Answer) and rpc.RangeResponse.FromString(found.body).kvs:
                call.respond(lock.LockResponse(key=key), found.revision)
            else:
                call.fail(SESSION_EXPIRED)

        self._queues.wait(Place(self._member, call, key, prefix, revision, hold))
