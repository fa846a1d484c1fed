"""Clients that others wrote, against three nodes and against a real etcd: they see no difference.

aetcd brings messages and stubs of its own; etcd3gw knows nothing but JSON; h2load brings an HTTP/2
of its own, and counts what is not answered well.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import aetcd  # type: ignore[import-untyped]
import etcd3gw
import pytest

from node.proto import rpc
from tests.support.judged_server import JudgedServer
from tests.support.kubernetes import KubernetesStore
from transport.grpc.message import encode_message

pytestmark = pytest.mark.e2e

Deed = Callable[[Any, bytes], Awaitable[None]]
numbers = count(1)
REQUESTS = 2_000


async def keys(client: Any, name: bytes) -> None:
    """Put, get, prefixes, deletions."""
    assert (await client.put(name + b"a", b"one")).prev_kv is None
    assert (await client.put(name + b"a", b"two", prev_kv=True)).prev_kv.value == b"one"
    await client.put(name + b"b", b"three")

    found = await client.get(name + b"a")
    assert (found.value, found.version) == (b"two", 2)
    assert await client.get(name + b"absent") is None
    listed = await client.get_prefix(name, sort_order="descend", sort_target="key")
    assert [pair.key for pair in listed] == [name + b"b", name + b"a"]
    assert await client.replace(name + b"a", b"two", b"four")
    assert not await client.replace(name + b"a", b"two", b"five")
    assert await client.delete(name + b"a")
    assert not await client.delete(name + b"a")
    assert (await client.delete_prefix(name)).deleted == 1


async def transactions(client: Any, name: bytes) -> None:
    """Both branches."""
    made = client.transactions
    for expected in (True, False):
        succeeded, answers = await client.transaction(
            compare=[made.version(name) == 0],
            success=[made.put(name, b"one"), made.get(name)],
            failure=[made.get(name)],
        )
        assert succeeded is expected
        assert len(answers) == (2 if expected else 1)


async def watches(client: Any, name: bytes) -> None:
    """A prefix, from the first change on, with what was before."""
    watch = await client.watch_prefix(name, prev_kv=True)
    await client.put(name + b"a", b"one")
    await client.put(name + b"a", b"two")
    await client.delete(name + b"a")
    seen = []
    async for event in watch:
        seen.append((event.kind, event.kv.value, event.prev_kv and event.prev_kv.value))
        if len(seen) == 3:
            break
    await watch.cancel()

    kinds, values, before = zip(*seen, strict=True)
    assert kinds[0] == kinds[1] != kinds[2]
    assert values == (b"one", b"two", b"")
    assert [value or b"" for value in before] == [b"", b"one", b"two"]


async def leases(client: Any, name: bytes) -> None:
    """Granted, attached, kept alive, revoked."""
    lease = await client.lease(600)
    await client.put(name, b"held", lease=lease)
    assert list(await lease.keys()) == [name]
    assert await lease.granted_ttl() == 600
    assert 0 < await lease.remaining_ttl() <= 600
    await lease.refresh()
    await lease.revoke()
    assert await client.get(name) is None


async def locks(client: Any, name: bytes) -> None:
    """Who holds it, and who does not get it."""
    first, second = client.lock(name, ttl=60), client.lock(name, ttl=60)
    assert await first.acquire(timeout=10)
    assert await first.is_acquired()
    assert not await second.acquire(timeout=0.2)
    await first.release()
    assert await second.acquire(timeout=10)
    await second.release()


async def maintenance(client: Any, name: bytes) -> None:
    """Status, members, alarms, history."""
    status = await client.status()
    members = [member async for member in client.members()]
    assert len(members) == 3
    assert status.raft_term > 0
    assert [alarm async for alarm in client.list_alarms()] == []
    first = await client.put(name, b"one")
    await client.put(name, b"two")
    await client.compact(first.header.revision + 1)


@pytest.mark.parametrize(
    "deed", [keys, transactions, watches, leases, locks, maintenance], ids=lambda d: d.__name__
)
def test_aetcd(server: JudgedServer, deed: Deed) -> None:
    async def run() -> None:
        host, _, port = server.endpoints[next(numbers) % 3].rpartition(":")
        async with aetcd.Client(host=host, port=int(port), timeout=30) as client:
            await deed(client, b"aetcd/%d/" % next(numbers))

    asyncio.run(asyncio.wait_for(run(), 60))


def test_etcd3gw(server: JudgedServer) -> None:
    """Everything through the JSON gateway."""
    host, _, port = server.endpoints[next(numbers) % 3].rpartition(":")
    client = etcd3gw.Etcd3Client(host=host, port=int(port), api_path="/v3/", timeout=30)
    name = f"gw/{next(numbers)}/"

    assert len(client.members()) == 3
    assert int(client.status()["header"]["revision"]) > 0
    assert client.create(name + "a", "one")
    assert not client.create(name + "a", "two")
    assert client.replace(name + "a", "one", "two")
    assert client.get(name + "a") == [b"two"]
    start = int(client.status()["header"]["revision"]) + 1
    client.put(name + "b", b"\x00\xff")
    assert [value for value, _ in client.get_prefix(name)] == [b"two", b"\x00\xff"]

    events, cancel = client.watch_prefix(name, start_revision=start)
    assert client.delete(name + "b")
    seen = [next(events) for _ in range(2)]
    cancel()
    assert [event["kv"]["key"] for event in seen] == [name.encode() + b"b"] * 2
    assert [event.get("type", "PUT") for event in seen] == ["PUT", "DELETE"]

    lease = client.lease(600)
    client.put(name + "leased", "held", lease=lease)
    assert (lease.keys(), lease.refresh()) == ([name.encode() + b"leased"], 600)
    lease.revoke()
    assert client.get(name + "leased") == []
    with client.lock(name + "lock", ttl=60) as held:
        assert held.is_acquired()
        assert not client.lock(name + "lock", ttl=60).acquire()


@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load (nghttp2) is not installed")
@pytest.mark.parametrize("streams", [1, 20])
def test_h2load_is_answered_well(server: JudgedServer, tmp_path: Path, streams: int) -> None:
    """Calls without end of connections that another HTTP/2 implementation drives."""
    with KubernetesStore(server.endpoints[0]) as store:
        store.create(b"h2load", b"value")
    body = tmp_path / "body"
    body.write_bytes(encode_message(rpc.RangeRequest(key=b"h2load").SerializeToString()))
    command = ["h2load", f"-n{REQUESTS}", "-c10", f"-m{streams}", f"--data={body}"]
    headers = ["-Hcontent-type: application/grpc", "-Hte: trailers"]

    url = f"http://{server.endpoints[0]}/etcdserverpb.KV/Range"
    ran = subprocess.run([*command, *headers, url], capture_output=True, text=True, timeout=60)

    summary = re.search(r"requests: (\d+) total.* (\d+) succeeded, (\d+) failed", ran.stdout)
    assert summary is not None, ran.stdout
    assert [int(number) for number in summary.groups()] == [REQUESTS, REQUESTS, 0]
    assert f"status codes: {REQUESTS} 2xx" in ran.stdout
