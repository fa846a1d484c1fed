"""Whether a dead node is started again: exit classes, restart policy and back-off.

A restart helps against a kill and perhaps against a crash. It does not help a node that refuses its
configuration, could not write to its disk, does not trust what it reads or broke an invariant: a
restart loop there would only hide the reason, so those are FAILED until somebody says `start`.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum

from cluster.config import RestartPolicy

BACKOFF_FIRST_MS = 100
BACKOFF_MAX_MS = 10_000
FAILURES_MAX = 8
"""Deaths in a row, none of which had served for STEADY_MS before, after which we give up."""
STEADY_MS = 10_000


class ExitClass(Enum):
    """Why a node process ended, told by its status. The value is the word that documents show."""

    CLEAN = "clean"
    CONFIG = "config"
    STORAGE = "storage-write"
    QUARANTINE = "quarantine"
    INVARIANT = "invariant"
    REMOVED = "removed"
    """It is no member of the cluster any more."""
    HELD = "directory-held"
    """Another process has its data directory, and did not leave it in time."""
    KILLED = "killed"
    CRASH = "crash"
    UNKNOWN = "unknown"
    """Its parent was gone before it could pass the status on."""


UNKNOWN_STATUS = 255
"""What the zygote's pipe yields when the zygote died between reaping and telling."""

_CODES = {
    0: ExitClass.CLEAN,
    64: ExitClass.CONFIG,
    70: ExitClass.STORAGE,
    71: ExitClass.QUARANTINE,
    72: ExitClass.INVARIANT,
    75: ExitClass.HELD,
    76: ExitClass.REMOVED,
    UNKNOWN_STATUS: ExitClass.UNKNOWN,
}
_HOPELESS = frozenset(
    {
        ExitClass.CONFIG,
        ExitClass.STORAGE,
        ExitClass.QUARANTINE,
        ExitClass.INVARIANT,
        ExitClass.REMOVED,
    }
)


def classify(status: int) -> ExitClass:
    """The class of an exit status; negative means that signal -status ended the process."""
    if status < 0:
        return ExitClass.KILLED if -status == signal.SIGKILL else ExitClass.CRASH
    return _CODES.get(status, ExitClass.CRASH)


@dataclass(frozen=True, slots=True)
class Restart:
    """Start again after this back-off."""

    after_ms: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Nothing to do: nobody asked for restarts."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A restart would not help, or has not helped."""

    reason: str


Decision = Restart | Leave | GiveUp


def decide(policy: RestartPolicy, status: int, failures: int) -> Decision:
    """What to do about a death that nobody ordered by `stop`.

    Args:
        failures: deaths in a row before this one without a steady time in between.
    """
    kind = classify(status)
    if kind in _HOPELESS:
        return GiveUp(kind.value)
    if policy == "never" or (policy == "on-failure" and kind is ExitClass.CLEAN):
        return Leave()
    if failures >= FAILURES_MAX:
        return GiveUp(f"{failures + 1} deaths in a row")
    return Restart(min(BACKOFF_FIRST_MS << failures, BACKOFF_MAX_MS))
