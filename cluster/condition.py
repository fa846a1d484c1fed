"""What `wait` can wait for: predicates over the status document, or an event to come. No I/O.

ready   leader   no-leader   converged   down   node n2=paused   term>7   event leader.elected
"""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from cluster.document import Event, StatusDocument
from cluster.errors import BadRequest
from cluster.state import DOWN, LIVE, State

COMPARE = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
}
FIGURE = re.compile(r"(term|commit|elections)\s*(>=|<=|>|<|=)\s*(\d{1,19})")
NODE = re.compile(r"node\s+([\w-]+)\s*=\s*([\w-]+)")
EVENT = re.compile(r"event\s+([\w.*-]+)")
LIVE_WORDS = frozenset(state.value for state in LIVE)
DOWN_WORDS = frozenset(state.value for state in DOWN)
STATE_WORDS = frozenset({state.value for state in State} | {"down"})
HINT = "ready, leader, no-leader, converged, down, node n2=paused, term>7, event TYPE"


@dataclass(frozen=True, slots=True)
class StatusCondition:
    """Holds or does not hold at a moment; may remember what it saw before."""

    holds: Callable[[StatusDocument], bool]


@dataclass(frozen=True, slots=True)
class EventCondition:
    """Is met by the first event that matches, from now on."""

    matches: Callable[[Event], bool]


Condition = StatusCondition | EventCondition


def parse(text: str) -> Condition:
    """Read a condition.

    Raises:
        BadRequest: it cannot be read.
    """
    text = text.strip()
    if text == "converged":
        return StatusCondition(Converged().holds)
    if text in WORDS:
        return StatusCondition(WORDS[text])
    if figure := FIGURE.fullmatch(text):
        return _figure(figure[1], figure[2], int(figure[3]))
    if (node := NODE.fullmatch(text)) and node[2] in STATE_WORDS:
        return _node(node[1], node[2])
    if event := EVENT.fullmatch(text):
        pattern = event[1]
        return EventCondition(lambda seen: fnmatch.fnmatchcase(str(seen["type"]), pattern))
    raise BadRequest(f"cannot read the condition {text!r}", hint=f"one of: {HINT}")


def _figure(name: str, relation: str, bound: int) -> StatusCondition:
    compare = COMPARE[relation]
    match name:
        case "term":
            return StatusCondition(lambda status: compare(status["term"], bound))
        case "commit":
            return StatusCondition(lambda status: compare(status["commit"], bound))
        case _:
            return StatusCondition(lambda status: compare(status["elections"], bound))


def _node(name: str, wanted: str) -> StatusCondition:
    words = DOWN_WORDS if wanted == "down" else {wanted}
    return StatusCondition(
        lambda status: any(
            node["name"] == name and node["state"] in words for node in status["nodes"]
        )
    )


class Converged:
    """There is a leader, and every node with a process serves and has applied what is committed.

    "Is committed" means: was, at the first look. Under writes the commit index never waits for the
    last node to show that it has applied it, and what is asked is whether that one has caught up.
    Nodes that are down do not count: nobody can wait for them. A paused one counts.
    """

    def __init__(self) -> None:
        self._target: int | None = None

    def holds(self, status: StatusDocument) -> bool:
        """Look; the first look also sets what there is to catch up with."""
        if self._target is None:
            self._target = status["commit"]
        target = self._target
        live = [node for node in status["nodes"] if node["state"] in LIVE_WORDS]
        return status["leader"] is not None and all(
            node["state"] == "running" and (node["applied"] or 0) >= target for node in live
        )


WORDS: dict[str, Callable[[StatusDocument], bool]] = {
    "ready": lambda status: status["state"] == "READY",
    "leader": lambda status: status["leader"] is not None,
    "no-leader": lambda status: status["leader"] is None,
    "down": lambda status: status["state"] == "DOWN",
}
