"""Events and history as lines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.document import Reign
from tools.cli.colour import Paint
from tools.cli.event_view import event_line, history_lines, parse_time, wanted

ELECTED: dict[str, Any] = {
    "seq": 812,
    "ts": "2026-01-01T12:00:01.123Z",
    "t_ms": 252_113.4,
    "type": "leader.elected",
    "node": "n2",
    "term": 7,
    "cause": "n1 killed",
    "dur_ms": 142.613,
}
SNAPSHOT: dict[str, Any] = {"type": "snapshot", "seq": 812, "status": {}}


@pytest.mark.parametrize(
    ("event", "types", "since", "passes"),
    [
        (ELECTED, [], None, True),
        (ELECTED, ["leader.elected"], None, True),
        (ELECTED, ["node.*", "leader.*"], None, True),
        (ELECTED, ["node.*"], None, False),
        (ELECTED, [], datetime(2026, 1, 1, tzinfo=UTC), True),
        (ELECTED, [], datetime(2026, 1, 2, tzinfo=UTC), False),
        ({"type": "x", "ts": "?"}, [], datetime(2026, 1, 2, tzinfo=UTC), True),
        (SNAPSHOT, [], None, True),
        (SNAPSHOT, ["snapshot.*"], None, False),
    ],
)
def test_wanted_by_type_and_time(
    event: dict[str, Any], types: list[str], since: datetime | None, passes: bool
) -> None:
    assert wanted(event, types, since) is passes


def test_event_line_has_every_fact() -> None:
    line = event_line(ELECTED)

    assert line.split(None, 1)[1] == (
        "+252.113 s  leader.elected      n2    term=7 cause=n1 killed dur_ms=142.6"
    )
    moment = parse_time(ELECTED["ts"])
    assert moment is not None
    assert line.startswith(moment.astimezone().strftime("%H:%M:%S.123"))


def test_event_line_of_an_unknown_event_does_not_fail() -> None:
    assert event_line({"ts": 5, "t_ms": None, "type": "new\x1b[2J"}).split() == [
        "-",
        "-",
        "new�[2J",
        "-",
    ]


@pytest.mark.parametrize(
    ("kind", "code"), [("leader.lost", "31"), ("quorum.regained", "32"), ("cluster.x", "")]
)
def test_event_line_colour_by_kind(kind: str, code: str) -> None:
    line = event_line({"type": kind}, Paint(on=True))

    assert (f"\x1b[{code}m{kind}" in line) is bool(code)


def test_history_lines_ended_and_present_reign() -> None:
    ended: Reign = {
        "leader": "n1",
        "term": 1,
        "since": "2026-01-01T12:00:01Z",
        "until": "2026-01-01T12:01:01Z",
        "duration_ms": 60_000.0,
        "gap_ms": None,
        "reason": "start",
    }
    present: Reign = {
        **ended,
        "leader": "n2",
        "term": 2,
        "until": None,
        "duration_ms": None,
        "gap_ms": 142.6,
        "reason": "n1 killed",
    }

    head, first, second = history_lines([ended, present])

    assert head.split()[:3] == ["LEADER", "TERM", "SINCE"]
    assert first.split()[3:] == ["1m00s", "-", "start"]
    assert second.split()[3:] == ["still", "leads", "143", "ms", "n1", "killed"]
