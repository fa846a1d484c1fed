"""Several `conclave-etcd` as one cluster, each started by hand, over ports of loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.proto import rpc
from tests.support.dropin import (
    ETCD,
    TERMINATED,
    Fixture,
    Seat,
    Trio,
    get,
    put,
    until,
    written,
)
from tests.support.etcd_process import free_ports

BIG = 3 << 20


@pytest.fixture
def fixture(tmp_path: Path) -> Iterator[Fixture]:
    fixture = Fixture(tmp_path)
    yield fixture
    fixture.close()


@pytest.fixture
def trio(fixture: Fixture) -> Trio:
    return Trio(fixture)


def test_members_find_each_other_and_agree(trio: Trio) -> None:
    written_at, read_at = trio.seats[0], trio.seats[2]
    with written_at.client() as writer, read_at.client() as reader:
        put(writer, "a", "1")
        found = get(reader, "a")

    members = read_at.known("m1", "m2", "m3")
    assert found == "1"
    assert {name: row["peerURLs"] for name, row in members.items()} == {
        seat.name: [seat.peer_url] for seat in trio.seats
    }
    healthy = json.loads(read_at.etcdctl.done("endpoint", "health", "--cluster", "-w", "json"))
    assert [row["health"] for row in healthy] == [True, True, True]


def test_ids_are_those_of_three_etcds(tmp_path: Path) -> None:
    fixture, etcds = Fixture(tmp_path), Fixture(tmp_path / "etcd", ETCD)
    etcds.directory.mkdir()
    seats = [Seat(name) for name in ("m1", "m2", "m3")]
    told = []
    try:
        for program in (fixture, etcds):
            started = [program.start(*seat.flags(*seats)) for seat in seats]
            for each in started:
                each.ready()
            rows = seats[0].known("m1", "m2", "m3")
            header = json.loads(seats[0].etcdctl.done("member", "list", "-w", "json"))["header"]
            told.append((header["cluster_id"], {name: row["ID"] for name, row in rows.items()}))
            for each in started:
                each.kill()
    finally:
        fixture.close()
        etcds.close()

    assert told[0] == told[1]


@pytest.mark.parametrize("leading", [True, False], ids=["leader", "follower"])
def test_killed_member_is_missed_and_comes_back(trio: Trio, leading: bool) -> None:
    leader = trio.leader()
    victim = leader if leading else (leader + 1) % 3
    trio.started[victim].kill()
    with trio.client() as client:
        written(client, "while away", "1")

    trio.started[victim] = trio.start(trio.seats[victim]).ready()

    with trio.seats[victim].client() as client:
        found = get(client, "while away")
    assert found == "1"


def test_all_killed_and_started_anew_know_what_they_acknowledged(trio: Trio) -> None:
    with trio.client() as client:
        for number in range(50):
            put(client, f"key {number}", str(number))
    for started in trio.started:
        started.process.kill()
    for started in trio.started:
        started.ended()

    again = [trio.start(seat) for seat in trio.seats]
    for started in again:
        started.ready()
    with trio.client() as client:
        found = client.range(rpc.RangeRequest(key=b"key ", range_end=b"key!", count_only=True))

    assert found.count == 50


def test_added_member_joins_and_holds_everything(trio: Trio) -> None:
    with trio.client() as client:
        put(client, "before", "1")
    seat = Seat("m4")
    trio.seats[0].etcdctl.done("member", "add", seat.name, f"--peer-urls={seat.peer_url}")
    flags = seat.flags(*trio.seats, seat, existing=True)

    started = trio.fixture.start(*flags).ready()
    with trio.client() as client:
        written(client, "after", "2")
    with seat.client() as client:
        found = (get(client, "before"), get(client, "after"))
    rows = seat.known("m4")
    code = started.terminate()
    again = trio.fixture.start(*flags).ready()

    assert found == ("1", "2")
    assert rows["m4"]["clientURLs"] == [seat.client_url]
    assert code == TERMINATED
    assert rows["m4"]["ID"] == int(again.line("starting local member")["local-member-id"], 16)


def test_single_member_grows_to_three(fixture: Fixture) -> None:
    """Everybody but the first learns of the others at its start, the first from the log."""
    seats = [Seat("m1")]
    fixture.start(*seats[0].flags()).ready()
    for name in ("m2", "m3"):
        seat = Seat(name)
        ctl = seats[0].etcdctl
        until(
            lambda ctl=ctl, seat=seat: (  # type: ignore[misc]
                ctl.run(["member", "add", seat.name, f"--peer-urls={seat.peer_url}"]).code == 0
            )
        )
        seats.append(seat)
        fixture.start(*seat.flags(*seats, existing=True)).ready()
    with seats[2].client() as client:
        written(client, "a", "1")
    with seats[0].client() as client:
        found = get(client, "a")

    assert found == "1"


def test_joiner_that_nobody_added_is_refused(trio: Trio) -> None:
    seat = Seat("m4")

    started = trio.fixture.start(*seat.flags(*trio.seats, seat, existing=True))

    assert started.ended() == 1
    assert "error validating peerURLs" in started.line("failed to start etcd")["error"]


def test_joiner_without_anybody_to_ask_is_refused(fixture: Fixture) -> None:
    seat, other = Seat("m1"), Seat("m2")

    started = fixture.start(*seat.flags(seat, other, existing=True))

    assert started.ended() == 1
    assert "cannot fetch cluster info" in started.line("failed to start etcd")["error"]


def test_member_that_lost_its_data_must_not_begin_anew(trio: Trio) -> None:
    """It would vote a second time in terms in which it has voted. etcd refuses it likewise."""
    trio.started[1].kill()
    (trio.fixture.directory / "m2.etcd").rename(trio.fixture.directory / "away")

    started = trio.start(trio.seats[1])

    assert started.ended() == 1
    assert "has already been bootstrapped" in started.line("failed to start etcd")["error"]


def test_removed_member_ends_by_itself(trio: Trio) -> None:
    rows = trio.seats[0].known("m1", "m2", "m3")
    victim = (trio.leader() + 1) % 3
    survivor = trio.seats[(victim + 1) % 3]

    survivor.etcdctl.done("member", "remove", f"{rows[trio.seats[victim].name]['ID']:x}")

    assert trio.started[victim].ended() == 0
    assert trio.started[victim].line("data-dir used by this member must be removed")


def test_member_that_moves_is_found_at_its_new_address(trio: Trio) -> None:
    rows = trio.seats[0].known("m1", "m2", "m3")
    mover = trio.seats[2]
    trio.started[2].terminate()
    mover.peer_url = f"http://127.0.0.1:{free_ports(1)[0]}"
    trio.seats[0].etcdctl.done(
        "member", "update", f"{rows['m3']['ID']:x}", f"--peer-urls={mover.peer_url}"
    )

    trio.start(mover).ready()
    with trio.client() as client:
        written(client, "a", "1")
    with mover.client() as client:
        found = get(client, "a")

    assert found == "1"


def test_large_requests_travel_whole(fixture: Fixture) -> None:
    """There is no shared memory between these members: all goes through the sockets."""
    trio = Trio(fixture, f"--max-request-bytes={2 * BIG}")
    with trio.client() as client:
        client.put(rpc.PutRequest(key=b"big", value=bytes(BIG)))
    with trio.seats[(trio.leader() + 1) % 3].client() as client:
        found = client.range(rpc.RangeRequest(key=b"big"))

    assert len(found.kvs[0].value) == BIG
