"""Who leads, since when, and how long nobody did: a fold over events. Pure.

Two readers fold the same facts: the supervisor while they happen (`Leadership`), and the history
over the event file (`reigns`). A leader is lost when its process dies or is paused, when it says
that it stepped down, or when a higher term elects another. A paused leader that wakes before
anybody missed it leads on in its old term: it is regained, and nobody was elected.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from cluster.document import Event, Reign

Change = Literal["elected", "regained"]


class Leadership:
    """The present leader by the supervisor's knowledge; times are milliseconds of any one clock."""

    def __init__(self) -> None:
        self.leader: str | None = None
        self.term = 0
        self.elections = 0
        self._leaderless_ms = 0.0
        self._vacant_since: float | None = None

    def elected(self, node: str, term: int, now_ms: float) -> Change | None:
        """A node says that it leads; None when that is old news (a late report, a lower term)."""
        if term < self.term or (term == self.term and self.leader == node):
            return None
        change: Change = "elected" if term > self.term else "regained"
        self._fill(now_ms)
        self.leader, self.term = node, term
        self.elections += change == "elected"
        return change

    def lost(self, node: str, now_ms: float) -> bool:
        """A node leads no more; False when it did not lead."""
        if self.leader != node:
            return False
        self.leader = None
        self._vacant_since = now_ms
        return True

    def leaderless_ms(self, now_ms: float) -> float:
        """Total time without a leader, the present gap included; nothing before the first one."""
        running = now_ms - self._vacant_since if self._vacant_since is not None else 0.0
        return self._leaderless_ms + running

    def _fill(self, now_ms: float) -> None:
        if self._vacant_since is not None:
            self._leaderless_ms += now_ms - self._vacant_since
            self._vacant_since = None


def reigns(events: Iterable[Event]) -> list[Reign]:
    """The leaders' history, oldest first.

    Events of several runs may follow each other; a run's own clock (`t_ms`) starts over, so gaps
    across runs are unknown.
    """
    rows: list[Reign] = []
    began: float | None = None
    ended: float | None = None
    reason = "start"
    for event in events:
        match event["type"]:
            case "leader.elected" | "leader.regained" if _names_leader(event):
                _close(rows, event, began)
                gap = None if ended is None else event["t_ms"] - ended
                rows.append(_reign(event, gap, reason))
                began, ended, reason = event["t_ms"], None, "higher term"
            case "leader.lost":
                _close(rows, event, began)
                began, ended, reason = None, event["t_ms"], event.get("cause", "unknown")
            case "cluster.starting":
                began, ended, reason = None, None, "start"
    return rows


def _names_leader(event: Event) -> bool:
    """A line that another program wrote into the file may lack what ours always have."""
    return isinstance(event.get("node"), str) and type(event.get("term")) is int


def _reign(event: Event, gap_ms: float | None, reason: str) -> Reign:
    return {
        "leader": event["node"],
        "term": event["term"],
        "since": event["ts"],
        "until": None,
        "duration_ms": None,
        "gap_ms": gap_ms,
        "reason": reason,
    }


def _close(rows: list[Reign], event: Event, began_ms: float | None) -> None:
    if rows and rows[-1]["until"] is None and began_ms is not None:
        rows[-1]["until"] = event["ts"]
        rows[-1]["duration_ms"] = event["t_ms"] - began_ms
