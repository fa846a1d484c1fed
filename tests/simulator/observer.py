"""The port of those who watch a run and say what must hold."""

from __future__ import annotations

from typing import NoReturn

from tests.support.member_cluster import Node


class SimulationFailed(AssertionError):
    """A promise was broken."""


def fail(what: str, **facts: object) -> NoReturn:
    """End the run: something does not hold.

    Raises:
        SimulationFailed: always.
    """
    told = " ".join(f"{name}={value!r}" for name, value in facts.items())
    raise SimulationFailed(f"{what} {told}".rstrip())


class Observer:
    """Somebody who watches a run. Every method may be left as it is."""

    def started(self, node: Node) -> None:
        """A life began: `node.life` is new, and nothing has run in it yet."""

    def ended(self, node: Node) -> None:
        """A life is about to end; `node.life` is still there."""

    def stepped(self, node: Node | None) -> None:
        """A step was made that touched this member; None = it may have touched any."""

    def looked(self) -> None:
        """Every LOOK_STEPS steps and at the end of each phase: for expensive checks."""

    def calming(self) -> None:
        """The liveness phase begins: whoever makes faults ends them."""

    def calmed(self) -> None:
        """The liveness phase has ended well."""
