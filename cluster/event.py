"""The cluster's events: numbered, kept in `events.jsonl`, fanned out to those who follow.

    {"seq": 812, "ts": "2026-01-31T09:21:07.123Z", "t_ms": 252113.4, "type": "leader.elected", …}

`seq` goes on across runs, so that a reader sees a gap; `t_ms` counts from the start of this
supervisor. Status and history are folds over these, so they agree. The file is a record, not a
ledger: it is written at once but not synced, and starts over at a size bound with one predecessor
kept.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeGuard

from cluster.config import parse_json
from cluster.document import Event

KEPT = 10_000
"""Events in memory, for readers that come back with the last `seq` they saw."""
FILE_BYTES_MAX = 64 << 20
TAIL_BYTES = 64 * 1024
SEQ_MAX = 2**53
"""What every reader of JSON can count to."""
MOMENT_MS_MAX = 1e15
Follower = Callable[[Event], None]


class EventLog:
    """Appends events; single writer, used from the supervisor's loop only.

    Args:
        wall: seconds since the epoch, for `ts`.
        monotonic: seconds of a clock that never jumps, for `t_ms`.
    """

    def __init__(
        self, path: Path, wall: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._path = path
        self._wall = wall
        self._monotonic = monotonic
        self._began = monotonic()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._recent: deque[Event] = deque(maxlen=KEPT)
        self._followers: set[Follower] = set()
        self.seq = _last_seq(path)

    def now_ms(self) -> float:
        """Milliseconds since this supervisor started."""
        return (self._monotonic() - self._began) * 1e3

    def append(self, kind: str, node: str | None = None, **facts: Any) -> Event:
        """Number, write and fan out one event."""
        self.seq += 1
        ts = datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="milliseconds")
        event: Event = {
            "seq": self.seq,
            "ts": ts.replace("+00:00", "Z"),
            "t_ms": round(self.now_ms(), 3),
            "type": kind,
        }
        if node is not None:
            event["node"] = node
        event.update(facts)
        self._recent.append(event)
        self._write(json.dumps(event, separators=(",", ":")).encode() + b"\n")
        for follower in tuple(self._followers):
            follower(event)
        return event

    def since(self, seq: int) -> list[Event]:
        """Events after `seq` that are still in memory, oldest first."""
        return [event for event in self._recent if event["seq"] > seq]

    def follow(self, follower: Follower) -> Callable[[], None]:
        """Call `follower` with every event from now on; returns how to stop that."""
        self._followers.add(follower)
        return lambda: self._followers.discard(follower)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _write(self, line: bytes) -> None:
        try:
            os.write(self._file, line)
            if os.fstat(self._file).st_size > FILE_BYTES_MAX:
                self._rotate()
        except OSError:
            # A full disk must not take the supervisor, and with it all nodes, down: events stay in
            # memory, and `seq` shows the gap in the file.
            return

    def _rotate(self) -> None:
        os.replace(self._path, predecessor(self._path))
        os.close(self._file)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def predecessor(path: Path) -> Path:
    """The file that events were in before the last size bound."""
    return path.with_suffix(".1.jsonl")


def read_events(path: Path) -> Iterator[Event]:
    """All events on disk, oldest first; torn or foreign lines are passed over."""
    for file in (predecessor(path), path):
        try:
            with open(file, "rb") as stream:
                yield from _events(stream.readlines())
        except FileNotFoundError:
            continue


def _events(lines: list[bytes]) -> Iterator[Event]:
    for line in lines:
        try:
            event = parse_json(line)
        except ValueError:
            continue
        if is_event(event):
            yield event


def is_event(found: Any) -> TypeGuard[Event]:
    """Whether a document has what every event of ours has, with values that can be counted on."""
    if not isinstance(found, dict):
        return False
    seq, moment = found.get("seq"), found.get("t_ms")
    return (
        type(seq) is int
        and 0 <= seq <= SEQ_MAX
        and isinstance(moment, int | float)
        and abs(moment) <= MOMENT_MS_MAX
        and isinstance(found.get("ts"), str)
        and isinstance(found.get("type"), str)
    )


def _last_seq(path: Path) -> int:
    with open(path, "rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - TAIL_BYTES))
        found = [int(event["seq"]) for event in _events(stream.readlines())]
    if not found and predecessor(path).exists():
        return _last_seq(predecessor(path))
    return max(found, default=0)
