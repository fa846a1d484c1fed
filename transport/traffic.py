"""What has gone through a mesh and what has not, in plain counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from transport.frame import Rejection


class Unsent(StrEnum):
    """Why `send` returned False."""

    STRANGER = "stranger"
    """Not a peer."""
    SILENT = "silent"
    """Nothing has been heard of the peer so far, so it is not known which life to address."""
    BLOCKED = "blocked"
    """Not connected, or too much is queued."""


@dataclass(slots=True)
class PeerCounters:
    """The share of one peer, as long as it is one."""

    sent_bytes: int = 0
    received_bytes: int = 0
    unsent: int = 0


@dataclass(slots=True)
class Counters:
    """What has gone through a mesh since it was made."""

    sent: int = 0
    sent_bytes: int = 0
    """Of payloads, whichever way they went."""
    received: int = 0
    received_bytes: int = 0
    arena_sent: int = 0
    arena_fallbacks: int = 0
    """Payloads that went inline because the arena was full."""
    unsent: dict[Unsent, int] = field(default_factory=lambda: dict.fromkeys(Unsent, 0))
    rejected: dict[Rejection, int] = field(default_factory=lambda: dict.fromkeys(Rejection, 0))
    peers: dict[int, PeerCounters] = field(default_factory=dict)
