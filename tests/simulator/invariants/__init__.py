"""What must hold in every run, whatever happens: the invariants as observers of a world.

    all_of(world)      the observers, to be put into `world.observers` before any member starts

The rules are checked where they can be broken, not where it would show: a promise when it leaves,
an entry when it enters a log, a leader when it becomes one. Everything is compared with one ledger
of what was once true. The expensive rest is looked at now and then.
"""

from __future__ import annotations

from tests.simulator.invariants.catalogue import all_of

__all__ = ["all_of"]
