"""Status page and heartbeat figures: what a supervisor can say of a node, whatever its state."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import InvariantViolated
from node.telemetry import (
    PEERS_MAX,
    SHAPE,
    WINDOW_NS,
    LinkFigures,
    RoleCode,
    Status,
    StatusPage,
    StatusPageReader,
    create_page,
)

MS = 1_000_000
SECOND = 1_000 * MS

WRITE_AND_HANG = """
import sys, time
from node.telemetry import Status, StatusPage
page = StatusPage(sys.argv[1])
page.publish(Status(pid=1, member_id=2, incarnation=3, started_at_ns=4, updated_at_ns=5, term=6))
page.answered(9, 1_000_000_000, 2_000_000)
print("written", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "page")
    create_page(path)
    return path


def status(**changes: int) -> Status:
    plain = {"pid": 1, "member_id": 2, "incarnation": 3, "started_at_ns": 4, "updated_at_ns": 5}
    return Status(**(plain | changes))


def only_link(path: str, now_ns: int) -> LinkFigures:
    (figures,) = StatusPageReader(path).links(now_ns)
    return figures


def test_page_of_a_node_that_never_started_says_nothing(path: str) -> None:
    reader = StatusPageReader(path)

    assert reader.status() is None
    assert reader.links(SECOND) == []


def test_page_size_is_fixed_and_modest(path: str) -> None:
    assert Path(path).stat().st_size == SHAPE.size() <= 64 * 1024


def test_newest_status_is_read_whole(path: str) -> None:
    page, reader = StatusPage(path), StatusPageReader(path)
    page.publish(status(term=1))
    newest = status(term=2, role=RoleCode.LEADER, leader=2**64 - 1, commit=10, corrupt=1)
    page.publish(newest)

    assert reader.status() == newest


def test_new_life_wipes_the_page(path: str) -> None:
    former = StatusPage(path)
    former.publish(status(term=1))
    former.answered(7, SECOND, MS)
    StatusPage(path)
    reader = StatusPageReader(path)

    assert reader.status() is None
    assert reader.links(SECOND) == []


def test_last_word_of_a_killed_node_stays_readable(path: str) -> None:
    node = subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_HANG, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert node.stdout is not None
    assert node.stdout.readline() == b"written\n"
    node.kill()
    node.communicate()

    assert StatusPageReader(path).status() == status(term=6)
    figures = only_link(path, 11 * SECOND)
    assert (figures.peer, figures.count, figures.max_ms, figures.age_ms) == (9, 1, 2.0, 10_000.0)


def test_link_without_answer_has_ages_and_no_round_trip(path: str) -> None:
    page = StatusPage(path)
    page.sent(7, SECOND)

    figures = only_link(path, SECOND + 30 * MS)

    assert figures == LinkFigures(
        peer=7, p50_ms=None, p99_ms=None, max_ms=None, age_ms=None, sent_age_ms=30.0, count=0
    )


def test_age_is_of_the_last_sign_of_the_peer(path: str) -> None:
    page = StatusPage(path)
    page.answered(7, SECOND, MS)
    page.heard(7, SECOND + 40 * MS)

    assert only_link(path, SECOND + 50 * MS).age_ms == 10.0


def test_links_are_listed_by_member(path: str) -> None:
    page = StatusPage(path)
    for peer in (30, 10, 20):
        page.answered(peer, SECOND, peer * MS)

    links = StatusPageReader(path).links(SECOND)

    assert [(link.peer, link.max_ms) for link in links] == [(10, 10), (20, 20), (30, 30)]


def test_section_of_a_member_that_left_is_used_again(path: str) -> None:
    page = StatusPage(path)
    for peer in range(1, PEERS_MAX + 1):
        page.sent(peer, SECOND)
    with pytest.raises(InvariantViolated):
        page.sent(100, SECOND)
    page.drop_link(5)
    page.sent(100, SECOND)

    peers = [link.peer for link in StatusPageReader(path).links(SECOND)]
    assert peers == [*range(1, 5), *range(6, PEERS_MAX + 1), 100]


def test_old_round_trips_leave_the_figures_and_stay_in_the_count(path: str) -> None:
    page = StatusPage(path)
    page.answered(7, WINDOW_NS, 900 * MS)
    page.answered(7, 2 * WINDOW_NS, MS)
    both = only_link(path, 2 * WINDOW_NS)
    page.answered(7, 3 * WINDOW_NS, MS)
    later = only_link(path, 3 * WINDOW_NS)

    assert (both.max_ms, both.count) == (900.0, 2)
    assert (later.max_ms, later.count) == (1.0, 3)
    assert later.p99_ms is not None
    assert later.p99_ms <= 1.0


def test_silence_of_two_windows_clears_the_figures_at_the_next_answer(path: str) -> None:
    page = StatusPage(path)
    page.answered(7, WINDOW_NS, 900 * MS)
    page.answered(7, 4 * WINDOW_NS, 2 * MS)

    assert only_link(path, 4 * WINDOW_NS).max_ms == 2.0


def test_round_trip_beyond_the_last_bucket_is_reported_by_the_maximum(path: str) -> None:
    page = StatusPage(path)
    page.answered(7, SECOND, 60 * SECOND)

    figures = only_link(path, SECOND)

    assert (figures.p50_ms, figures.p99_ms, figures.max_ms) == (60_000.0, 60_000.0, 60_000.0)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(50_000, 5_000_000_000), min_size=1, max_size=200))
def test_percentiles_are_right_within_a_bucket(
    tmp_path_factory: pytest.TempPathFactory, round_trips: list[int]
) -> None:
    path = str(tmp_path_factory.mktemp("telemetry") / "page")
    create_page(path)
    page = StatusPage(path)
    for round_trip in round_trips:
        page.answered(7, WINDOW_NS, round_trip)
    figures = only_link(path, WINDOW_NS)
    ordered = sorted(round_trips)

    assert figures.max_ms == ordered[-1] / 1e6
    for share, measured in ((0.5, figures.p50_ms), (0.99, figures.p99_ms)):
        exact = ordered[math.ceil(len(ordered) * share) - 1] / 1e6
        assert measured is not None
        assert exact / 1.2 <= measured <= exact * 1.2


def test_private_page_leaves_nothing_open() -> None:
    """A member that nobody supervises writes its page all the same; it goes with the process."""
    open_before = len(os.listdir("/proc/self/fd"))

    page = StatusPage.private()
    page.publish(status(term=3))
    page.sent(7, 1_000)
    page.close()

    assert len(os.listdir("/proc/self/fd")) == open_before
