"""`conclave mirror` between a real etcd and conclave, in both directions, while things happen."""

from __future__ import annotations

import itertools
import random
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from node.client import ClientError, EtcdClient
from node.proto import kv_pb2, rpc
from tests.support.dropin import CONCLAVE, ETCD, Fixture, Seat, Started, Trio, put, until
from tools.cli.exit import Exit
from tools.mirror.plan import RESERVED, prefix_end

MIRROR = (sys.executable, "-P", "-m", "tools.cli", "mirror")
State = dict[bytes, bytes]


class Ground:
    """Programs in directories below one, and clients; all ends with it."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._numbers = itertools.count()

    def fixture(self, program: tuple[str, ...]) -> Fixture:
        directory = self._directory / str(next(self._numbers))
        directory.mkdir()
        fixture = Fixture(directory, program)
        self._stack.callback(fixture.close)
        return fixture

    def single(self, program: tuple[str, ...], *flags: str) -> Seat:
        """One member, up."""
        seat = Seat("m1")
        self.fixture(program).start(*seat.flags(), *flags).ready()
        return seat

    def client(self, seat: Seat) -> EtcdClient:
        return self._stack.enter_context(seat.client())

    def mirror(self, source: str, dest: str, *options: str) -> Mirroring:
        """Start one."""
        started = self.fixture(MIRROR).start(source, dest, "--json", *options)
        return Mirroring(started)


class Mirroring:
    """A mirror that runs, or has."""

    def __init__(self, started: Started) -> None:
        self.started = started

    def steps(self) -> list[dict[str, Any]]:
        """What it has told of its progress."""
        return [line for line in self.started.lines() if line["schema"] == "conclave/mirror.v1"]

    def follows(self) -> Mirroring:
        """Wait for the end of its copy."""
        until(lambda: any(step["phase"] == "follow" for step in self.steps()))
        return self

    def failure(self) -> dict[str, Any]:
        """Why it has ended."""
        self.started.ended()
        [error] = [line for line in self.started.lines() if "error" in line["schema"]]
        return error


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with ExitStack() as stack:
        yield Ground(tmp_path, stack)


@pytest.fixture(params=["etcd to conclave", "conclave to etcd"])
def ends(request: pytest.FixtureRequest, ground: Ground) -> tuple[Seat, Seat]:
    programs = (ETCD, CONCLAVE) if request.param == "etcd to conclave" else (CONCLAVE, ETCD)
    return ground.single(programs[0]), ground.single(programs[1])


def state(client: EtcdClient, prefix: bytes = b"") -> State:
    """Everything behind a prefix but what is nobody's data."""
    request = rpc.RangeRequest(key=prefix or b"\0", range_end=prefix_end(prefix))
    kvs = client.range(request).kvs
    return {kv.key[len(prefix) :]: kv.value for kv in kvs if not kv.key.startswith(RESERVED)}


def delete(client: EtcdClient, key: bytes, range_end: bytes = b"") -> None:
    client.delete_range(rpc.DeleteRangeRequest(key=key, range_end=range_end))


def pair(client: EtcdClient, number: int) -> None:
    """Two keys in one transaction: nobody may ever see them differ."""
    value = b"%d" % number
    operations = [
        rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value))
        for key in (b"pair/left", b"pair/right")
    ]
    client.txn(rpc.TxnRequest(success=operations))


class Writer:
    """Changes keys until it is told to stop; the same for the same seed, as far as it comes."""

    def __init__(self, seat: Seat, seed: int) -> None:
        self._seat = seat
        self._chance = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.count = 0

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def wait_for(self, count: int) -> None:
        """Let it make so many more changes."""
        target = self.count + count
        until(lambda: self.count >= target or not self._thread.is_alive())
        assert self.count >= target

    def _write(self) -> None:
        chance = self._chance
        with self._seat.client() as client:
            while not self._over.is_set():
                key = f"key/{chance.randrange(40)}"
                match chance.randrange(4):
                    case 0:
                        delete(client, key.encode())
                    case 1:
                        pair(client, self.count)
                    case _:
                        put(client, key, str(self.count))
                self.count += 1


def torn_pairs(client: EtcdClient) -> list[int]:
    """Revisions of the whole history in which the two keys of `pair` were not changed alike."""
    revisions: dict[int, State] = defaultdict(dict)
    now = client.range(rpc.RangeRequest(key=b"x")).header.revision
    request = rpc.WatchCreateRequest(key=b"pair/", range_end=b"pair0", start_revision=1)
    put(client, "pair/end", "")
    for answer in client.watch(request):
        for event in answer.events:
            if event.kv.mod_revision <= now and event.type == kv_pb2.Event.PUT:
                revisions[event.kv.mod_revision][event.kv.key] = event.kv.value
        if answer.events and answer.events[-1].kv.key == b"pair/end":
            break
    delete(client, b"pair/end")
    return [
        rev for rev, seen in revisions.items() if len(set(seen.values())) != 1 or len(seen) != 2
    ]


def test_destination_equals_the_source_under_writes(
    ground: Ground, ends: tuple[Seat, Seat]
) -> None:
    source, dest = (ground.client(seat) for seat in ends)
    for number in range(300):
        put(source, f"old/{number}", "x" * number)
    with Writer(ends[0], seed=1) as writer:
        mirror = ground.mirror(ends[0].endpoint, ends[1].endpoint)
        writer.wait_for(100)
        mirror.follows()
        writer.wait_for(200)

    wanted = state(source)
    until(lambda: state(dest) == wanted)
    assert torn_pairs(dest) == []
    assert len(wanted) > 300


def test_killed_mirror_goes_on_where_it_was(ground: Ground, ends: tuple[Seat, Seat]) -> None:
    source, dest = (ground.client(seat) for seat in ends)
    put(source, "a", "1")
    addresses = ends[0].endpoint, ends[1].endpoint
    with Writer(ends[0], seed=2) as writer:
        for _ in range(3):
            mirror = ground.mirror(*addresses).follows()
            writer.wait_for(50)
            mirror.started.kill()
            writer.wait_for(50)
    last = ground.mirror(*addresses)

    wanted = state(source)
    until(lambda: state(dest) == wanted)
    assert {step["phase"] for step in last.steps()} == {"follow"}
    assert torn_pairs(dest) == []


def test_copy_that_was_killed_goes_on_behind_its_last_page(
    ground: Ground, ends: tuple[Seat, Seat]
) -> None:
    source, dest = (ground.client(seat) for seat in ends)
    for number in range(3_000):
        put(source, f"{number:04}", "")
    addresses = ends[0].endpoint, ends[1].endpoint
    first = ground.mirror(*addresses, "--max-txn-ops=5")
    until(lambda: first.steps())
    first.started.kill()
    delete(source, b"0", b"1")

    second = ground.mirror(*addresses).follows()

    wanted = state(source)
    until(lambda: state(dest) == wanted)
    assert len(wanted) == 2_000
    assert second.steps()[0]["revision"] == first.steps()[0]["revision"]


def test_leader_of_the_destination_may_die(ground: Ground) -> None:
    seat = ground.single(ETCD)
    trio = Trio(ground.fixture(CONCLAVE))
    source = ground.client(seat)
    put(source, "a", "1")
    dest = ",".join(each.endpoint for each in trio.seats)
    with Writer(seat, seed=3) as writer:
        mirror = ground.mirror(seat.endpoint, dest).follows()
        for _ in range(2):
            writer.wait_for(50)
            victim = trio.leader()
            trio.started[victim].kill()
            writer.wait_for(50)
            trio.started[victim] = trio.start(trio.seats[victim]).ready()

    wanted = state(source)
    with trio.client() as client:
        until(lambda: reached(client, wanted))
        torn = torn_pairs(client)
    assert torn == []
    assert mirror.started.process.poll() is None


def reached(client: EtcdClient, wanted: State) -> bool:
    """Whether an end that may be without a leader is in a state."""
    try:
        return state(client) == wanted
    except ClientError:
        return False


def test_prefix_takes_another_place_and_extras_stay_unless_told(
    ground: Ground, ends: tuple[Seat, Seat]
) -> None:
    source, dest = (ground.client(seat) for seat in ends)
    for key in ("a/1", "a/2", "b/1"):
        put(source, key, "source")
    for key in ("z/1", "z/extra", "other"):
        put(dest, key, "dest")
    addresses, place = (ends[0].endpoint, ends[1].endpoint), ("--prefix=a/", "--dest-prefix=z/")
    mirror = ground.mirror(*addresses, *place).follows()
    with_extras = state(dest)
    extras = mirror.steps()[-1]["extras"]
    mirror.started.kill()
    delete(dest, RESERVED + b"z/")

    ground.mirror(*addresses, *place, "--delete-extras").follows()
    ground.mirror(*addresses, "--prefix=a/", "--no-dest-prefix").follows()

    assert with_extras == {
        b"z/1": b"source",
        b"z/2": b"source",
        b"z/extra": b"dest",
        b"other": b"dest",
    }
    assert extras == 1
    assert state(dest, b"z/") == state(source, b"a/")
    assert state(dest)[b"1"] == b"source"


def test_history_that_is_gone_ends_the_mirror_or_begins_the_copy_anew(
    ground: Ground, ends: tuple[Seat, Seat]
) -> None:
    source, dest = (ground.client(seat) for seat in ends)
    put(source, "a", "1")
    put(source, "b", "1")
    addresses = ends[0].endpoint, ends[1].endpoint
    ground.mirror(*addresses).follows().started.kill()
    delete(source, b"a")
    put(source, "c", "1")
    source.compact(int(source.status().header.revision))

    failed = ground.mirror(*addresses).failure()
    ground.mirror(*addresses, "--delete-extras", "--on-compaction=restart")

    assert failed["exit"] == Exit.CONFLICT
    assert "has compacted revision" in failed["message"]
    assert "--on-compaction restart" in failed["hint"]
    until(lambda: state(dest) == {b"b": b"1", b"c": b"1"})


def test_second_mirror_to_the_same_place_ends_one_of_them(
    ground: Ground, ends: tuple[Seat, Seat]
) -> None:
    source = ground.client(ends[0])
    put(source, "a", "1")
    addresses = ends[0].endpoint, ends[1].endpoint
    mirrors = [ground.mirror(*addresses).follows() for _ in range(2)]
    with Writer(ends[0], seed=4) as writer:
        until(lambda: any(mirror.started.process.poll() is not None for mirror in mirrors))
        ended, running = sorted(mirrors, key=lambda mirror: mirror.started.process.poll() is None)
        writer.wait_for(20)

    assert "is there another mirror?" in ended.failure()["message"]
    assert running.started.process.poll() is None
    wanted = state(source)
    dest = ground.client(ends[1])
    until(lambda: state(dest) == wanted)


def test_deletion_of_more_keys_than_a_transaction_takes(
    ground: Ground, ends: tuple[Seat, Seat]
) -> None:
    source, dest = (ground.client(seat) for seat in ends)
    for number in range(300):
        put(source, f"{number}", "")
    put(source, "kept", "")
    ground.mirror(ends[0].endpoint, ends[1].endpoint).follows()

    delete(source, b"0", b":")

    until(lambda: state(dest) == {b"kept": b""})


def test_revision_to_begin_with_leaves_out_what_was_before(
    ground: Ground, ends: tuple[Seat, Seat]
) -> None:
    source, dest = (ground.client(seat) for seat in ends)
    put(source, "before", "1")
    put(source, "from here", "1")
    revision = int(source.status().header.revision)

    ground.mirror(ends[0].endpoint, ends[1].endpoint, f"--rev={revision}")

    until(lambda: state(dest) == {b"from here": b"1"})


def test_keys_that_go_with_a_lease_go_and_the_lease_stays_where_it_is(
    ground: Ground, ends: tuple[Seat, Seat]
) -> None:
    source, dest = (ground.client(seat) for seat in ends)
    lease = source.lease_grant(600)
    source.put(rpc.PutRequest(key=b"leased", value=b"1", lease=lease))
    ground.mirror(ends[0].endpoint, ends[1].endpoint).follows()
    [copied] = dest.range(rpc.RangeRequest(key=b"leased")).kvs

    source.lease_revoke(lease)

    assert (copied.lease, dest.leases()) == (0, [])
    until(lambda: state(dest) == {})


def test_each_end_may_want_to_know_who_it_is(ground: Ground, ends: tuple[Seat, Seat]) -> None:
    source, dest = (ground.client(seat) for seat in ends)
    put(source, "a", "1")
    for seat in ends:
        for words in ("user add root:pw", "user grant-role root root", "auth enable"):
            seat.etcdctl.done(*words.split())
    addresses = ends[0].endpoint, ends[1].endpoint

    stranger = ground.mirror(*addresses)
    ground.mirror(*addresses, "--source-user=root:pw", "--dest-user=root", "--dest-password=pw")

    assert "user name is empty" in stranger.failure()["message"]
    dest.log_in("root", "pw")
    until(lambda: state(dest) == {b"a": b"1"})


def test_what_cannot_be_mirrored_is_refused(ground: Ground) -> None:
    seat = ground.single(CONCLAVE)
    fixture = ground.fixture(MIRROR)
    nobody = Seat("nobody").endpoint
    runs = {
        "share keys": [seat.endpoint, seat.endpoint, "--prefix=a", "--dest-prefix=ab"],
        "cannot be reached": [nobody, seat.endpoint, "--timeout=100ms"],
        "--delete-extras": [seat.endpoint, nobody, "--on-compaction=restart"],
        "exclude each other": [seat.endpoint, nobody, "--dest-prefix=a", "--no-dest-prefix"],
    }

    said = {text: fixture.run(*words) for text, words in runs.items()}

    for text, ran in said.items():
        assert text in ran.stderr
    codes = [ran.returncode for ran in said.values()]
    assert codes == [Exit.CONFLICT, Exit.NOT_RUNNING, Exit.USAGE, Exit.USAGE]
