"""Which invariants there are, in the order in which they are checked."""

from __future__ import annotations

from typing import Protocol

from tests.simulator.invariants.bounds import Bounds
from tests.simulator.invariants.configuration import Configurations
from tests.simulator.invariants.durability import Commits, Promises
from tests.simulator.invariants.election import Election
from tests.simulator.invariants.inspection import Inspection
from tests.simulator.invariants.log import LogMatching, StateMachineSafety
from tests.simulator.invariants.progress import Monotony
from tests.simulator.invariants.reads import FreshReads
from tests.simulator.invariants.state import SameState
from tests.simulator.invariants.tap import Check
from tests.simulator.invariants.watching import Leases, Watching
from tests.simulator.observer import Observer
from tests.support.member_cluster import MemberCluster

CHECKS: tuple[type[Check], ...] = (
    LogMatching,
    Election,
    Monotony,
    Commits,
    Promises,
    StateMachineSafety,
    Configurations,
    FreshReads,
    SameState,
    Watching,
    Leases,
    Bounds,
)
"""An entry is known before it is committed, a leader before it commits."""


class World(Protocol):
    """The part of a world that is looked at."""

    @property
    def cluster(self) -> MemberCluster:
        """The members."""


def all_of(world: World) -> list[Observer]:
    """Everything that must hold."""
    return [Inspection(world.cluster, CHECKS)]
