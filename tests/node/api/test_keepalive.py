"""Who says nothing, who says too much, and who must know of a leader: etcd's rules for clients."""

from __future__ import annotations

from contextlib import suppress

from node.config import Limits
from node.proto import rpc
from tests.support.api_client import ApiClient, Failed
from tests.support.api_member import ApiMember, ServedMember
from tests.support.raw_client import RawClient
from transport.grpc import CallEnded, ClientEvent
from transport.http2 import frame

STATUS = "/etcdserverpb.Maintenance/Status"
WATCH = "/etcdserverpb.Watch/Watch"
KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"
QUICK = Limits(keepalive_interval_ms=60_000, keepalive_timeout_ms=20_000)
PING = frame.encode(frame.PING, 0, 0, bytes(8))


def ended(events: list[ClientEvent]) -> bool:
    return any(isinstance(event, CallEnded) for event in events)


def refused(events: list[ClientEvent]) -> bool:
    return any(isinstance(event, CallEnded) and event.status for event in events)


def answered(events: list[ClientEvent]) -> bool:
    return bool(events)


def ask(client: RawClient) -> None:
    """One call and its answer."""
    before = len(client.events)
    client.unary(STATUS, b"")
    client.wait(lambda events: len(events) > before)


def test_silent_client_that_answers_pings_stays() -> None:
    with ServedMember(ApiMember(QUICK)) as served, RawClient(served.port) as client:
        ask(client)
        for _ in range(5):
            served.call(lambda: served.member.jump(61.0))
            client.read()  # the ping; the codec answers it
            ask(client)  # so that the answer has been heard
            served.call(lambda: served.member.jump(21.0))
        ask(client)

        assert served.call(lambda: served.client_port.connections) == 1


def test_client_that_answers_no_ping_is_cut_off() -> None:
    with ServedMember(ApiMember(QUICK)) as served, RawClient(served.port) as client:
        ask(client)

        served.call(lambda: served.member.jump(61.0))
        ping = client.socket.recv(1 << 16)
        served.call(lambda: served.member.jump(21.0))
        served.wait(lambda: served.client_port.connections == 0)

        assert PING in ping


def test_client_that_pings_too_often_is_sent_away(served: ServedMember) -> None:
    with RawClient(served.port) as client:
        client.grpc.start(WATCH)
        client.flush()
        client.socket.sendall(PING * 4)
        with suppress(ConnectionError):  # the codec may still have something to answer
            client.read_to_end()

        served.wait(lambda: served.client_port.connections == 0)


def test_streams_beyond_the_bound_are_refused() -> None:
    limits = Limits(streams_max=3)
    with ServedMember(ApiMember(limits)) as served, RawClient(served.port) as client:
        ask(client)  # the server's settings have come as well
        announced = client.grpc._connection._sender.streams_max
        client.grpc._connection._sender.streams_max = None
        for _ in range(4):
            client.grpc.start(WATCH)
        client.flush()
        events = client.wait(refused)

        assert announced == 3
        assert len([event for event in events if isinstance(event, CallEnded)]) == 2
        assert served.call(lambda: served.open_calls) == 3


def test_keep_alive_that_requires_a_leader_ends_without_one(served: ServedMember) -> None:
    with RawClient(served.port) as client:
        call_id = client.grpc.start(KEEP_ALIVE, ((b"hasleader", b"true"),))
        client.grpc.send(call_id, rpc.LeaseKeepAliveRequest(ID=7).SerializeToString())
        client.flush()
        client.wait(answered)
        served.call(served.member.lose_leader)
        events = client.wait(ended)

    (end,) = [event for event in events if isinstance(event, CallEnded)]
    assert (end.status, end.text) == (14, "etcdserver: no leader")


def test_keep_alive_that_requires_a_leader_is_refused_without_one(
    served: ServedMember, client: ApiClient
) -> None:
    served.call(served.member.lose_leader)

    answer = client.raw(KEEP_ALIVE, b"", metadata=[("hasleader", "true")])

    assert answer == Failed(14, "etcdserver: no leader")
