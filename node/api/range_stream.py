"""etcdserverpb.KV.RangeStream: a range of any size in messages of bounded size.

    request ──► read index ──► page, page, …, last page with header, more and count
                                    └ one page in a pass of the event loop, none while the client
                                      does not read

All messages merged are the answer of Range. The revision is settled with the first page; if it is
compacted meanwhile the stream ends by Compacted, after what was sent already. etcd serves this
method from 3.7 on; clients of 3.6 do not know it, those of 3.7 ask the version first.
Source: etcd (3.7) server/etcdserver/v3_server.go, server/etcdserver/api/v3rpc/key.go.
"""

from __future__ import annotations

from collections.abc import Callable

from node.api.call import StreamCall
from node.api.errors import NO_FILTERED_STREAM, NO_SORTED_STREAM, Fault, fault_of
from node.api.identity import identify
from node.api.member import Member
from node.machine.envelope import Credential
from node.machine.errors import Refusal
from node.machine.paging import Paging
from node.machine.range import is_filtered
from node.machine.validate import check_range
from node.machine.wire import field, varint
from node.proto import rpc

PAGE_KEYS = 500
PAGE_BYTES = 128 << 10
"""A page is full with either; a single value may be larger."""
COUNT_KEYS = 5_000
"""Keys that are counted in one step, behind the limit or when only the count is asked for."""

_MORE = b"\x18\x01"
_COUNT = b"\x20"
_ANY_ORDER = (rpc.RangeRequest.NONE, rpc.RangeRequest.ASCEND)


class RangeStreams:
    """RangeStream."""

    def __init__(self, member: Member) -> None:
        """Serve `member`."""
        self._member = member

    def range_stream(self, call: StreamCall) -> RangeStream:
        """Read keys into a stream."""
        return RangeStream(self._member, call)


class RangeStream:
    """One range on its way to one client."""

    def __init__(self, member: Member, call: StreamCall) -> None:
        """Wait for the one request."""
        self._member = member
        self._call = call
        self._paging: Paging | None = None
        self._asked = False
        self._limit = 0
        self._told = 0
        """Keys that were sent."""
        self._counted = 0
        """Keys that were only counted."""
        self._paused = False
        self._held = False
        """A page is due as soon as the client reads again."""

    def received(self, message: bytes) -> None:
        """Begin; linearizable unless the request says `serializable`."""
        if self._asked:
            return
        self._asked = True
        request = rpc.RangeRequest.FromString(message)
        fault = check_range_stream(request)
        if fault is not None:
            self._call.fail(fault)
        elif request.serializable:
            self._begin(request, None)
        else:
            self._member.read(lambda stale: self._begin(request, stale))

    def half_closed(self) -> None:
        """A server stream's client says nothing after its request."""

    def pause(self) -> None:
        """The client does not read: read no more pages for it."""
        self._paused = True

    def resume(self) -> None:
        """The client reads again."""
        self._paused = False
        if self._held and self._paging is not None:
            self._held = False
            self._soon(self._send, self._paging)

    def closed(self) -> None:
        """Nothing is held; a page that is due finds the call over."""

    def _begin(self, request: rpc.RangeRequest, stale: Refusal | None) -> None:
        if stale is not None:
            self._call.fail(fault_of(stale))
        elif self._member.machine.auth.enabled:
            identify(self._call, lambda by: self._judge(request, by))
        else:
            self._read(request)

    def _judge(self, request: rpc.RangeRequest, by: Credential | None) -> None:
        refusal = self._member.machine.access.range(by, request)
        if refusal is None:
            self._read(request)
        else:
            self._call.refuse(refusal)

    def _read(self, request: rpc.RangeRequest) -> None:
        self._limit = max(request.limit, 0)
        self._paging = paging = Paging(request, self._member.machine.revision)
        self._soon(self._count if request.count_only else self._send, paging)

    def _soon(self, step: Callable[[Paging], None], paging: Paging) -> None:
        """Give others their turn first: hundreds of streams once sent a page each in one pass. It
        took seconds, and a leader its office."""
        self._call.link.in_turn(lambda: None if self._call.over else step(paging))

    def _send(self, paging: Paging) -> None:
        """Send one page, or note that one is due."""
        if self._paused:
            self._held = True
            return
        room = min(self._limit - self._told, PAGE_KEYS) if self._limit else PAGE_KEYS
        page = self._member.machine.next_page(paging, room, PAGE_BYTES)
        if isinstance(page, Refusal):
            self._call.fail(fault_of(page))
            return
        self._told += page.keys
        if paging.ended:
            self._end(paging, page.key_values)
            return
        self._call.send(field(1, page.key_values))
        self._soon(self._count if self._told == self._limit else self._send, paging)

    def _count(self, paging: Paging) -> None:
        """Count what is not sent."""
        page = self._member.machine.count_page(paging, COUNT_KEYS)
        if isinstance(page, Refusal):
            self._call.fail(fault_of(page))
            return
        self._counted += page.keys
        if paging.ended:
            self._end(paging, b"")
        else:
            self._soon(self._count, paging)

    def _end(self, paging: Paging, key_values: bytes) -> None:
        """Send the message that completes the answer."""
        more = _MORE if self._told and self._counted else b""
        total = self._told + self._counted
        count = _COUNT + varint(total) if total else b""
        header = self._member.header(paging.newest)
        self._call.send(field(1, header + key_values + more + count))
        self._call.finish()


def check_range_stream(request: rpc.RangeRequest) -> Fault | None:
    """Why a request cannot be answered key by key."""
    refusal = check_range(request)
    if refusal is not None:
        return fault_of(refusal)
    if request.sort_order not in _ANY_ORDER or request.sort_target != rpc.RangeRequest.KEY:
        return NO_SORTED_STREAM
    return NO_FILTERED_STREAM if is_filtered(request) else None
