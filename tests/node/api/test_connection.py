"""One gRPC connection: what it does at once, what it puts off, and what it lets go."""

from __future__ import annotations

import http.client
from contextlib import closing

import pytest

from node.api.call import Call
from node.config import Limits
from node.machine.answer import Answer
from node.machine.errors import Refusal
from node.machine.machine import Machine
from node.machine.view import MemoryView, View
from node.proto import rpc
from tests.support.api_client import ApiClient
from tests.support.api_member import ApiMember, ServedMember
from tests.support.raw_client import RawClient
from transport.grpc import CallEnded, ClientEvent, Status, UnaryReply
from transport.http2.limits import Limits as Http2Limits

RANGE = "/etcdserverpb.KV/Range"
READ = rpc.RangeRequest(key=b"k", serializable=True).SerializeToString()
FRESH_READ = rpc.RangeRequest(key=b"k").SerializeToString()


def statuses(events: list[ClientEvent]) -> list[int]:
    """How the calls ended that are over."""
    return [
        event.status if isinstance(event, CallEnded) else 0
        for event in events
        if isinstance(event, CallEnded | UnaryReply)
    ]


class SlowMember(ApiMember):
    """Each look at the clock finds a millisecond gone, as if each read had taken it."""

    def now(self) -> float:
        self.jump(0.001)
        return super().now()


class RecordingMachine(Machine):
    """Remembers which keys were read."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self.read: list[bytes] = []

    def range(self, request: rpc.RangeRequest) -> Answer | Refusal:
        self.read.append(request.key)
        return super().range(request)


def test_burst_of_reads_leaves_time_for_other_work() -> None:
    with ServedMember(SlowMember()) as served, RawClient(served.port) as client:
        for message in (READ, FRESH_READ) * 50:
            client.grpc.unary(RANGE, message)
        client.flush()
        events = client.wait(lambda events: len(statuses(events)) == 100)

        assert set(statuses(events)) == {0}
        # Ten reads at most in each pass of the event loop; with no bound it was one pass for all.
        assert served.call(lambda: served.client_port.writes) >= 10


def test_burst_of_one_client_does_not_hold_up_another() -> None:
    member = SlowMember()
    member.machine = machine = RecordingMachine(MemoryView())
    with (
        ServedMember(member) as served,
        RawClient(served.port) as busy,
        RawClient(served.port) as other,
    ):
        member.hold = True  # until all are there: then one turn lets all of them go on
        for _ in range(500):
            busy.grpc.unary(RANGE, FRESH_READ)
        busy.flush()
        served.wait(lambda: served.open_calls == 500)
        other.unary(RANGE, rpc.RangeRequest(key=b"other").SerializeToString())
        served.wait(lambda: served.open_calls == 501)
        member.hold = False
        busy.wait(lambda events: len(statuses(events)) == 500)
        other.wait(lambda events: len(statuses(events)) == 1)

        assert machine.read.index(b"other") < 50


def test_cancelled_read_is_not_made(served: ServedMember) -> None:
    served.member.machine = machine = RecordingMachine(MemoryView())
    method, _ = served.client_port.services.unary[RANGE]
    with RawClient(served.port) as client:
        served.member.hold = True
        call_id = client.unary(RANGE, FRESH_READ)
        served.wait(lambda: served.open_calls == 1)
        client.grpc.cancel(call_id)
        client.flush()
        served.wait(lambda: served.open_calls == 0)
        served.member.hold = False
        served.wait(lambda: method.handled[Status.CANCELLED] == 1)

        assert not machine.read


def test_cancelled_reads_of_a_client_that_does_not_read_are_let_go() -> None:
    narrow = Http2Limits(stream_window_bytes=65_536, connection_window_bytes=65_536)
    with (
        ServedMember(ApiMember(Limits(watch_backlog_bytes_max=1 << 20))) as served,
        RawClient(served.port, narrow) as slow,
        ApiClient(served.address) as other,
    ):
        other.put(b"k", bytes(1_000_000))
        method, _ = served.client_port.services.unary[RANGE]
        for _ in range(4):
            slow.grpc.unary(RANGE, READ)
        slow.flush()
        served.wait(lambda: served.open_calls == 4)
        for _ in range(100):
            call_id = slow.unary(RANGE, READ)
            slow.grpc.cancel(call_id)
            slow.flush()

        served.wait(lambda: method.handled[Status.CANCELLED] == 100)
        events = slow.wait(lambda events: len(statuses(events)) == 4)
        assert statuses(events) == [0, 0, 0, 0]


# Who asks.


@pytest.mark.parametrize("way", ["grpc", "gateway"])
def test_who_shows_no_certificate_has_no_common_name(served: ServedMember, way: str) -> None:
    unary = served.client_port.services.unary
    method, handler = unary[RANGE]
    found: list[str] = []

    def noting(call: Call, message: bytes) -> None:
        found.append(call.link.common_name)
        handler(call, message)

    unary[RANGE] = (method, noting)
    if way == "grpc":
        with ApiClient(served.address) as client:
            client.raw(RANGE, READ)
    else:
        with closing(http.client.HTTPConnection(served.address, timeout=10)) as connection:
            connection.request("POST", "/v3/kv/range", '{"key":"aw=="}')
            assert connection.getresponse().status == 200

    assert found == [""]
