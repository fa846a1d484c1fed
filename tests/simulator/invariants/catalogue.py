"""Which invariants there are, in the order in which they are checked."""

from __future__ import annotations

from typing import Protocol

from tests.simulator.invariants.agreement import EqualDigests
from tests.simulator.invariants.bounds import Bounds
from tests.simulator.invariants.configuration import Configurations
from tests.simulator.invariants.durability import Commits, Promises, Stability
from tests.simulator.invariants.election import Election
from tests.simulator.invariants.inspection import Inspection
from tests.simulator.invariants.log import LogMatching, StateMachineSafety
from tests.simulator.invariants.progress import Monotony
from tests.simulator.invariants.reads import FreshReads
from tests.simulator.invariants.sighting import (
    ElectionSightings,
    NoteSightings,
    ReplicationSightings,
    TruncationSightings,
)
from tests.simulator.invariants.sighting_service import (
    LeaseSightings,
    ReadSightings,
    RequestSightings,
    WatchSightings,
)
from tests.simulator.invariants.sighting_storage import (
    MembershipSightings,
    SnapshotSightings,
    StorageSightings,
)
from tests.simulator.invariants.state import SameState
from tests.simulator.invariants.tap import Check
from tests.simulator.invariants.watching import Leases, Watching
from tests.simulator.marks import Marks
from tests.simulator.observer import Observer
from tests.support.member_cluster import MemberCluster

CHECKS: tuple[type[Check], ...] = (
    LogMatching,
    Election,
    Monotony,
    Commits,
    Promises,
    Stability,
    StateMachineSafety,
    Configurations,
    FreshReads,
    SameState,
    EqualDigests,
    Watching,
    Leases,
    Bounds,
)
"""An entry is known before it is committed, a leader before it commits."""


SIGHTINGS: tuple[type[Check], ...] = (
    ElectionSightings,
    NoteSightings,
    ReplicationSightings,
    TruncationSightings,
    StorageSightings,
    SnapshotSightings,
    MembershipSightings,
    ReadSightings,
    RequestSightings,
    WatchSightings,
    LeaseSightings,
)
"""They check nothing; they count what happens."""


class World(Protocol):
    """The part of a world that is looked at."""

    @property
    def cluster(self) -> MemberCluster:
        """The members."""

    @property
    def marks(self) -> Marks:
        """Where coverage is counted."""


def all_of(world: World) -> list[Observer]:
    """Everything that must hold."""
    return [Inspection(world.cluster, (*CHECKS, *SIGHTINGS), world.marks)]
