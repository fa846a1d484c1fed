"""What a member reports, kept in memory."""

from __future__ import annotations

from collections.abc import Iterable

from node.raft.ready import Note


class Journal:
    """What one member reports, in memory; the other implementation writes a log and a pipe."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def report(self, event: str, **facts: object) -> None:
        self.events.append((event, facts))

    def log(self, event: str, **facts: object) -> None:
        """What no supervisor would hear of is not kept."""

    def notes(self, notes: Iterable[Note]) -> None:
        self.events += [(f"raft.{note.kind.name.lower()}", {"peer": note.member}) for note in notes]

    def count(self, event: str) -> int:
        """How often an event was reported."""
        return sum(name == event for name, _ in self.events)


class RoundTripRecord:
    """Heartbeat round trips, in memory; the other implementation is the status page."""

    def __init__(self) -> None:
        self.round_trips: dict[int, list[int]] = {}
        self.dropped: list[int] = []

    def sent(self, peer: int, now_ns: int) -> None:
        pass

    def answered(self, peer: int, now_ns: int, round_trip_ns: int) -> None:
        self.round_trips.setdefault(peer, []).append(round_trip_ns)

    def heard(self, peer: int, now_ns: int) -> None:
        pass

    def drop_link(self, peer: int) -> None:
        self.dropped.append(peer)
