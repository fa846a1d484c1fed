"""When history goes by itself: the schedules by a clock of their own, then whole members."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.auto_compaction import (
    REVISION_SECONDS,
    Never,
    Periodic,
    Revisions,
    Schedule,
    schedule_of,
)
from node.config import Limits
from node.retention_text import parse_retention
from tests.support.member_cluster import MemberCluster

HOUR = 3600.0
MINUTE = 60.0


def run(
    schedule: Schedule, seconds: float, step: float, per_second: float = 1.0, begin: float = 100.0
) -> list[tuple[float, int]]:
    """(seconds, target) of every compaction, where a revision comes every so often."""
    found = []
    steps = round(seconds / step)
    for number in range(steps + 1):
        passed = number * step
        target = schedule.step(begin + passed, 1 + round(passed * per_second), leads=True)
        if target is not None:
            found.append((passed, target))
            schedule.compacted(target, begin + passed)
    return found


@pytest.mark.parametrize(
    ("period", "hours", "expected"),
    [
        # Below an hour: each time the period has passed again.
        (30 * MINUTE, 2.0, [(30, 0), (60, 27), (90, 57), (120, 87)]),
        (HOUR, 3.0, [(60, 0), (120, 54), (180, 114)]),
        # Above: first after the period, then hourly.
        (3 * HOUR, 6.0, [(180, 0), (240, 54), (300, 114), (360, 174)]),
    ],
    ids=["half an hour", "an hour", "three hours"],
)
def test_periodic_compactsToTheLastNoteThatIsOlderThanThePeriod(
    period: float, hours: float, expected: list[tuple[int, int]]
) -> None:
    found = run(Periodic(period), hours * HOUR, 1.0)

    assert [(round(at / 60), round((target - 1) / 60)) for at, target in found] == expected


@given(period=st.floats(1.0, 30 * HOUR), rate=st.floats(0.01, 50.0))
def test_periodic_neverTouchesWhatIsYounger(period: float, rate: float) -> None:
    interval = min(period, HOUR)
    found = run(Periodic(period), period + 3 * interval, interval / 20, rate)

    assert found
    for at, target in found:
        assert at >= period * 0.999
        assert target <= 1 + rate * (at - period) + rate * interval / 5 + 1
    gaps = [b[0] - a[0] for a, b in pairwise(found)]
    assert all(gap >= interval * 0.999 for gap in gaps)


def test_periodic_withoutWrites_compactsOnce() -> None:
    assert run(Periodic(MINUTE), 10 * MINUTE, 1.0, per_second=0.0) == [(60.0, 1)]


def test_periodic_thatFails_isTriedAgainAfterATenth() -> None:
    schedule = Periodic(100.0)

    asked = [at for at in range(200) if schedule.step(float(at), 1 + at, leads=True)]

    assert asked[:3] == [100, 110, 120]


def test_periodic_ofAFollower_knowsThePastWhenItLeads() -> None:
    schedule = Periodic(100.0)
    for at in range(255):
        assert schedule.step(float(at), 1 + at, leads=False) is None

    targets = [schedule.step(float(at), 1 + at, leads=True) for at in range(255, 262)]

    assert [target for target in targets if target is not None] == [1 + 160 - 10]


def test_revisions_keepTheNewest() -> None:
    found = run(Revisions(1000), 4 * REVISION_SECONDS, 1.0, per_second=2.0)

    assert found == [
        (2 * REVISION_SECONDS, 201),
        (3 * REVISION_SECONDS, 801),
        (4 * REVISION_SECONDS, 1401),
    ]


def test_revisions_withoutWrites_compactOnce() -> None:
    schedule = Revisions(10)
    asked = []
    for at in range(0, 3000, 10):
        target = schedule.step(float(at), 500, leads=True)
        if target is not None:
            asked.append(target)
            schedule.compacted(target, float(at))

    assert asked == [490]


def test_revisions_ofAFollower_areNotItsBusiness() -> None:
    schedule = Revisions(10)

    assert [schedule.step(at * 100.0, 500, leads=False) for at in range(20)] == [None] * 20


RETENTIONS: list[tuple[str, str, float]] = [
    ("periodic", "0", 0),
    ("periodic", "1", HOUR),
    ("periodic", "10h", 10 * HOUR),
    ("periodic", "1h30m", 1.5 * HOUR),
    ("periodic", "1.5h", 1.5 * HOUR),
    ("periodic", "5s", 5),
    ("periodic", "300ms", 0.3),
    ("revision", "0", 0),
    ("revision", "1000", 1000),
]


@pytest.mark.parametrize(("mode", "text", "expected"), RETENTIONS)
def test_retention_isReadAsEtcdReadsIt(mode: str, text: str, expected: float) -> None:
    assert parse_retention(mode, text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("periodic", ""),
        ("periodic", "-1"),
        ("periodic", "-1h"),
        ("periodic", "1.5"),
        ("periodic", "10 h"),
        ("periodic", "10h later"),
        ("periodic", "h"),
        ("periodic", "²"),
        ("periodic", "99999999h"),
        ("revision", "9" * 30),
        ("revision", "10h"),
        ("revision", "-5"),
        ("revision", "many"),
        ("hourly", "1"),
        ("", "1"),
    ],
)
def test_retention_thatCannotBe_isRefused(mode: str, text: str) -> None:
    with pytest.raises(ValueError, match="auto-compaction-"):
        parse_retention(mode, text)


@pytest.mark.parametrize(
    ("mode", "retention", "kind"),
    [
        ("periodic", 0.0, Never),
        ("revision", 0.0, Never),
        ("periodic", 5.0, Periodic),
        ("revision", 5.0, Revisions),
    ],
)
def test_schedule_isTheModes(mode: str, retention: float, kind: type[Schedule]) -> None:
    assert type(schedule_of(mode, retention)) is kind


# Over whole members.


def test_members_compactWhatIsOld_whoeverLeads() -> None:
    limits = Limits(auto_compaction_mode="periodic", auto_compaction_retention=5.0)
    cluster = MemberCluster(limits=limits)
    first = cluster.elect()
    for number in range(20):
        first.put(b"k", b"%d" % number)
    cluster.settle()
    written = first.machine.revision

    cluster.until(lambda: all(node.machine.compact_revision == written for node in cluster))
    first.kill()
    second = cluster.elect()
    for number in range(20):
        second.put(b"k", b"%d" % number)
    cluster.settle()
    then = second.machine.revision
    others = [node for node in cluster if node.up]
    cluster.until(lambda: all(node.machine.compact_revision == then for node in others))

    assert (written, then) == (21, 41)


def test_members_keepRevisions() -> None:
    limits = Limits(auto_compaction_mode="revision", auto_compaction_retention=7)
    cluster = MemberCluster(limits=limits)
    leader = cluster.elect()
    for number in range(20):
        leader.put(b"k", b"%d" % number)
    cluster.settle()

    cluster.until(lambda: leader.machine.compact_revision > 0, seconds=2 * REVISION_SECONDS)

    assert leader.machine.compact_revision == leader.machine.revision - 7
