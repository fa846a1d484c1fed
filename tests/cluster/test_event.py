"""The event log: numbering across runs, the file, followers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cluster import event as module
from cluster.document import Event
from cluster.event import EventLog, predecessor, read_events


class Clock:
    """Seconds that move only when told."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def make(path: Path, monotonic: Clock | None = None) -> EventLog:
    return EventLog(path / "events.jsonl", Clock(1_800_000_000.25), monotonic or Clock(50.0))


def test_event_carries_numbers_and_times(tmp_path: Path) -> None:
    clock = Clock(50.0)
    events = make(tmp_path, clock)
    clock.now = 51.5

    event = events.append("node.exited", "n2", signal="SIGKILL")

    assert event == {
        "seq": 1,
        "ts": "2027-01-15T08:00:00.250Z",
        "t_ms": 1500.0,
        "type": "node.exited",
        "node": "n2",
        "signal": "SIGKILL",
    }


def test_event_file_has_one_line_each(tmp_path: Path) -> None:
    events = make(tmp_path)
    kept = [events.append("a"), events.append("b", text="two\nlines")]

    lines = (tmp_path / "events.jsonl").read_text().splitlines()

    assert [json.loads(line) for line in lines] == kept


def test_event_numbers_go_on_across_runs(tmp_path: Path) -> None:
    first = make(tmp_path)
    first.append("a")
    first.append("b")
    first.close()

    assert make(tmp_path).append("c")["seq"] == 3


def test_event_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    first = make(tmp_path)
    first.append("a")
    first.close()
    path = tmp_path / "events.jsonl"
    path.write_bytes(path.read_bytes() + b'{"seq": 2, "ty')

    assert make(tmp_path).seq == 1
    assert [event["type"] for event in read_events(path)] == ["a"]


def test_event_since_gives_what_was_missed(tmp_path: Path) -> None:
    events = make(tmp_path)
    for kind in "abc":
        events.append(kind)

    assert [event["type"] for event in events.since(1)] == ["b", "c"]


def test_event_follower_hears_until_it_stops(tmp_path: Path) -> None:
    events = make(tmp_path)
    heard: list[Event] = []
    unfollow = events.follow(heard.append)
    events.append("a")
    unfollow()
    events.append("b")

    assert [event["type"] for event in heard] == ["a"]


def test_event_file_starts_over_at_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_BYTES_MAX", 300)
    events = make(tmp_path)
    for number in range(8):
        events.append("filler", number=number)
    path = tmp_path / "events.jsonl"

    assert path.stat().st_size <= 300
    assert predecessor(path).exists()
    assert list(read_events(path))[-1]["number"] == 7
    events.close()
    assert make(tmp_path).seq == 8


def test_event_unwritable_file_keeps_events_in_memory(tmp_path: Path) -> None:
    events = make(tmp_path)
    descriptor: Any = events._file
    with open("/dev/full", "wb") as full:
        import os

        os.dup2(full.fileno(), descriptor)
    events.append("a")

    assert [event["type"] for event in events.since(0)] == ["a"]
