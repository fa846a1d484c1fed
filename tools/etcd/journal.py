"""The log as etcd writes it: one JSON object a line (or zap's console form), for programs that wait
for a line.

Most lines are events of the member under conclave's names. Those that programs are known to look
for have etcd's words: that clients are served, that a signal was received, why a start failed.

    {"level":"info","ts":"2026-11-23T06:20:22.268114Z","msg":"ready to serve client requests"}

"ready" means what it means in etcd: the client port is open, somebody leads, and this member is
known to the cluster by its name. A log whose target cannot be written is dropped, not waited for.

Source: etcd server/embed/serve.go, etcd.go; client/pkg/logutil/zap.go (DefaultZapLoggerConfig).
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from node.raft.ready import Note
from node.report import EVENT_NOTES, QUIET_NOTES
from tools.etcd.settings import LEVELS

STDERR = 2
STDOUT = 1
TARGETS = {"default": STDERR, "stderr": STDERR, "systemd/journal": STDERR, "stdout": STDOUT}
ERRORS = {"refused", "quarantined", "storage_failed", "invariant"}
SIGNALS = {"SIGTERM": "terminated", "SIGINT": "interrupt"}


class Journal:
    """Writes lines from a level on; the reporter of a member."""

    def __init__(
        self,
        descriptors: Sequence[int],
        level: str,
        form: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`descriptors` are written to and never waited for; `form` is json or console."""
        self._descriptors = descriptors
        self._least = LEVELS.index(level)
        self._line = LINES[form]
        self._clock = clock
        self._waiting_for = {"serving", "published"}
        self.on_serving: Callable[[], None] = _nothing
        """Called when the client port has opened."""
        self.ready: Callable[[], None] = _nothing
        """Called when clients are served."""
        self.dropped = 0

    def write(self, level: str, message: str, facts: Mapping[str, object] | None = None) -> None:
        """Write one line."""
        if LEVELS.index(level) < self._least:
            return
        line = self._line(stamp(self._clock()), level, message, facts or {}).encode()
        for descriptor in self._descriptors:
            if not _written(descriptor, line):
                self.dropped += 1

    def report(self, event: str, **facts: object) -> None:
        """An event of the member."""
        if event == "stopping":
            signal = SIGNALS.get(str(facts.get("signal")), "")
            self.write("info", "received signal; shutting down", {"signal": signal})
            self.write("info", "closing etcd server")
        elif event == "removed":
            self.write("warn", "the member has been permanently removed from the cluster")
            self.write("warn", "data-dir used by this member must be removed")
        elif event in ERRORS:
            self.write("fatal", "etcd failed", {"kind": event, "error": facts.get("reason", "")})
        else:
            self.write("debug" if event in self._waiting_for else "info", event, facts)
        if event == "serving":
            self.on_serving()
        if event in self._waiting_for:
            self._waiting_for.discard(event)
            if not self._waiting_for:
                self.ready()

    def log(self, event: str, **facts: object) -> None:
        """Something that only whoever reads the log wants to know."""
        self.write("info", event, facts)

    def notes(self, notes: Iterable[Note]) -> None:
        """What the consensus core has noticed."""
        for note in notes:
            if note.kind not in QUIET_NOTES:
                event = EVENT_NOTES.get(note.kind, f"raft.{note.kind.name.lower()}")
                facts: dict[str, object] = {"peer": f"{note.member:x}"} if note.member else {}
                self.write("info", event, {**facts, "detail": note.detail})


def open_targets(outputs: Sequence[str]) -> list[int]:
    """Descriptors of what --log-outputs names; files are appended to.

    Raises:
        OSError: a file cannot be opened.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    return [
        TARGETS[output] if output in TARGETS else os.open(output, flags, 0o600)
        for output in outputs
    ]


def _written(descriptor: int, line: bytes) -> bool:
    """Whether a line could be written whole without waiting.

    The descriptor belongs to whoever started the member too, so it is not made non-blocking. A pipe
    that is ready takes `PIPE_BUF` bytes at once; one whose reader has stopped is never ready, and
    held the whole member up before anybody asked.
    """
    target = select.poll()
    target.register(descriptor, select.POLLOUT)
    try:
        for start in range(0, len(line), select.PIPE_BUF):
            if not target.poll(0):
                return False
            os.write(descriptor, line[start : start + select.PIPE_BUF])
    except OSError:
        return False
    return True


def stamp(wall: float) -> str:
    """A moment as etcd writes it, in UTC."""
    micros = int(wall * 1e6)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(micros // 10**6)) + (
        f".{micros % 10**6:06}Z"
    )


def json_line(moment: str, level: str, message: str, facts: Mapping[str, object]) -> str:
    """A line for programs."""
    document = {"level": level, "ts": moment, "msg": message, **facts}
    return json.dumps(document, separators=(",", ":"), default=str) + "\n"


def console_line(moment: str, level: str, message: str, facts: Mapping[str, object]) -> str:
    """A line for people."""
    rest = f"\t{json.dumps(dict(facts), default=str)}" if facts else ""
    return f"{moment}\t{level}\t{message}{rest}\n"


LINES = {"json": json_line, "console": console_line}


def _nothing() -> None:
    """Nobody waits for it."""
