"""A member's name reaches the roster once; its page is never older than it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from node.publisher import PAGE_SECONDS, Publisher
from node.telemetry import Status, StatusPage, StatusPageReader, create_page
from tests.support.member_cluster import TICK_SECONDS, MemberCluster, Node


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page"
    path.touch()
    create_page(str(path))
    return path


@pytest.fixture
def reader(page: Path) -> Iterator[StatusPageReader]:
    reader = StatusPageReader(str(page))
    yield reader
    reader.close()


def publisher_of(node: Node, page: Path, told: list[str] | None = None) -> Publisher:
    return Publisher(
        node.member,
        node.loop,
        node.parts,
        StatusPage(str(page)),
        node.config.spec,
        Status(pid=77, member_id=node.id, incarnation=5, started_at_ns=1, updated_at_ns=0),
        (told if told is not None else []).append,
    )


def run(cluster: MemberCluster, publisher: Publisher, ticks: int) -> None:
    for _ in range(ticks):
        cluster.tick()
        publisher.tick(cluster.now)


def test_name_isPublishedOnce(page: Path) -> None:
    cluster = MemberCluster()
    node = cluster.elect()
    publisher = publisher_of(node, page)
    before = node.parts.core.status().last_index

    run(cluster, publisher, 200)
    cluster.converge()

    for member in cluster:
        [record] = member.machine.members()
        assert (record.id, record.name) == (node.id, f"n{node.id}")
        assert record.client_urls == (node.config.spec.client_url,)
    assert node.parts.core.status().last_index == before + 1


def test_name_isToldOnce_whenItIsInTheRosterAndSomebodyLeads(page: Path) -> None:
    cluster = MemberCluster(start=False)
    node = cluster[1]
    node.start()
    told: list[str] = []
    publisher = publisher_of(node, page, told)
    run(cluster, publisher, 100)
    without_leader = list(told)

    cluster[2].start()
    cluster.elect()
    run(cluster, publisher, 100)

    assert without_leader == []
    assert told == ["published"]


def test_addresses_areThoseThatWereGiven(page: Path) -> None:
    cluster = MemberCluster()
    node = cluster.elect()
    node.config = replace(
        node.config,
        members=tuple(
            replace(spec, peer_urls=("http://p",), advertised_urls=("http://c1", "http://c2"))
            for spec in node.config.members
        ),
    )

    run(cluster, publisher_of(node, page), 50)

    [record] = node.machine.members()
    assert record.peer_urls == ("http://p",)
    assert record.client_urls == ("http://c1", "http://c2")


def test_name_waitsForALeader_andIsTriedAgain(page: Path) -> None:
    cluster = MemberCluster(start=False)
    node = cluster[1]
    node.start()
    publisher = publisher_of(node, page)
    run(cluster, publisher, 100)
    without = node.parts.proposals.pending

    cluster[2].start()
    cluster.elect()
    run(cluster, publisher, 50)

    assert without == 0
    assert [record.name for record in node.machine.members()] == ["n1"]


def test_page_showsTheMember(page: Path, reader: StatusPageReader) -> None:
    cluster = MemberCluster()
    node = cluster.elect()
    publisher = publisher_of(node, page)
    cluster.put(3)

    run(cluster, publisher, 30)

    status = reader.status()
    assert status is not None
    assert (status.pid, status.member_id, status.incarnation) == (77, node.id, 5)
    assert status.leader == node.id
    assert status.term == node.loop.term
    assert status.applied == node.applied
    assert status.revision == node.machine.revision
    assert status.updated_at_ns > 0


def test_page_isWrittenEveryFewTicks(page: Path, reader: StatusPageReader) -> None:
    cluster = MemberCluster()
    node = cluster.elect()
    publisher = publisher_of(node, page)
    stamps = set()
    for _ in range(50):
        run(cluster, publisher, 1)
        status = reader.status()
        assert status is not None
        stamps.add(status.updated_at_ns)

    wanted = 50 * TICK_SECONDS / PAGE_SECONDS
    assert wanted - 2 <= len(stamps) <= wanted + 2


def test_lateness_isRememberedForASecond(page: Path, reader: StatusPageReader) -> None:
    cluster = MemberCluster()
    node = cluster.elect()
    publisher = publisher_of(node, page)
    run(cluster, publisher, 10)
    cluster.now += 0.07
    run(cluster, publisher, 20)
    status = reader.status()
    assert status is not None
    at_once = status.loop_lateness_max_ns

    run(cluster, publisher, 250)

    status = reader.status()
    assert status is not None
    assert 0.06e9 <= at_once <= 0.08e9
    assert status.loop_lateness_max_ns < 0.01e9
