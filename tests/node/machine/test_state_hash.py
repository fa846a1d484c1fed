"""The checksum of the whole state: what it sees, and what may differ between equal members."""

from __future__ import annotations

from random import Random

import pytest

from node.machine.answer import Operation
from node.machine.envelope import RequestKind
from node.machine.machine import Machine
from node.machine.record import COMPACT_PROGRESS
from node.proto import rpc
from tests.support.machine import Replica


def state_hash(machine: Machine) -> int:
    found = machine.state_hash()
    assert found is not None
    while not found.step():
        pass
    return found.crc


def busy(seed: int, entries: int = 120) -> Replica:
    """A store with everything in it: users, leases, tombstones, lives after death, large values."""
    chance, replica = Random(seed), Replica()
    replica.apply(RequestKind.LEASE_GRANT, rpc.LeaseGrantRequest(ID=7, TTL=60))
    replica.apply(
        RequestKind.MEMBER_PUBLISH, rpc.Member(ID=3, name="n3", clientURLs=["http://127.0.0.1:1"])
    )
    replica.apply(RequestKind.USER_ADD, rpc.AuthUserAddRequest(name="alice"))
    replica.apply(RequestKind.ROLE_ADD, rpc.AuthRoleAddRequest(name="reader"))
    for number in range(entries):
        key = b"k%d" % chance.randrange(9)
        act = chance.random()
        if act < 0.25:
            replica.delete(key)
        elif act < 0.3:
            replica.put(key, b"x" * 5000)
        else:
            replica.put(key, b"%d" % number, chance.choice([0, 7]))
    return replica


def records(replica: Replica) -> list[bytes]:
    return [key for key, _ in replica.view.scan(b"", b"\xff") if key != COMPACT_PROGRESS]


@pytest.mark.parametrize("seed", range(5))
def test_changeOfAnySingleRecord_shows(seed: int) -> None:
    replica = busy(seed)
    healthy = state_hash(replica.machine)
    for key in records(replica):
        value = replica.view.get(key)
        assert value is not None
        damaged = value[:-1] + bytes((value[-1] ^ 1,)) if value else b"\0"
        for operation in ((key, damaged), (key, None)):
            replica.view.stage([operation])
            assert state_hash(replica.machine) != healthy, key
        replica.view.stage([(key, value)])
    assert state_hash(replica.machine) == healthy


@pytest.mark.parametrize("seed", range(40))
def test_membersThatCompactedAtTheirOwnPace_agree(seed: int) -> None:
    """One member compacts in small slices as soon as it may, one does it all at the end."""
    chance = Random(seed)
    eager, lazy = Replica(), Replica()
    for _ in range(chance.randrange(3, 9)):
        for _ in range(chance.randrange(1, 40)):
            key = b"k%d" % chance.randrange(5)
            delete = chance.random() < 0.4
            for replica in (eager, lazy):
                if delete:
                    replica.delete(key)
                else:
                    replica.put(key, b"v")
            for _ in range(chance.randrange(3)):
                eager.compact_some(chance.choice([1, 3]))
        revision = eager.machine.revision - chance.randrange(6)
        if revision > eager.machine.compact_revision:
            eager.compact(revision)
            lazy.compact(revision)
    while eager.compact_some(2):
        pass
    while lazy.compact_some(100):
        pass

    assert state_hash(eager.machine) == state_hash(lazy.machine)


def test_memberWhoseCompactionIsUnderWay_hasNothingToCompare() -> None:
    replica = busy(1)
    replica.compact(replica.machine.revision - 5)
    assert replica.machine.state_hash() is None
    replica.compact_some(1)
    assert replica.machine.state_hash() is None
    while replica.compact_some(50):
        pass

    assert replica.machine.state_hash() is not None


def test_walk_showsTheStateAtItsBeginning_whateverIsAppliedMeanwhile() -> None:
    replica = busy(2)
    before = state_hash(replica.machine)
    walk = replica.machine.state_hash()
    assert walk is not None
    while not walk.step(records_max=3):
        replica.put(b"k1", b"meanwhile")
        replica.delete(b"k2")

    assert walk.crc == before
    assert walk.records == len(records(busy(2)))
    assert state_hash(replica.machine) != before


@pytest.mark.parametrize(("records_max", "bytes_max"), [(1, 1 << 20), (7, 1 << 20), (512, 1)])
def test_slices_areBounded_andMakeNoDifference(records_max: int, bytes_max: int) -> None:
    replica = busy(3)
    walk = replica.machine.state_hash()
    assert walk is not None
    slices, last = 0, 0
    while not walk.step(records_max, bytes_max):
        assert walk.records - last <= (records_max if bytes_max > 1 else 1)
        slices, last = slices + 1, walk.records

    assert slices > 10
    assert walk.crc == state_hash(replica.machine)


def test_emptyState_hasAChecksum() -> None:
    assert state_hash(Replica().machine) == 0


def test_check_changesNothing() -> None:
    replica = busy(4)
    before, revision = state_hash(replica.machine), replica.machine.revision
    effects: list[Operation] = list(
        replica.apply(RequestKind.STATE_CHECK, rpc.AlarmRequest()).effects
    )

    assert effects == []
    assert (state_hash(replica.machine), replica.machine.revision) == (before, revision)
