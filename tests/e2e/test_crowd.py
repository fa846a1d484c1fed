"""Ten thousand watchers, and some that do not read: everybody is told everything, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psutil
import pytest

from node.proto import kv, rpc
from tests.support.burst import put_all
from tests.support.live_cluster import LiveCluster
from tests.support.raw_client import RawClient
from tools.bench.crowd import Crowd
from transport.grpc import ClientEvent, MessageReceived

pytestmark = pytest.mark.e2e

WATCHERS = 10_000
IDLE_BYTES_MAX = 4 << 10
"""What an idle watcher may cost the member that has it."""
SLOW = 8
EVENTS = 300
VALUE = bytes(100_000)
BORNE_BYTES = 12 << 20
"""What a member may hold for a client that does not read, its backlog (8 MiB) and what is in the
making; 30 MB lie between it and the present."""
PREFIX = b"slow/"


def memory(cluster: LiveCluster, node: str) -> int:
    """Resident bytes of a node that are its own: pages of files come and go as the kernel likes."""
    figures = psutil.Process(cluster.pid(node)).memory_info()
    return int(figures.rss - figures.shared)


def test_ten_thousand_watchers_are_told_of_every_put(cluster: LiveCluster) -> None:
    """`Crowd.put` fails if one of them is told nothing, or twice, or something else."""
    before = sum(memory(cluster, name) for name in cluster.names)

    async def watch() -> int:
        crowd = Crowd()
        try:
            await crowd.open(cluster.endpoints, 100, WATCHERS)
            grown = sum(memory(cluster, name) for name in cluster.names) - before
            for number in range(5):
                await crowd.put(number)
        finally:
            crowd.close()
        return grown

    assert asyncio.run(watch()) < WATCHERS * IDLE_BYTES_MAX


def test_watchers_that_do_not_read_lose_nothing(cluster: LiveCluster) -> None:
    """What is held for them is bounded; when they read again they get it all, in order."""
    node, other = cluster.followers
    first = put_all(cluster.port(cluster.leader), [(PREFIX, b"")]) + 1
    slow = [RawClient(cluster.port(node), receive_buffer=4096) for _ in range(SLOW)]
    for client in slow:
        open_watch(client, first)
    before = memory(cluster, node) - memory(cluster, other)

    records = [(PREFIX + b"%d" % number, VALUE) for number in range(EVENTS)]
    last = put_all(cluster.port(cluster.leader), records)
    for name in (node, other):
        cluster.assert_serves(name)  # so that it has applied them all

    assert memory(cluster, node) - memory(cluster, other) - before < SLOW * BORNE_BYTES
    for client in slow:
        client.wait(told_up_to(last))
        revisions = [event.kv.mod_revision for event in told(client.events)]
        assert revisions == list(range(first, last + 1))
        client.socket.close()


def open_watch(client: RawClient, start_revision: int) -> None:
    """Watch the prefix, and return when that stands; nothing more is read."""
    create = rpc.WatchCreateRequest(key=PREFIX, range_end=b"slow0", start_revision=start_revision)
    stream = client.grpc.start("/etcdserverpb.Watch/Watch")
    client.grpc.send(stream, rpc.WatchRequest(create_request=create).SerializeToString())
    client.flush()
    client.wait(lambda events: any(isinstance(event, MessageReceived) for event in events))


def told(events: list[ClientEvent]) -> list[kv.Event]:
    """All events of a watch."""
    return [
        event
        for message in events
        if isinstance(message, MessageReceived)
        for event in rpc.WatchResponse.FromString(message.message).events
    ]


def told_up_to(revision: int) -> Callable[[list[ClientEvent]], bool]:
    """Whether the last message has an event of a revision."""

    def holds(events: list[ClientEvent]) -> bool:
        found = told(events[-1:])
        return bool(found) and found[-1].kv.mod_revision >= revision

    return holds
