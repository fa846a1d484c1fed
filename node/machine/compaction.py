"""Physical compaction: taking away, in slices, what logical compaction has made unreadable.

A compaction to C is in force once its entry is applied. What it obsoletes is removed later, at each
member's own pace; no read, event or answer depends on how far that has come.

Removable are versions whose successor is at or below C, and tombstones below C (one exactly at C
stays, for a watch that starts there). Every version names its predecessor, so one walk over the
history between the last compaction and C finds them all, without looking at keys that rest:

    done ≤ P          cursor → … ≤ C                  above C
    nothing to do     each record names its victim     not yet

A walk starts at P itself rather than behind it: a tombstone at P could not go then and can go now.
If C moves while a walk is under way the cursor goes back to the old C for the same reason. Removing
twice what is gone is harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from node.machine.answer import Operation
from node.machine.history import revisions
from node.machine.keyspace import NEVER_COMPACTED, Keyspace
from node.machine.record import (
    COMPACT_PROGRESS,
    DEAD,
    NOWHERE,
    REVISION,
    is_tombstone,
    last_position,
    position,
    position_of,
    previous_of,
)
from node.machine.view import View
from node.proto import kv
from node.tally import Tally

_PROGRESS = Struct(">qq12s")
_START = bytes(12)


class Compaction:
    """This member's walk."""

    __slots__ = ("_cursor", "_done", "_keyspace", "_tally", "_target")

    def __init__(self, keyspace: Keyspace, tally: Tally) -> None:
        """Load the progress that was stored with the last slice; count removals in `tally`."""
        self._keyspace = keyspace
        self._tally = tally
        stored = keyspace.view.get(COMPACT_PROGRESS)
        if stored is None:
            self._done, self._target, self._cursor = NEVER_COMPACTED, NEVER_COMPACTED, _START
        else:
            self._done, self._target, self._cursor = _PROGRESS.unpack(stored)

    def done(self, revision: int) -> bool:
        """Whether nothing is left to remove of a compaction to `revision`."""
        return self._done >= revision

    def slice(self, records_max: int) -> Sequence[Operation]:
        """Walk on by about `records_max` records; nothing to stage = nothing left to do."""
        goal = self._keyspace.compact_revision
        if self._done >= goal:
            return ()
        if self._target != goal:
            self._cursor = min(self._cursor, position(max(self._target, 0), 0))
            self._target = goal
        view = self._keyspace.view
        effects: list[Operation] = []
        end = last_position(goal)
        for seen, (place, record) in enumerate(revisions(view, self._cursor, end)):
            if seen == records_max:
                self._cursor = place
                break
            _remove(view, record, position(goal, 0), effects)
        else:
            self._done, self._cursor = goal, position(max(goal, 0), 0)
        self._tally.versions_compacted += sum(key[:1] == REVISION for key, _ in effects)
        effects.append((COMPACT_PROGRESS, _PROGRESS.pack(self._done, goal, self._cursor)))
        return effects


def _remove(view: View, record: bytes, goal: bytes, effects: list[Operation]) -> None:
    """Note what goes because of one version at or below the goal.

    Nothing of the goal's own revision goes: a watch may still start there.
    """
    previous = previous_of(record)
    if previous != NOWHERE and previous < goal:
        effects.append((REVISION + previous, None))
    place = position_of(record)
    if is_tombstone(record) and place < goal:
        effects.append((REVISION + place, None))
        key = DEAD + kv.Event.FromString(record[record[0] :]).kv.key
        corpse = view.get(key)
        if corpse is not None and position_of(corpse) == place:
            effects.append((key, None))
