"""What watchers are promised, whatever happens around them; and the bounds of what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from node.machine.interval import contains, interval
from node.machine.validate import check_txn
from node.proto import kv, rpc
from node.watch.hub import CATCH_UP_BYTES_MAX, CATCH_UP_OUTPUT_BYTES_MAX, PUBLISH_BYTES_MAX
from node.watch.stream import TURN_BYTES_MAX
from tests.node.watch.scenario import header, new_hub
from tests.support.machine import Replica

KEYS = [b"a", b"aa", b"b", b"c"]
INTERVALS = [(b"a", b""), (b"a", b"b"), (b"aa", b"\0"), (b"", b""), (b"\0", b"\0"), (b"c", b"")]
PUT, DELETE = kv.Event.PUT, kv.Event.DELETE


@dataclass
class Client:
    """What one watch asked for, and what it got."""

    request: rpc.WatchCreateRequest
    next_revision: int
    got: list[kv.Event] = field(default_factory=list)
    seen_revisions: set[int] = field(default_factory=set)
    promised: int = 0
    """No event up to here may come any more."""
    compacted: int = 0


class Promises(RuleBasedStateMachine):
    """Streams that pause, histories that compact, snapshots that are installed.

    Ordered, unique, atomic, complete: each watch has got exactly the matching events of history
    from its start on, each revision in one response; and progress never lies.
    """

    def __init__(self) -> None:
        super().__init__()
        self.replica = Replica()
        self.hub = new_hub(self.replica)
        self.history: list[tuple[int, kv.Event]] = []
        self.streams = [self.hub.open_stream(), self.hub.open_stream()]
        self.clients: dict[tuple[int, int], Client] = {}
        self.next_ids = dict.fromkeys(self.streams, 1)

    @rule(key=st.sampled_from(KEYS), publish=st.sampled_from([True, True, True, False]))
    def put(self, key: bytes, publish: bool) -> None:
        request = rpc.TxnRequest(success=[rpc.RequestOp(request_put=rpc.PutRequest(key=key))])
        self.change(request, publish)

    @rule(
        keys=st.lists(st.sampled_from(KEYS), min_size=1, unique=True),
        deletes=st.sampled_from([(b"a", b""), (b"aa", b"c"), (b"b", b"\0")]),
    )
    def change_many(self, keys: list[bytes], deletes: tuple[bytes, bytes]) -> None:
        request = rpc.TxnRequest(
            success=[
                *(rpc.RequestOp(request_put=rpc.PutRequest(key=key)) for key in keys),
                rpc.RequestOp(
                    request_delete_range=rpc.DeleteRangeRequest(
                        key=deletes[0], range_end=deletes[1]
                    )
                ),
            ]
        )
        if check_txn(request, 128) is None:
            self.change(request, True)

    def change(self, request: rpc.TxnRequest, publish: bool) -> None:
        before = {pair.key: pair for pair in self.replica.range(b"\0", b"\0").kvs}
        applied = self.replica.txn(request)
        for event in applied.events:
            told = kv.Event(type=DELETE if event.deleted else PUT)
            told.MergeFromString(event.kv)
            if event.key in before:
                told.prev_kv.CopyFrom(before[event.key])
            self.history.append((event.revision, told))
        if publish and applied.events:
            self.hub.publish(applied.events)
        elif applied.events:
            self.install()  # it came with a snapshot, not one by one

    @rule()
    def install(self) -> None:
        self.replica.restart()
        self.hub.replace_history(self.replica.machine)

    @rule(back=st.integers(0, 6))
    def compact(self, back: int) -> None:
        revision = self.replica.machine.revision - back
        if revision > self.replica.machine.compact_revision:
            self.replica.compact(revision)
        self.replica.compact_some(3)

    @rule(
        which=st.integers(0, 1),
        what=st.sampled_from(INTERVALS),
        back=st.integers(-3, 8),
        now=st.booleans(),
        prev_kv=st.booleans(),
        filters=st.lists(st.sampled_from(["NOPUT", "NODELETE"]), max_size=1),
    )
    def create(
        self,
        which: int,
        what: tuple[bytes, bytes],
        back: int,
        now: bool,
        prev_kv: bool,
        filters: list[str],
    ) -> None:
        stream = self.streams[which]
        start = 0 if now else max(self.hub.revision - back, 1)
        request = rpc.WatchCreateRequest(
            key=what[0],
            range_end=what[1],
            start_revision=start,
            watch_id=self.next_ids[stream],
            prev_kv=prev_kv,
            filters=filters,
        )
        self.clients[stream, request.watch_id] = Client(request, start or self.hub.revision + 1)
        self.next_ids[stream] += 1
        self.hub.handle(stream, rpc.WatchRequest(create_request=request))

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        stream, watch_id = data.draw(st.sampled_from(list(self.clients)))
        self.take()
        request = rpc.WatchCancelRequest(watch_id=watch_id)
        self.hub.handle(stream, rpc.WatchRequest(cancel_request=request))
        client = self.clients.pop((stream, watch_id))
        answers = [rpc.WatchResponse.FromString(each) for _, each in self.hub.take_output()]
        assert [each.canceled for each in answers] == ([] if client.compacted else [True])

    @rule(which=st.integers(0, 1))
    def pause(self, which: int) -> None:
        self.hub.pause(self.streams[which])

    @rule(which=st.integers(0, 1))
    def resume(self, which: int) -> None:
        self.hub.resume(self.streams[which])

    @rule(which=st.integers(0, 1))
    def ask_for_progress(self, which: int) -> None:
        request = rpc.WatchRequest(progress_request=rpc.WatchProgressRequest())
        self.hub.handle(self.streams[which], request)
        self.take()  # at once: the promise is not about watches that are created later

    @rule(events_max=st.integers(1, 3))
    def catch_up(self, events_max: int) -> None:
        self.hub.catch_up(events_max)

    @rule()
    def take(self) -> None:
        for stream, message in self.hub.take_output():
            self.receive(stream, rpc.WatchResponse.FromString(message))

    def receive(self, stream: int, response: rpc.WatchResponse) -> None:
        if response.watch_id == -1:
            for (of, _), client in self.clients.items():
                if of == stream and not client.compacted:
                    client.promised = response.header.revision
            return
        client = self.clients[stream, response.watch_id]
        assert not client.compacted
        if response.canceled:
            client.compacted = response.compact_revision
        revisions = {event.kv.mod_revision for event in response.events}
        assert all(revision > client.promised for revision in revisions), "a promise was broken"
        assert not revisions & client.seen_revisions, "a revision came in two responses"
        assert all(revision <= response.header.revision for revision in revisions)
        client.seen_revisions |= revisions
        client.got += response.events

    @rule()
    def settle(self) -> None:
        for stream in self.streams:
            self.hub.resume(stream)
        while self.hub.catch_up(2):
            pass
        self.take()

        for client in self.clients.values():
            expected = list(self.expected(client))
            if client.compacted:
                assert client.got == expected[: len(client.got)]
                rest = expected[len(client.got) :]
                assert all(event.kv.mod_revision > client.promised for event in rest)
            else:
                assert client.got == expected

    def expected(self, client: Client) -> Iterator[kv.Event]:
        request = client.request
        lo, hi = interval(request.key or b"\0", request.range_end)
        dropped = {DELETE if each == request.NODELETE else PUT for each in request.filters}
        for revision, event in self.history:
            if revision < client.next_revision or event.type in dropped:
                continue
            if contains(lo, hi, event.kv.key):
                told = kv.Event()
                told.CopyFrom(event)
                if not request.prev_kv or self.is_forgotten(client, event):
                    told.ClearField("prev_kv")
                yield told

    def is_forgotten(self, client: Client, event: kv.Event) -> bool:
        """Whether prev_kv was compacted when the event was told: then it is left out."""
        got = [each for each in client.got if each.kv.key == event.kv.key]
        same = [each for each in got if each.kv.mod_revision == event.kv.mod_revision]
        behind = event.kv.mod_revision - 1 < self.replica.machine.compact_revision
        return behind and bool(same) and not same[0].HasField("prev_kv")


Promises.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestPromises = Promises.TestCase


def create(key: bytes, start: int = 0) -> rpc.WatchRequest:
    request = rpc.WatchCreateRequest(key=key, start_revision=start)
    return rpc.WatchRequest(create_request=request)


def events_of(messages: list[tuple[int, bytes]]) -> list[int]:
    return [
        event.kv.mod_revision
        for _, message in messages
        for event in rpc.WatchResponse.FromString(message).events
    ]


def test_stream_that_gets_much_in_one_turn_catches_up_in_the_next() -> None:
    replica = Replica()
    hub = new_hub(replica)
    stream = hub.open_stream()
    hub.handle(stream, create(b"k"))
    value = b"v" * (1 << 20)
    count = 12
    for _ in range(count):
        hub.publish(replica.put(b"k", value).events)

    turns = [hub.take_output()]
    assert sum(len(message) for _, message in turns[0]) < TURN_BYTES_MAX + 2 * len(value)
    while hub.catch_up(1000):
        turns.append(hub.take_output())
    turns.append(hub.take_output())
    seen = [revision for turn in turns for revision in events_of(turn)]
    assert seen == list(range(2, 2 + count))


def test_catching_up_is_bounded_by_bytes() -> None:
    replica = Replica()
    for _ in range(6):
        replica.put(b"k", b"v" * (CATCH_UP_BYTES_MAX // 2))
    hub = new_hub(replica)
    hub.handle(hub.open_stream(), create(b"k", start=1))
    hub.take_output()

    assert hub.catch_up(1000)
    assert events_of(hub.take_output()) == [2, 3]


@pytest.mark.parametrize("value_bytes", [1_000, 1 << 20])
def test_catching_up_is_bounded_for_all_watchers_together(value_bytes: int) -> None:
    replica = Replica()
    count = CATCH_UP_BYTES_MAX // value_bytes
    for _ in range(count):
        replica.put(b"k", b"v" * value_bytes)
    hub = new_hub(replica)
    streams = [hub.open_stream() for _ in range(40)]
    for stream in streams:
        hub.handle(stream, create(b"k", 2))
    hub.take_output()

    seen: dict[int, list[int]] = {stream: [] for stream in streams}
    more = True
    while more:
        more = hub.catch_up(1_000)
        turn = hub.take_output()
        assert sum(len(message) for _, message in turn) < 3 * CATCH_UP_OUTPUT_BYTES_MAX
        for stream in streams:
            seen[stream] += events_of([entry for entry in turn if entry[0] == stream])
    assert all(revisions == list(range(2, 2 + count)) for revisions in seen.values())


def test_publishing_is_bounded_for_all_streams_together() -> None:
    replica = Replica()
    hub = new_hub(replica)
    streams = [hub.open_stream() for _ in range(40)]
    for stream in streams:
        hub.handle(stream, create(b"k"))
    hub.take_output()
    hub.publish(replica.put(b"k", b"v" * (1 << 20)).events)
    turns = [hub.take_output()]

    assert sum(len(message) for _, message in turns[0]) < PUBLISH_BYTES_MAX + (2 << 20)
    while hub.catch_up(1_000):
        turns.append(hub.take_output())
    turns.append(hub.take_output())
    told = [stream for turn in turns for stream, _ in turn]
    assert sorted(told) == streams


def test_watchers_near_the_present_do_not_wait_for_those_far_behind() -> None:
    replica = Replica()
    for _ in range(100):
        replica.put(b"k")
    hub = new_hub(replica)
    far, near = hub.open_stream(), hub.open_stream()
    hub.handle(far, create(b"k", start=2))
    hub.handle(near, create(b"k", start=100))
    hub.take_output()

    hub.catch_up(10)
    hub.catch_up(10)
    told = hub.take_output()
    assert events_of([each for each in told if each[0] == near]) == [100, 101]


def test_publishing_without_watchers_keeps_nothing() -> None:
    replica = Replica()
    hub = new_hub(replica)
    stream = hub.open_stream()
    hub.publish(replica.put(b"k").events)

    assert hub.take_output() == []
    hub.handle(stream, create(b"k"))
    ((_, created),) = hub.take_output()
    assert rpc.WatchResponse.FromString(created).header.revision == 2
    assert created.startswith(header(2))


def test_output_of_a_closed_stream_is_dropped() -> None:
    replica = Replica()
    hub = new_hub(replica)
    stream, other = hub.open_stream(), hub.open_stream()
    hub.handle(stream, create(b"k"))
    hub.handle(other, create(b"k"))
    hub.close_stream(stream)

    assert [to for to, _ in hub.take_output()] == [other]
    assert (hub.watchers, hub.watchers_behind) == (1, 0)
