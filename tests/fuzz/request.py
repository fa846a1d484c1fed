"""Targets of requests: the methods of the client port, shape checks, the machine, the envelope.

The port is driven as in life, by HTTP/2 bytes of a real client, because "no call is left without an
answer" is a promise of all the parts together. The machine is driven twice: two members that apply
the same bytes, one of which restarts after every entry, must answer and store the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Final

from google.protobuf.message import DecodeError, Message

from node.api.connection import GrpcConnection
from node.api.json_message import BadRequest, document_of, documents, fill
from node.api.server import ClientPort
from node.api.service import Services
from node.errors import InvariantViolated
from node.machine.answer import Answer
from node.machine.envelope import RequestKind, pack, unpack
from node.machine.errors import Refusal
from node.machine.machine import Machine
from node.machine.validate import (
    check_delete_range,
    check_put,
    check_range,
    check_txn,
    is_read_only,
    is_serializable,
)
from node.machine.view import MemoryView
from node.passwords import COST_MIN, Passwords
from node.proto import rpc
from tests.fuzz.peer import steps
from tests.fuzz.supervisor import Recorder, run
from tests.fuzz.target import Tape, Target, block
from tests.support.api_member import ApiMember
from tests.support.at_once import AtOnce
from transport.grpc import CallEnded, GrpcClient, UnaryReply

OPERATIONS_MAX = 128
TURNS = 12
KV: Final = "/etcdserverpb.KV/"
LEASE: Final = "/etcdserverpb.Lease/"


def requests() -> Iterator[tuple[str, Message]]:
    """Requests as clients send them, and some that are refused."""
    put = rpc.PutRequest(key=b"k", value=b"v", lease=7, prev_kv=True)
    get = rpc.RangeRequest(
        key=b"a", range_end=b"z", limit=2, revision=2, sort_order="DESCEND", sort_target="MOD"
    )
    delete = rpc.DeleteRangeRequest(key=b"k", range_end=b"\0", prev_kv=True)
    txn = rpc.TxnRequest(
        compare=[
            rpc.Compare(
                key=b"k", target=rpc.Compare.MOD, result=rpc.Compare.GREATER, mod_revision=1
            ),
            rpc.Compare(key=b"a", range_end=b"z", target=rpc.Compare.VALUE, value=b"v"),
        ],
        success=[rpc.RequestOp(request_put=put), rpc.RequestOp(request_range=get)],
        failure=[rpc.RequestOp(request_delete_range=delete)],
    )
    nested = rpc.TxnRequest(success=[rpc.RequestOp(request_txn=txn)])
    yield LEASE + "LeaseGrant", rpc.LeaseGrantRequest(ID=7, TTL=60)
    yield LEASE + "LeaseGrant", rpc.LeaseGrantRequest(TTL=9_000_000_001)
    yield KV + "Put", put
    yield KV + "Put", rpc.PutRequest(key=b"k", ignore_value=True, ignore_lease=True)
    yield KV + "Range", get
    yield KV + "Range", rpc.RangeRequest(key=b"\0", range_end=b"\0", count_only=True)
    yield KV + "Range", rpc.RangeRequest(key=b"k", serializable=True, min_mod_revision=1)
    yield KV + "Txn", txn
    yield KV + "Txn", nested
    yield KV + "Txn", rpc.TxnRequest(success=[rpc.RequestOp(request_range=get)])
    yield KV + "DeleteRange", delete
    yield KV + "Compact", rpc.CompactionRequest(revision=2, physical=True)
    yield LEASE + "LeaseTimeToLive", rpc.LeaseTimeToLiveRequest(ID=7, keys=True)
    yield LEASE + "LeaseKeepAlive", rpc.LeaseKeepAliveRequest(ID=7)
    yield LEASE + "LeaseLeases", rpc.LeaseLeasesRequest()
    yield LEASE + "LeaseRevoke", rpc.LeaseRevokeRequest(ID=7)
    yield "/etcdserverpb.Maintenance/Status", rpc.StatusRequest()
    yield (
        "/etcdserverpb.Maintenance/Alarm",
        rpc.AlarmRequest(action="ACTIVATE", memberID=0xA1, alarm="NOSPACE"),
    )
    yield (
        "/etcdserverpb.Maintenance/Alarm",
        rpc.AlarmRequest(action="DEACTIVATE", memberID=0xA1, alarm="NOSPACE"),
    )
    yield "/etcdserverpb.Cluster/MemberList", rpc.MemberListRequest(linearizable=True)
    create = rpc.WatchCreateRequest(
        key=b"a",
        range_end=b"z",
        start_revision=1,
        filters=[rpc.WatchCreateRequest.NOPUT],
        prev_kv=True,
        fragment=True,
        progress_notify=True,
        watch_id=3,
    )
    yield "/etcdserverpb.Watch/Watch", rpc.WatchRequest(create_request=create)
    cancel = rpc.WatchCancelRequest(watch_id=3)
    yield "/etcdserverpb.Watch/Watch", rpc.WatchRequest(cancel_request=cancel)


def paths() -> list[str]:
    """Every path that is served, and one that is not."""
    services = Services(ApiMember(), Random(1))
    return [*sorted((*services.unary, *services.streams)), "/etcdserverpb.KV/No"]


PATHS = paths()
ANSWER_BYTES_MAX = 16_384
BACKUP_BYTES_MAX = 131_072
"""A file of etcd's kind has its fixed pages, and one at least for each bucket."""


# The client port.


def fuzz_api(data: bytes) -> None:
    """Calls of one client, in order: every unary one is answered, every stream let go."""
    run(_call_all(Tape(data)))


async def _call_all(tape: Tape) -> None:
    member = ApiMember(passwords=Passwords(COST_MIN, AtOnce))
    port = member.port = ClientPort(member, Random(1))
    port._loop = asyncio.get_running_loop()  # as if it listened
    transport = Recorder()
    connection = GrpcConnection(port, transport)
    client = GrpcClient("localhost")
    waiting: set[int] = set()
    streams: dict[str, int] = {}
    received = calls = allowed = 0
    while tape.left and calls < 32:
        path, message = PATHS[tape.octet() % len(PATHS)], tape.block()
        calls += 1
        allowed += BACKUP_BYTES_MAX if path.endswith("/Snapshot") else ANSWER_BYTES_MAX
        if path in port.services.unary:
            waiting.add(client.unary(path, message))
        else:
            call_id = streams.setdefault(path, 0) or client.start(path)
            streams[path] = call_id
            client.send(call_id, message)
        connection.data_received(client.data_to_send())
        received += await _turns(member, transport, client, waiting)
    for call_id in streams.values():
        client.half_close(call_id)
    connection.data_received(client.data_to_send())
    received += await _turns(member, transport, client, waiting)
    assert not waiting
    connection.connection_lost(None)
    assert member.open_watches == 0
    assert received <= ANSWER_BYTES_MAX + allowed + 64 * member.machine.revision


async def _turns(
    member: ApiMember, transport: Recorder, client: GrpcClient, waiting: set[int]
) -> int:
    size = 0
    for _ in range(TURNS):
        await asyncio.sleep(0)
        assert member.port is not None
        member.port.services.poll()
        member.port._flush_now()  # what the event loop of a port that listens calls
        written, transport.content = transport.content, b""
        size += len(written)
        for event in client.receive(written, 1.0):
            if isinstance(event, UnaryReply | CallEnded):
                waiting.discard(event.call_id)
            if isinstance(event, CallEnded):
                assert 0 <= event.status <= 16
    return size


def api_seeds() -> Iterator[bytes]:
    """All requests one after the other; each alone after a put; each at every other method."""
    written = [bytes((PATHS.index(path),)) + block(m.SerializeToString()) for path, m in requests()]
    yield b"".join(written)
    for one in written:
        yield written[2] + one + one
    for number in range(len(PATHS)):
        yield written[2] + bytes((number,)) + block(b"")


# The machine.


def fuzz_machine(data: bytes) -> None:
    """Entries that passed the checks: two members agree, however they live."""
    tape = Tape(data)
    view, other_view = MemoryView(), MemoryView()
    machine, other = Machine(view), Machine(other_view)
    index = 0
    while tape.left:
        kind, request = tape.octet(), tape.block()
        if not _admitted(kind, request):
            continue
        index += 1
        before = machine.revision
        try:
            applied = machine.apply(index, kind, request)
        except InvariantViolated:
            assert kind not in list(RequestKind) or kind > RequestKind.MEMBER_PUBLISH
            return
        assert isinstance(applied.outcome, Answer | Refusal)
        assert before <= machine.revision <= before + 1
        assert bool(applied.events) <= (machine.revision == before + 1)
        view.stage(applied.effects)
        again = other.apply(index, kind, request)
        assert again == applied
        other_view.stage(again.effects)
        if kind & 0x80:
            view.stage(machine.compaction_slice(2))
        other = Machine(other_view, index)
        assert (other.revision, other.compact_revision) == (
            machine.revision,
            machine.compact_revision,
        )
        assert other.alarms() == machine.alarms()
    while effects := machine.compaction_slice(2):
        view.stage(effects)
    while effects := other.compaction_slice(3):
        other_view.stage(effects)
    assert view._records == other_view._records


def _admitted(kind: int, request: bytes) -> bool:
    """What the client port does with a request before it reaches the log."""
    try:
        match kind:
            case RequestKind.PUT:
                return check_put(rpc.PutRequest.FromString(request)) is None
            case RequestKind.DELETE_RANGE:
                return check_delete_range(rpc.DeleteRangeRequest.FromString(request)) is None
            case RequestKind.TXN:
                txn = rpc.TxnRequest.FromString(request)
                return check_txn(txn, OPERATIONS_MAX) is None
            case _:
                return True
    except DecodeError:
        return True  # a member of another release may let pass what we cannot read


KINDS: Final = {
    KV + "Put": RequestKind.PUT,
    KV + "DeleteRange": RequestKind.DELETE_RANGE,
    KV + "Txn": RequestKind.TXN,
    KV + "Compact": RequestKind.COMPACT,
    LEASE + "LeaseGrant": RequestKind.LEASE_GRANT,
    LEASE + "LeaseRevoke": RequestKind.LEASE_REVOKE,
    "/etcdserverpb.Maintenance/Alarm": RequestKind.ALARM,
}


def machine_seeds() -> Iterator[bytes]:
    """All writes in order, and each after a put."""
    member = rpc.Member(ID=1, name="n1", clientURLs=["http://127.0.0.1:2379"])
    written = [
        steps(KINDS[path], [message.SerializeToString()])
        for path, message in requests()
        if path in KINDS
    ]
    written.append(steps(RequestKind.MEMBER_PUBLISH, [member.SerializeToString()]))
    yield b"".join(written)
    yield b"".join(reversed(written))
    for one in written:
        yield written[2] + one + one


def fuzz_validate(data: bytes) -> None:
    """Any bytes as each message with a shape check: refused or not, nothing else."""
    with suppress(DecodeError):
        assert isinstance(check_range(rpc.RangeRequest.FromString(data)), Refusal | None)
    with suppress(DecodeError):
        assert isinstance(check_put(rpc.PutRequest.FromString(data)), Refusal | None)
    with suppress(DecodeError):
        request = rpc.DeleteRangeRequest.FromString(data)
        assert isinstance(check_delete_range(request), Refusal | None)
    try:
        txn = rpc.TxnRequest.FromString(data)
    except DecodeError:
        return
    if check_txn(txn, OPERATIONS_MAX) is None and is_read_only(txn):
        assert is_serializable(txn) in (True, False)


def validate_seeds() -> Iterator[bytes]:
    """Every request, and a txn as deep as protobuf reads it."""
    for _, message in requests():
        yield message.SerializeToString()
    deep = rpc.TxnRequest()
    for _ in range(40):
        deep = rpc.TxnRequest(success=[rpc.RequestOp(request_txn=deep)])
    yield deep.SerializeToString()


def fuzz_envelope(data: bytes) -> None:
    """Entry data: what `pack` made, or the end of the process."""
    try:
        envelope = unpack(data)
    except InvariantViolated:
        return
    assert pack(*envelope) == data


JSON_MESSAGES: tuple[type[Message], ...] = (
    rpc.TxnRequest,
    rpc.WatchRequest,
    rpc.RangeRequest,
    rpc.LeaseGrantRequest,
    rpc.AlarmRequest,
)


def fuzz_json(data: bytes) -> None:
    """A body of any bytes: refused, or messages that come out of their own JSON as they were."""
    tape = Tape(data)
    kind = JSON_MESSAGES[tape.octet() % len(JSON_MESSAGES)]
    try:
        for document in documents(tape.rest()):
            message, again = kind(), kind()
            fill(message, document)
            fill(again, document_of(message))
            assert again == message
    except BadRequest:
        return


def json_seeds() -> Iterator[bytes]:
    """A message of each kind with most of its fields, in both spellings of names."""
    compare = b'{"key":"YQ==","target":"MOD","mod_revision":"5"}'
    yield b'\x00{"compare":[%b],"success":[{"requestPut":{"key":"YQ=="}}]}' % compare
    create = b'{"key":"YQ==","filters":["NOPUT",1],"progressNotify":true}'
    yield b'\x01{"create_request":%b}{"cancelRequest":{"watch_id":1}}' % create
    yield b'\x02{"key":"YQ==","rangeEnd":"eg==","limit":-1,"sort_order":"DESCEND"}'
    yield b'\x03{"TTL":"9","ID":-9223372036854775808}'
    yield b'\x04{"action":1,"memberID":"18446744073709551615","alarm":"CORRUPT"} null {}'


TARGETS = (
    Target("api", fuzz_api, api_seeds, 80),
    Target("machine", fuzz_machine, machine_seeds, 150),
    Target("gateway-json", fuzz_json, json_seeds, 200),
    Target("validate", fuzz_validate, validate_seeds, 200),
    Target("envelope", fuzz_envelope, lambda: [pack(RequestKind.PUT, 1, 2, b"\x0a\x01k")], 60),
)
