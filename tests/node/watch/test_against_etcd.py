"""The same history watched at a real etcd and at the hub: every event equal, field by field."""

from __future__ import annotations

import queue
from collections.abc import Iterator

from google.protobuf.message import Message
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from node.proto import kv, rpc
from tests.node.machine.test_against_etcd import (
    Etcd,
    Ours,
    deletes,
    etcd,
    plain_puts,
    shifted,
    txns,
)
from tests.node.watch.scenario import new_hub
from tests.support.etcd_process import EtcdProcess

__all__ = ["etcd"]

END = b"\xff\xff"
"""A key outside of what the examples write and inside of every watched interval."""

changes = st.lists(st.one_of(plain_puts, deletes, txns(1)), min_size=3, max_size=12)
watches = st.lists(
    st.builds(
        rpc.WatchCreateRequest,
        key=st.sampled_from([b"a", b"b", b"\0"]),
        range_end=st.just(b"\0"),
        start_revision=st.integers(2, 6),
        prev_kv=st.booleans(),
        filters=st.lists(st.sampled_from(["NODELETE"]), max_size=1),
    ),
    min_size=1,
    max_size=3,
)

Told = dict[int, list[kv.Event]]


# Shrinking would wait for etcd's slow loop of unsynced watches again and again.
@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(changes=changes, watches=watches)
def test_events_equal_etcds(
    etcd: EtcdProcess,
    changes: list[Message],
    watches: list[rpc.WatchCreateRequest],
) -> None:
    judge, ours = Etcd(etcd), Ours()
    for request in [*changes, rpc.PutRequest(key=END)]:
        judge.ask(request)
        ours.ask(request)
    for watch in watches:
        watch.start_revision = min(watch.start_revision, ours.replica.machine.revision)

    told = _watch_hub(ours, watches)
    assert told == _watch_etcd(etcd, judge.base - 1, watches)


def _watch_hub(ours: Ours, watches: list[rpc.WatchCreateRequest]) -> Told:
    hub = new_hub(ours.replica)
    stream = hub.open_stream()
    for watch in watches:
        hub.handle(stream, rpc.WatchRequest(create_request=watch))
    while hub.catch_up(3):
        pass
    told: Told = {number: [] for number in range(len(watches))}
    for _, message in hub.take_output():
        response = rpc.WatchResponse.FromString(message)
        told[response.watch_id] += response.events
    return told


def _watch_etcd(process: EtcdProcess, delta: int, watches: list[rpc.WatchCreateRequest]) -> Told:
    requests: queue.SimpleQueue[rpc.WatchRequest | None] = queue.SimpleQueue()
    for watch in watches:
        requests.put(shifted(rpc.WatchRequest(create_request=watch), delta))
    told: Told = {number: [] for number in range(len(watches))}
    waiting = set(told)
    for response in process.watch(_until_none(requests)):
        for event in response.events:
            told[response.watch_id].append(shifted(event, -delta))
            if event.kv.key == END:
                waiting.discard(response.watch_id)
        if not waiting:
            break
    requests.put(None)
    return told


def _until_none(
    requests: queue.SimpleQueue[rpc.WatchRequest | None],
) -> Iterator[rpc.WatchRequest]:
    while (request := requests.get()) is not None:
        yield request
