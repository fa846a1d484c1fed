"""The process table: one row per node, written by the supervisor alone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cluster.config import node_number
from cluster.document import Exit
from cluster.policy import classify
from cluster.process import ChildProcess
from cluster.state import LIVE, State, Trigger, after
from node.telemetry import StatusPageReader


@dataclass(slots=True, kw_only=True)
class Node:
    """One node. The row outlives its processes; times are milliseconds of the event clock."""

    name: str
    member_id: int
    endpoint: str
    page: StatusPageReader
    learner: bool = False
    """It has no vote, as far as is known."""
    state: State = State.STOPPED
    child: ChildProcess | None = None
    """The present process; None in every state that is not live, and while it is being forked."""
    started_ms: float = 0.0
    """When the present or last process was asked for."""
    serving_ms: float | None = None
    restarts: int = 0
    """Starts after the first in this supervisor's life."""
    starts: int = 0
    failures: int = 0
    """Deaths in a row, for the back-off."""
    ordered: str = ""
    """Why the next death is expected ("killed", "stopped"); "" = it would be a surprise."""
    doomed: bool = False
    """SIGKILL is on its way: whatever the process may still have said, it leads no more."""
    heard_ns: int = 0
    """When it last said whether it leads, or was woken; monotonic clock, as pages have it."""
    last_words: str = ""
    """What the process said before it ended by its own decision."""
    exit: Exit | None = None
    timers: set[asyncio.TimerHandle] = field(default_factory=set)
    """Pending resumes and restarts; a start, stop or SIGKILL makes them void."""
    waking: asyncio.TimerHandle | None = None
    """The one of them that will resume a paused process."""

    def move(self, trigger: Trigger) -> None:
        """Change state by the table.

        Raises:
            InvariantViolated: the table does not know this move.
        """
        self.state = after(self.state, trigger)

    @property
    def live(self) -> bool:
        """There is a process, or one is being forked."""
        return self.state in LIVE

    def send(self, number: signal.Signals) -> bool:
        """Signal the present process; False when there is none to take it."""
        return self.child is not None and self.child.signal(number)

    def void_timers(self) -> None:
        """Forget what was to happen later."""
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()
        self.waking = None

    def void_waking(self) -> None:
        """Forget the resume that was to come; a restart still comes."""
        if self.waking is not None:
            self.waking.cancel()
            self.timers.discard(self.waking)
            self.waking = None


class Table:
    """All rows, in the order of the nodes' numbers, and what can be counted in them."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes: dict[str, Node] = {}
        self._names: dict[int, str] = {}
        for node in nodes:
            self.admit(node)

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._nodes.values()))

    def __len__(self) -> int:
        return len(self._nodes)

    def __getitem__(self, name: str) -> Node:
        return self._nodes[name]

    def __contains__(self, name: str) -> bool:
        return name in self._nodes

    @property
    def names(self) -> list[str]:
        """Of all nodes."""
        return list(self._nodes)

    def get(self, name: str | None) -> Node | None:
        """The row of a node; None when there is none."""
        return self._nodes.get(name) if name is not None else None

    def name_of(self, member_id: int) -> str | None:
        """The node that has this member id."""
        return self._names.get(member_id)

    def admit(self, node: Node) -> None:
        """Take a row in."""
        rows = [*self._nodes.values(), node]
        self._nodes = {row.name: row for row in sorted(rows, key=lambda row: node_number(row.name))}
        self._names[node.member_id] = node.name

    def dismiss(self, node: Node) -> None:
        """Take a row out."""
        del self._nodes[node.name]
        del self._names[node.member_id]

    @property
    def serving(self) -> list[Node]:
        """Nodes that serve now."""
        return [node for node in self if node.state is State.RUNNING]

    @property
    def voters(self) -> int:
        """Nodes that have a vote."""
        return sum(not node.learner for node in self)

    @property
    def voters_up(self) -> int:
        """Those of them that serve now."""
        return sum(not node.learner for node in self.serving)

    @property
    def quorum_needed(self) -> int:
        """Voters that make a majority."""
        return self.voters // 2 + 1


def exit_document(status: int, ordered: str, detail: str) -> Exit:
    """How a process ended, as documents and events show it."""
    kind = classify(status)
    return {
        "code": status if status >= 0 else None,
        "signal": signal_name(-status) if status < 0 else None,
        "expected": bool(ordered),
        "reason": ordered or kind.value,
        "detail": detail,
    }


def signal_name(number: int) -> str:
    """SIGKILL for 9; real-time signals have no name of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
