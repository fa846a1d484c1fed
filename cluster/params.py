"""Parameters of the management verbs: types, defaults, and nothing unknown."""

from __future__ import annotations

from typing import Annotated

import msgspec

MILLISECONDS_MAX = 2**31 - 1
"""24 days: what poll(2) and, below it, every socket can wait for."""
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=MILLISECONDS_MAX)]


class Params(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """No parameters; the base of all others."""


class OnNodes(Params):
    """Selectors of nodes."""

    nodes: list[str]


class Start(OnNodes):
    """Start nodes; `wait` until they serve."""

    wait: bool = True


class Stop(OnNodes):
    """Drain, then force."""

    timeout_ms: Milliseconds = 10_000


class RestartNodes(OnNodes):
    """Stop and start; rolling = one by one, each until all have caught up."""

    timeout_ms: Milliseconds = 10_000
    rolling: bool = False


class Kill(OnNodes):
    """Signal by name, with or without SIG."""

    signal: str = "SIGKILL"
    restart_after_ms: Milliseconds | None = None


class Pause(OnNodes):
    """Stop where it stands; resumed by itself after `for_ms`."""

    for_ms: Milliseconds | None = None


class Add(Params):
    """Make one node more; a learner stays one until it is promoted."""

    learner: bool = False
    timeout_ms: Milliseconds = 30_000


class Change(OnNodes):
    """Promote, remove or replace nodes."""

    timeout_ms: Milliseconds = 30_000


class Transfer(Params):
    """Hand leadership over; `to` is a selector of one node."""

    to: str | None = None
    timeout_ms: Milliseconds = 5_000


class Wait(Params):
    """Block until a condition has held for `for_ms`."""

    condition: str
    timeout_ms: Milliseconds = 30_000
    for_ms: Milliseconds = 0


class Resolve(Params):
    """Ask what a selector means now."""

    selector: str


class Down(Params):
    """Stop everything; `wipe` deletes the data too."""

    wipe: bool = False
    timeout_ms: Milliseconds = 10_000
