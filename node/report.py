"""What a node says of itself: lines in its own log file, and events for the supervisor.

    node.log      2026-01-31T09:21:07.123Z leader.elected term=7
    report pipe   {"event":"leader.elected","term":7}

The pipe never blocks: when the supervisor does not read, events are counted and dropped, because a
node that waits for its supervisor would stop with it. The log file has no reader to wait for.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable

from node.raft.message import ConfChange, ConfChangeKind, ConfState
from node.raft.ready import Note, NoteKind

EVENT_NOTES = {
    NoteKind.CAMPAIGN: "raft.campaign",
    NoteKind.SNAPSHOT: "raft.snapshot",
    NoteKind.QUORUM_LOST: "raft.quorum_lost",
    NoteKind.DISK_STALLED: "raft.disk_stalled",
}
"""Notes that the supervisor hears of."""
QUIET_NOTES = frozenset({NoteKind.MESSAGE_IGNORED, NoteKind.PROBE_MOVED, NoteKind.VOTE_IGNORED})
"""Notes of everyday life, which a fault can make many of: counted, not logged."""


class Reporter:
    """Writes both; never raises and never waits."""

    def __init__(self, log_fd: int, pipe_fd: int | None) -> None:
        """`pipe_fd` is made non-blocking; None = nobody listens."""
        self._log_fd = log_fd
        self._pipe_fd = pipe_fd
        self.dropped = 0
        self.quiet: dict[NoteKind, int] = {}
        if pipe_fd is not None:
            os.set_blocking(pipe_fd, False)

    def report(self, event: str, **facts: object) -> None:
        """Log an event and tell the supervisor."""
        self.log(event, **facts)
        if self._pipe_fd is None:
            return
        line = json.dumps({"event": event, **facts}, separators=(",", ":")) + "\n"
        try:
            os.write(self._pipe_fd, line.encode())
        except (BlockingIOError, BrokenPipeError):
            self.dropped += 1

    def log(self, event: str, **facts: object) -> None:
        """Write one line into the log file."""
        wall = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall))
        millis = int(wall * 1000) % 1000
        words = "".join(f" {name}={value}" for name, value in facts.items())
        try:
            os.write(self._log_fd, f"{stamp}.{millis:03}Z {event}{words}\n".encode())
        except OSError:
            self.dropped += 1  # a full disk must not take the node down through its log

    def notes(self, notes: Iterable[Note]) -> None:
        """Tell what the consensus core has noticed."""
        for note in notes:
            if note.kind in QUIET_NOTES:
                self.quiet[note.kind] = self.quiet.get(note.kind, 0) + 1
                continue
            event = EVENT_NOTES.get(note.kind)
            facts = {"peer": f"{note.member:x}"} if note.member else {}
            if event is None:
                self.log(f"raft.{note.kind.name.lower()}", **facts, detail=repr(note.detail))
            else:
                self.report(event, **facts, detail=note.detail)


def change_event(
    change: ConfChange, before: ConfState, index: int
) -> tuple[str, dict[str, object]]:
    """A change of the members as an event; all members tell of the same one, by its index."""
    facts: dict[str, object] = {"member": f"{change.member:x}", "index": index}
    if change.kind == ConfChangeKind.REMOVE:
        return "member.removed", facts
    if change.member in before.learners:
        return "member.promoted", facts
    return "member.added", {**facts, "learner": change.kind == ConfChangeKind.ADD_LEARNER}
