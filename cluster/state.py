"""The states of one node's process, as a table.

    STOPPED --start--> STARTING --serving--> RUNNING <--resume/pause--> PAUSED
       ^                  |  stop from any live state                     |
       +---- death ---- STOPPING <----------------------------------------+
                          death from STARTING, RUNNING, PAUSED --> EXITED
    EXITED --retry--> BACKOFF --start--> …      EXITED --give up--> FAILED

STOPPED means that somebody wanted it so, EXITED that nobody asked the process to end in good order
(a kill counts: a drill wants to see it), FAILED that a restart would not help. The table is data:
what it does not list cannot happen, and asking for it is an error of the caller.
"""

from __future__ import annotations

from enum import Enum

from cluster.errors import InvariantViolated


class State(Enum):
    """The value is the word that documents show."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    EXITED = "exited"
    BACKOFF = "backoff"
    FAILED = "failed"


class Trigger(Enum):
    """What moves a node from one state to another."""

    START = "start"
    SERVING = "serving"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    DEATH = "death"
    RETRY = "retry"
    GIVE_UP = "give up"


LIVE = frozenset({State.STARTING, State.RUNNING, State.PAUSED, State.STOPPING})
"""There is a process."""
DOWN = frozenset(State) - LIVE
SERVING = frozenset({State.RUNNING})

TRANSITIONS: dict[tuple[State, Trigger], State] = {
    **{(state, Trigger.START): State.STARTING for state in DOWN},
    **{(state, Trigger.STOP): State.STOPPING for state in LIVE - {State.STOPPING}},
    **{(state, Trigger.STOP): State.STOPPED for state in DOWN - {State.STOPPED}},
    **{(state, Trigger.DEATH): State.EXITED for state in LIVE - {State.STOPPING}},
    (State.STOPPING, Trigger.DEATH): State.STOPPED,
    (State.STARTING, Trigger.SERVING): State.RUNNING,
    # A report that was written before the pause, or before the stop, may be read after it.
    (State.PAUSED, Trigger.SERVING): State.PAUSED,
    (State.STOPPING, Trigger.SERVING): State.STOPPING,
    (State.RUNNING, Trigger.PAUSE): State.PAUSED,
    (State.PAUSED, Trigger.RESUME): State.RUNNING,
    (State.EXITED, Trigger.RETRY): State.BACKOFF,
    (State.EXITED, Trigger.GIVE_UP): State.FAILED,
}


def allowed(state: State, trigger: Trigger) -> bool:
    """Whether the table knows this move."""
    return (state, trigger) in TRANSITIONS


def after(state: State, trigger: Trigger) -> State:
    """The next state.

    Raises:
        InvariantViolated: the table does not know this move.
    """
    try:
        return TRANSITIONS[state, trigger]
    except KeyError:
        raise InvariantViolated(f"{trigger.value} while {state.value}") from None
