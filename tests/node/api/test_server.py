"""The client port itself: who gets in, how calls end, and who waits for whom."""

from __future__ import annotations

import socket
import threading

import pytest

from node.api.errors import DEADLINE_EXCEEDED
from node.config import Limits
from node.proto import rpc
from tests.support.api_client import ApiClient, Failed
from tests.support.api_member import ApiMember, ServedMember
from tests.support.raw_client import RawClient
from transport.grpc import CallEnded, ClientEvent, MessageReceived, UnaryReply
from transport.http2.limits import Limits as Http2Limits

PUT = "/etcdserverpb.KV/Put"
RANGE = "/etcdserverpb.KV/Range"
WATCH = "/etcdserverpb.Watch/Watch"


def put(key: bytes, value: bytes = b"") -> bytes:
    """An encoded put."""
    return rpc.PutRequest(key=key, value=value).SerializeToString()


def watch(key: bytes) -> bytes:
    """An encoded request to watch one key from the beginning."""
    create = rpc.WatchCreateRequest(key=key, start_revision=1)
    return rpc.WatchRequest(create_request=create).SerializeToString()


def ended(events: list[ClientEvent]) -> list[tuple[int, int, str]]:
    """The calls that are over: id, status, text."""
    over: list[tuple[int, int, str]] = []
    for event in events:
        if isinstance(event, UnaryReply):
            over.append((event.call_id, 0, ""))
        elif isinstance(event, CallEnded):
            over.append((event.call_id, event.status, event.text))
    return over


def answers(events: list[ClientEvent]) -> list[bytes]:
    """The messages of all calls, whether they came in one piece or not."""
    return [event.message for event in events if isinstance(event, UnaryReply | MessageReceived)]


def cut_off(connection: socket.socket) -> bool:
    """Wait for the server to say something or close; True = it closed, in whatever way."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def watched(events: list[ClientEvent]) -> list[int]:
    """The revisions of the events that a watch delivered."""
    responses = [rpc.WatchResponse.FromString(answer) for answer in answers(events)]
    return [event.kv.mod_revision for response in responses for event in response.events]


# Paths.


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etcdserverpb.KV/Nope", "unknown method Nope for service etcdserverpb.KV"),
        ("/v3lockpb.Lock/Nope", "unknown method Nope for service v3lockpb.Lock"),
        (
            "/etcdserverpb.Maintenance/Nope",
            "unknown method Nope for service etcdserverpb.Maintenance",
        ),
        ("/nobody.Knows/This", "unknown service nobody.Knows"),
    ],
)
def test_what_is_not_served_is_unimplemented(client: ApiClient, path: str, text: str) -> None:
    assert client.raw(path, b"") == Failed(12, text)


def test_path_that_is_none_is_unimplemented(served: ServedMember) -> None:
    with RawClient(served.port) as client:
        client.unary("/nothing", b"")
        events = client.wait(lambda events: bool(ended(events)))

    assert ended(events) == [(1, 12, 'malformed method name: "/nothing"')]


# First bytes.


def test_first_bytes_may_come_one_by_one(served: ServedMember) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in b"GET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n":
            connection.send(bytes((octet,)))
        answer = connection.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 200")


def test_garbage_is_answered_and_closed(served: ServedMember) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(b"\x17\x03\x01\x02\x00garbage\r\n\r\n")
        answer = connection.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 400")


def test_half_a_preface_and_then_garbage_is_closed(served: ServedMember, client: ApiClient) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nGARBAGE AND MORE OF IT, MUCH MORE")
        connection.makefile("rb").read()

    assert client.put(b"k").header.revision == 2


def test_silent_client_is_sent_away(served: ServedMember) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        served.wait(lambda: served.client_port.connections == 1)
        served.call(lambda: served.member.jump(11.0))

        assert cut_off(connection)


def test_http_client_that_falls_silent_is_sent_away(served: ServedMember) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nx-slow: ")
        served.wait(lambda: served.client_port.connections == 1)
        served.call(lambda: served.member.jump(60.0))
        connection.sendall(b"y\r\n\r\n")
        assert not cut_off(connection)
        served.call(lambda: served.member.jump(121.0))

        assert connection.makefile("rb").read().endswith(b'"reason":""}')


def test_connections_are_bounded() -> None:
    with (
        ServedMember(ApiMember(Limits(connections_max=2))) as served,
        ApiClient(served.address) as first,
        ApiClient(served.address) as second,
    ):
        first.put(b"k")
        second.put(b"k")
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as third:
            assert cut_off(third)
        assert first.put(b"k").header.revision == 4


# How calls end.


def test_deadline_of_the_client_ends_the_call(served: ServedMember) -> None:
    served.member.hold = True
    with RawClient(served.port) as client:
        client.unary(PUT, put(b"k"), timeout=0.05)
        events = client.wait(lambda events: bool(ended(events)))

    assert ended(events) == [(1, 4, DEADLINE_EXCEEDED.text)]


def test_answer_after_the_deadline_falls_to_the_ground(served: ServedMember) -> None:
    served.member.hold = True
    with RawClient(served.port) as client:
        client.unary(RANGE, rpc.RangeRequest(key=b"k").SerializeToString(), timeout=0.05)
        client.wait(lambda events: len(ended(events)) == 1)
        served.member.hold = False
        client.unary(RANGE, rpc.RangeRequest(key=b"j").SerializeToString())
        events = client.wait(lambda events: len(ended(events)) == 2)

    assert [status for _, status, _ in ended(events)] == [4, 0]


def test_write_that_nobody_waits_for_is_not_proposed(served: ServedMember) -> None:
    served.member.hold = True
    with RawClient(served.port) as client:
        client.unary(PUT, put(b"k"), timeout=0.05)
        client.wait(lambda events: len(ended(events)) == 1)
        served.wait(lambda: served.member.status().proposals_pending == 0)
        served.member.hold = False
        client.unary(PUT, put(b"j"))
        events = client.wait(lambda events: len(ended(events)) == 2)

    assert [status for _, status, _ in ended(events)] == [4, 0]
    assert served.call(lambda: served.member.index) == 1


def test_cancelled_call_leaves_the_connection_sound(served: ServedMember) -> None:
    served.member.hold = True
    with RawClient(served.port) as client:
        first = client.unary(PUT, put(b"k"))
        second = client.unary(RANGE, rpc.RangeRequest(key=b"k").SerializeToString())
        client.grpc.cancel(first)
        client.flush()
        served.wait(lambda: served.open_calls == 1)
        served.member.hold = False
        events = client.wait(lambda events: bool(ended(events)))

    assert ended(events) == [(second, 0, "")]
    assert served.call(lambda: served.member.index) == 1


def test_member_outlives_a_client_that_leaves_mid_call(
    served: ServedMember, client: ApiClient
) -> None:
    served.member.hold = True
    with RawClient(served.port) as leaving:
        for n in range(10):
            leaving.unary(PUT, put(b"%d" % n))
        served.wait(lambda: served.open_calls == 10)
    served.wait(lambda: served.client_port.connections == 0)
    served.member.hold = False

    assert client.put(b"k").header.revision == 12


def test_unary_call_in_pieces_is_one_call(served: ServedMember) -> None:
    with RawClient(served.port) as client:
        call_id = client.grpc.start(PUT)
        client.flush()
        client.grpc.send(call_id, put(b"k", bytes(100_000)))
        client.flush()
        client.grpc.half_close(call_id)
        client.flush()
        events = client.wait(lambda events: bool(ended(events)))

    assert ended(events) == [(1, 0, "")]


# Many calls.


def test_thousand_calls_at_once_are_all_answered(served: ServedMember) -> None:
    with RawClient(served.port) as client:
        for n in range(1000):
            client.grpc.unary(PUT, put(b"%d" % n))
        client.flush()
        events = client.wait(lambda events: len(ended(events)) == 1000)

    replies = [rpc.PutResponse.FromString(answer) for answer in answers(events)]
    assert [reply.header.revision for reply in replies] == list(range(2, 1002))


def test_thousand_watch_streams_on_one_connection(served: ServedMember) -> None:
    with RawClient(served.port) as client:
        for _ in range(1000):
            client.grpc.send(client.grpc.start(WATCH), watch(b"k"))
        client.grpc.unary(PUT, put(b"k"))
        client.flush()
        events = client.wait(lambda events: len(watched(events)) == 1000)

    assert watched(events) == [2] * 1000


def test_answers_of_a_turn_leave_in_one_write(served: ServedMember) -> None:
    served.member.hold = True
    with RawClient(served.port) as client:
        for n in range(100):
            client.grpc.unary(PUT, put(b"%d" % n))
        client.flush()
        served.wait(lambda: served.open_calls == 100)
        before = served.call(lambda: served.client_port.writes)
        served.member.hold = False
        client.wait(lambda events: len(ended(events)) == 100)

    # The turn's answers, and at most the codec's own word about what it has received.
    assert served.call(lambda: served.client_port.writes) - before <= 2


def test_clients_of_one_member_see_each_other(served: ServedMember) -> None:
    def fill(name: int) -> None:
        with ApiClient(served.address) as client:
            for n in range(20):
                client.put(b"%d/%d" % (name, n))

    threads = [threading.Thread(target=fill, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with ApiClient(served.address) as client:
        response = client.range(rpc.RangeRequest(key=b"\0", range_end=b"\0", count_only=True))

    assert (response.count, response.header.revision) == (160, 161)


# Clients that do not read.


def test_watch_whose_window_is_shut_is_paused_and_catches_up(served: ServedMember) -> None:
    window = Http2Limits(stream_window_bytes=65_535, connection_window_bytes=1 << 20)
    with RawClient(served.port, window) as slow, ApiClient(served.address) as writer:
        slow.grpc.send(slow.grpc.start(WATCH), watch(b"k"))
        slow.flush()
        served.wait(lambda: served.member.open_watches == 1)
        for _ in range(40):
            writer.put(b"k", bytes(100_000))
        served.wait(lambda: served.member.paused == {1})
        events = slow.wait(lambda events: len(watched(events)) == 40)

    assert watched(events) == list(range(2, 42))


def test_client_that_does_not_read_its_socket_pauses_only_itself() -> None:
    wide = Http2Limits(stream_window_bytes=1 << 30, connection_window_bytes=1 << 30)
    limits = Limits(watch_backlog_bytes_max=1 << 20)
    with (
        ServedMember(ApiMember(limits)) as served,
        RawClient(served.port, wide, receive_buffer=65_536) as slow,
        ApiClient(served.address) as writer,
    ):
        slow.grpc.send(slow.grpc.start(WATCH), watch(b"k"))
        slow.flush()
        served.wait(lambda: served.member.open_watches == 1)
        for _ in range(120):
            writer.put(b"k", bytes(100_000))
        served.wait(lambda: bool(served.member.paused))
        events = slow.wait(lambda events: len(watched(events)) == 120)

        assert watched(events) == list(range(2, 122))
        served.wait(lambda: not served.member.paused)


def test_client_that_asks_and_does_not_read_is_not_answered_ahead() -> None:
    wide = Http2Limits(stream_window_bytes=1 << 30, connection_window_bytes=1 << 30)
    with (
        ServedMember(ApiMember(Limits(watch_backlog_bytes_max=1 << 20))) as served,
        RawClient(served.port, wide, receive_buffer=65_536) as slow,
        ApiClient(served.address) as other,
    ):
        other.put(b"k", bytes(1_000_000))
        for serializable in (True, False) * 50:
            request = rpc.RangeRequest(key=b"k", serializable=serializable)
            slow.grpc.unary(RANGE, request.SerializeToString())
        slow.flush()
        served.wait(lambda: served.open_calls > 50)

        assert other.get(b"k").count == 1
        assert served.call(lambda: served.open_calls) > 50
        events = slow.wait(lambda events: len(ended(events)) == 100)
        assert {status for _, status, _ in ended(events)} == {0}


# The end.


def test_close_lets_open_calls_end(served: ServedMember) -> None:
    served.member.hold = True
    with RawClient(served.port) as client:
        client.unary(PUT, put(b"k"))
        served.wait(lambda: served.open_calls == 1)
        closing = served.begin_close(10.0)
        served.wait(lambda: served.client_port.closing)
        served.member.hold = False
        events = client.read_to_end()
        closing.result(10)

    assert ended(events) == [(1, 0, "")]


def test_close_cuts_what_outlasts_its_grace(served: ServedMember) -> None:
    served.member.hold = True
    with RawClient(served.port) as client:
        client.unary(PUT, put(b"k"))
        served.wait(lambda: served.open_calls == 1)
        served.close(0.0)

        assert served.client_port.connections == 0


def test_closed_port_takes_no_clients(served: ServedMember) -> None:
    served.close(0.0)

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", served.port), timeout=10)


def test_port_can_be_bound_while_it_is_reserved() -> None:
    """The supervisor keeps a member's port bound, without listening, while the member is down."""
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reservation.bind(("127.0.0.1", 0))
        port = reservation.getsockname()[1]
        with (
            ServedMember(ApiMember(), port=port) as served,
            ApiClient(served.address) as client,
        ):
            assert served.port == port
            assert client.put(b"k").header.revision == 2
