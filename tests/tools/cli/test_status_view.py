"""The status table against documents that the supervisor can send."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.document import Exit, LinkDocument, NodeDocument, StatusDocument
from tests.support.status_document import node_document, status_document
from tools.cli.status_view import status_lines

THIN = "\N{NARROW NO-BREAK SPACE}"


def row_of(lines: list[str], name: str) -> str:
    """The table row of one node."""
    return next(line for line in lines if line.split()[0] == name)


def exit_by(code: int | None = None, signal: str | None = None) -> Exit:
    """How a process ended."""
    return {"code": code, "signal": signal, "expected": False, "reason": "crash", "detail": ""}


def test_status_lines_headline_and_row() -> None:
    lines = status_lines(status_document())

    assert lines[0] == (
        f"default  READY  leader n2  term 7  commit 18{THIN}204  quorum 2/3 up 3"
        "  leaderless 0.31 s total (2 elections)  up 4m12s"
    )
    assert lines[1].split()[:3] == ["NODE", "ROLE", "STATE"]
    assert row_of(lines, "n1").split("  ")[0] == "n1"
    assert row_of(lines, "n1").split() == [
        "n1",
        "follower",
        "running",
        "24112",
        "4m12s",
        "0",
        "18",
        "204",
        "0",
        "8.2",
        "ms",
        "0.21",
        "/",
        "0.9",
        "ms",
        "1.8",
        "ms",
        "2%",
        "61M",
        "127.0.0.1:2379",
        "-",
    ]


def test_status_lines_one_election_is_singular() -> None:
    assert "(1 election)" in status_lines(status_document(elections=1))[0]


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"state": "paused"}, "PAUSED"),
        ({"state": "exited", "exit": exit_by(code=70)}, "EXITED(70)"),
        ({"state": "exited", "exit": exit_by(signal="SIGKILL")}, "EXITED(SIGKILL)"),
        ({"state": "exited", "exit": None}, "EXITED "),
        ({"state": "stopped", "exit": exit_by(code=0)}, "STOPPED "),
        ({"state": "running"}, "running"),
    ],
)
def test_status_lines_state_by_word(facts: dict[str, Any], shown: str) -> None:
    document = status_document(node_document("n1", **facts))

    assert shown in row_of(status_lines(document), "n1")


def test_status_lines_unexpected_end_says_why() -> None:
    ended = {**exit_by(code=71), "reason": "quarantine", "detail": "db.mark is missing"}
    asked = {**exit_by(signal="SIGKILL"), "reason": "killed", "expected": True}
    nodes = [
        node_document("n1", state="failed", exit=ended),
        node_document("n2", state="exited", exit=asked),
        node_document("n3", exit=exit_by(code=70)),
    ]

    lines = status_lines(status_document(*nodes))

    assert lines[-1] == "n1: quarantine: db.mark is missing"
    assert lines[-2].startswith("n3 ")


def test_status_lines_missing_figures_are_dashes() -> None:
    unknown = {
        key: None
        for key in NodeDocument.__annotations__
        if key not in ("name", "id", "role", "state", "restarts", "hb_rtt", "client", "faults")
    }
    rtt = {"p50_ms": None, "p99_ms": None, "max_ms": None}
    node = node_document("n1", **unknown, hb_rtt=rtt)

    row = row_of(status_lines(status_document(node)), "n1")

    assert set(row.split()) == {"n1", "follower", "running", "0", "127.0.0.1:2379", "-"}


def test_status_lines_stale_figure_carries_its_age() -> None:
    node = node_document("n1", state="paused", age_ms=4_100.0)

    assert f"18{THIN}204 (4s ago)" in row_of(status_lines(status_document(node)), "n1")


def test_status_lines_split_view_is_told() -> None:
    nodes = [node_document("n1", leader="n1"), node_document("n2"), node_document("n3")]

    assert status_lines(status_document(*nodes))[1] == (
        "split view: n1 follow n1; n2, n3 follow n2"
    )


def test_status_lines_paused_node_does_not_split_the_view() -> None:
    nodes = [node_document("n1", leader="n1", state="paused"), node_document("n2")]

    assert "split view" not in "\n".join(status_lines(status_document(*nodes)))


def test_status_lines_faults_are_named() -> None:
    node = node_document("n1", faults=["pause #4 (1.9 s left)", "slow"])

    assert row_of(status_lines(status_document(node)), "n1").endswith("pause #4 (1.9 s left), slow")


def test_status_lines_wide_adds_own_views_and_links() -> None:
    link: LinkDocument = {
        "from": "n1",
        "to": "n2",
        "p50_ms": 0.2,
        "p99_ms": 0.9,
        "max_ms": 3.0,
        "age_ms": 12.0,
        "count": 4711,
    }

    lines = status_lines(status_document(links=[link]), wide=True)

    assert {"TERM", "SEES"} <= set(lines[1].split())
    assert lines[-1].split() == [
        "n1→n2",
        "0.2",
        "ms",
        "0.9",
        "ms",
        "3.0",
        "ms",
        "12",
        "ms",
        "4",
        "711",
    ]


def test_status_lines_without_links_wide_has_no_link_table() -> None:
    assert "LINK" not in "\n".join(status_lines(status_document(), wide=True))


def test_status_lines_foreign_text_cannot_steer_the_terminal() -> None:
    document: StatusDocument = status_document(node_document("n1\x1b[2J"), cluster="x\x1b]0;y\x07")

    assert "\x1b" not in "\n".join(status_lines(document))


def test_status_lines_corrupt_node_with_the_way_out() -> None:
    """The alarm is the cluster's and shows everywhere; the state is one node's."""
    nodes = [node_document(name, faults=["alarm"]) for name in ("n1", "n3")]
    lines = status_lines(status_document(node_document("n2", faults=["corrupt", "alarm"]), *nodes))

    assert lines[-1].startswith("n2: corrupt")
    assert lines[-1].endswith("conclave replace n2")


def test_status_lines_full_store_with_the_way_out() -> None:
    """Once: the alarm shows at every node."""
    full = [node_document(name, faults=["alarm", "nospace"]) for name in ("n1", "n2", "n3")]
    lines = status_lines(status_document(*full))

    assert [line for line in lines if "the store is full" in line] == lines[-1:]
    assert lines[-1].endswith("etcdctl alarm disarm")
    assert "full" not in "\n".join(status_lines(status_document()))


def test_status_lines_states_that_differ_without_a_majority() -> None:
    torn = [node_document(name, faults=["corrupt", "alarm"]) for name in ("n1", "n2")]
    lines = status_lines(status_document(*torn))

    assert "no majority" in lines[-1]
    assert "etcdctl alarm disarm" in lines[-1]
    assert not any("conclave replace n1" in line for line in lines)
