"""Between etcd's protobuf messages and the records of a history.

The only module here that knows of protobuf, and of nothing else of the product; whoever judges a
recorded file does not need it. A recorder makes its messages of a history's requests, so that what
it asked is on record as it was meant, and takes the answers apart again:

    Put, Range, Txn, …  ──message_of──►  bytes on the wire
    bytes of the answer ──response_of──► PutResponse, RangeResponse, TxnResponse, …
    text of an error    ──outcome_of──►  failed, or unknown
    a watch response    ──watch_record──► WatchCreated, WatchResponse, WatchCanceled
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from google.protobuf.message import Message

from node.proto import kv_pb2, rpc_pb2
from tools.check.errors import InvariantViolated
from tools.check.history import (
    Compact,
    CompactResponse,
    Compare,
    DeleteRange,
    DeleteRangeResponse,
    Event,
    KeyValue,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseResponse,
    LeaseRevoke,
    LeaseTimeToLive,
    Outcome,
    Put,
    PutResponse,
    Range,
    RangeResponse,
    Request,
    Response,
    Txn,
    TxnOperation,
    TxnOperationResponse,
    TxnResponse,
    WatchCanceled,
    WatchCreated,
    WatchResponse,
)

_RELATIONS: Final = {"=": 0, ">": 1, "<": 2, "!=": 3}
_TARGETS: Final = {"version": 0, "create": 1, "mod": 2, "value": 3, "lease": 4}
_GIVEN: Final = {
    "version": "version",
    "create": "create_revision",
    "mod": "mod_revision",
    "value": "value",
    "lease": "lease",
}

REFUSED: Final = frozenset(
    f"etcdserver: {text}"
    for text in (
        "key is not provided",
        "key not found",
        "value is provided",
        "lease is provided",
        "too many operations in txn request",
        "duplicate key given in txn request",
        "invalid sort option",
        "mvcc: required revision has been compacted",
        "mvcc: required revision is a future revision",
        "mvcc: database space exceeded",
        "too large lease TTL",
        "requested lease not found",
        "lease already exists",
        "too many requests",
        "request is too large",
        "rpc not supported for learner",
    )
)
"""Errors after which a request certainly had no effect. All others leave it open: that there is no
leader now, for one, says nothing of the leader that the request was given to before."""

_Answer: TypeAlias = (
    rpc_pb2.PutResponse
    | rpc_pb2.RangeResponse
    | rpc_pb2.DeleteRangeResponse
    | rpc_pb2.TxnResponse
    | rpc_pb2.CompactionResponse
    | rpc_pb2.LeaseGrantResponse
    | rpc_pb2.LeaseRevokeResponse
    | rpc_pb2.LeaseKeepAliveResponse
    | rpc_pb2.LeaseTimeToLiveResponse
)

ANSWERS: Final[dict[type[Request], type[_Answer]]] = {
    Put: rpc_pb2.PutResponse,
    Range: rpc_pb2.RangeResponse,
    DeleteRange: rpc_pb2.DeleteRangeResponse,
    Txn: rpc_pb2.TxnResponse,
    Compact: rpc_pb2.CompactionResponse,
    LeaseGrant: rpc_pb2.LeaseGrantResponse,
    LeaseRevoke: rpc_pb2.LeaseRevokeResponse,
    LeaseKeepAlive: rpc_pb2.LeaseKeepAliveResponse,
    LeaseTimeToLive: rpc_pb2.LeaseTimeToLiveResponse,
}
"""Which message answers which request."""


def outcome_of(error: str) -> Outcome:
    """Tell what an error's text leaves open."""
    return "failed" if error in REFUSED else "unknown"


# Requests.


def message_of(request: Request) -> Message:
    """Give the message that asks for this."""
    match request:
        case Put() | Range() | DeleteRange() | Txn():
            return _operation(request)
        case Compact(revision=revision):
            return rpc_pb2.CompactionRequest(revision=revision)
        case LeaseGrant(lease=lease, ttl=ttl):
            return rpc_pb2.LeaseGrantRequest(ID=lease, TTL=ttl)
        case LeaseRevoke(lease=lease):
            return rpc_pb2.LeaseRevokeRequest(ID=lease)
        case LeaseKeepAlive(lease=lease):
            return rpc_pb2.LeaseKeepAliveRequest(ID=lease)
        case LeaseTimeToLive(lease=lease):
            return rpc_pb2.LeaseTimeToLiveRequest(ID=lease)


def _operation(request: TxnOperation) -> Message:
    match request:
        case Put():
            return _put(request)
        case Range():
            return _range(request)
        case DeleteRange():
            return _delete(request)
        case Txn():
            return _txn(request)


def _put(request: Put) -> rpc_pb2.PutRequest:
    return rpc_pb2.PutRequest(
        key=request.key,
        value=request.value,
        lease=request.lease,
        prev_kv=request.prev_kv,
        ignore_value=request.ignore_value,
        ignore_lease=request.ignore_lease,
    )


def _range(request: Range) -> rpc_pb2.RangeRequest:
    return rpc_pb2.RangeRequest(
        key=request.key,
        range_end=request.range_end,
        revision=request.revision,
        limit=request.limit,
        serializable=request.serializable,
        keys_only=request.keys_only,
        count_only=request.count_only,
    )


def _delete(request: DeleteRange) -> rpc_pb2.DeleteRangeRequest:
    return rpc_pb2.DeleteRangeRequest(
        key=request.key, range_end=request.range_end, prev_kv=request.prev_kv
    )


def _txn(request: Txn) -> rpc_pb2.TxnRequest:
    return rpc_pb2.TxnRequest(
        compare=[_compare(each) for each in request.compare],
        success=[_step(each) for each in request.success],
        failure=[_step(each) for each in request.failure],
    )


def _step(request: TxnOperation) -> rpc_pb2.RequestOp:
    match request:
        case Put():
            return rpc_pb2.RequestOp(request_put=_put(request))
        case Range():
            return rpc_pb2.RequestOp(request_range=_range(request))
        case DeleteRange():
            return rpc_pb2.RequestOp(request_delete_range=_delete(request))
        case Txn():
            return rpc_pb2.RequestOp(request_txn=_txn(request))


def _compare(compare: Compare) -> rpc_pb2.Compare:
    message = rpc_pb2.Compare(
        result=rpc_pb2.Compare.CompareResult.Name(_RELATIONS[compare.relation]),
        target=rpc_pb2.Compare.CompareTarget.Name(_TARGETS[compare.target]),
        key=compare.key,
        range_end=compare.range_end,
    )
    setattr(message, _GIVEN[compare.target], compare.given)
    return message


# Responses.


def response_of(request: Request, message: bytes) -> Response:
    """Take apart the answer to a request.

    Raises:
        DecodeError: the bytes are no such message.
    """
    answer = ANSWERS[type(request)].FromString(message)
    revision = answer.header.revision
    match answer:
        case rpc_pb2.CompactionResponse():
            return CompactResponse(revision)
        case rpc_pb2.LeaseRevokeResponse():
            lease = request.lease if isinstance(request, LeaseRevoke) else 0
            return LeaseResponse(revision, lease)
        case (
            rpc_pb2.LeaseGrantResponse()
            | rpc_pb2.LeaseKeepAliveResponse()
            | rpc_pb2.LeaseTimeToLiveResponse()
        ):
            return LeaseResponse(revision, answer.ID, answer.TTL)
        case _:
            return _operation_response(answer, revision)


def _operation_response(
    answer: rpc_pb2.PutResponse
    | rpc_pb2.RangeResponse
    | rpc_pb2.DeleteRangeResponse
    | rpc_pb2.TxnResponse,
    revision: int,
) -> TxnOperationResponse:
    match answer:
        case rpc_pb2.PutResponse():
            prev_kv = key_value(answer.prev_kv) if answer.HasField("prev_kv") else None
            return PutResponse(revision, prev_kv)
        case rpc_pb2.RangeResponse():
            return RangeResponse(revision, _key_values(answer.kvs), answer.more, answer.count)
        case rpc_pb2.DeleteRangeResponse():
            return DeleteRangeResponse(revision, answer.deleted, _key_values(answer.prev_kvs))
        case rpc_pb2.TxnResponse():
            steps = tuple(map(_step_response, answer.responses))
            return TxnResponse(revision, answer.succeeded, steps)


def _step_response(step: rpc_pb2.ResponseOp) -> TxnOperationResponse:
    """Inside a transaction the header's revision is left out: the whole has one."""
    match step.WhichOneof("response"):
        case "response_put":
            return _operation_response(step.response_put, 0)
        case "response_range":
            return _operation_response(step.response_range, 0)
        case "response_delete_range":
            return _operation_response(step.response_delete_range, 0)
        case "response_txn":
            return _operation_response(step.response_txn, 0)
        case _:
            raise InvariantViolated("an operation of a transaction has no answer")


def key_value(kv: kv_pb2.KeyValue) -> KeyValue:
    """Take a key apart."""
    return KeyValue(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)


def _key_values(kvs: Iterable[kv_pb2.KeyValue]) -> tuple[KeyValue, ...]:
    return tuple(map(key_value, kvs))


# Watches.


def watch_created(
    told: rpc_pb2.WatchResponse,
    asked: rpc_pb2.WatchCreateRequest,
    *,
    stream: str,
    position: int,
    at_ns: int,
    subscription: str,
    endpoint: str,
) -> WatchCreated:
    """Give the record of a created response; `asked` is the request that it answers."""
    filters = list(asked.filters)
    return WatchCreated(
        stream,
        position,
        told.watch_id,
        at_ns,
        subscription,
        endpoint,
        told.header.revision,
        asked.key,
        asked.range_end,
        asked.start_revision,
        prev_kv=asked.prev_kv,
        no_put=rpc_pb2.WatchCreateRequest.NOPUT in filters,
        no_delete=rpc_pb2.WatchCreateRequest.NODELETE in filters,
    )


def watch_record(
    told: rpc_pb2.WatchResponse, *, stream: str, position: int, at_ns: int
) -> WatchResponse | WatchCanceled:
    """Give the record of any response but a created one; fragments must have been joined."""
    if told.canceled:
        return WatchCanceled(stream, position, told.watch_id, at_ns, told.compact_revision)
    events = _events(told.events)
    return WatchResponse(stream, position, told.watch_id, at_ns, told.header.revision, events)


def _events(events: Sequence[kv_pb2.Event]) -> tuple[Event, ...]:
    return tuple(
        Event(
            "delete" if event.type == kv_pb2.Event.DELETE else "put",
            key_value(event.kv),
            key_value(event.prev_kv) if event.HasField("prev_kv") else None,
        )
        for event in events
    )
