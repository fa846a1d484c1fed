"""Logs that agree at one position agree before it, and nobody applies another entry than others.

Source: Raft paper, figure 3: log matching, state machine safety.
"""

from __future__ import annotations

from collections.abc import Sequence

from node.raft.message import Entry
from node.raft.ready import Ready
from store import record
from tests.simulator.invariants.ledger import BASE
from tests.simulator.invariants.platter import Platter
from tests.simulator.invariants.tap import Check, Subject
from tests.simulator.observer import fail


class LogMatching(Check):
    """Invariant 2. An entry is compared when it enters a log, and disks are read now and then."""

    def ready(self, subject: Subject, ready: Ready) -> None:
        entries = ready.entries
        if not entries:
            return
        known = self.ledger.entries
        before = subject.log.term(entries[0].index - 1)
        for entry in entries:
            here = (entry.index, entry.term)
            found = known.get(here)
            if found is None:
                known[here] = (entry, before)
            elif found[0] != entry or found[1] != before:
                fail("logs differ", member=subject.id, entry=entry, before=before, known=found)
            before = entry.term

    def looked(self, subjects: Sequence[Subject]) -> None:
        for subject in subjects:
            if not subject.platter.damaged:
                self._read(subject.id, subject.platter)

    def _read(self, member: int, platter: Platter) -> None:
        index, term = platter.boundary
        last = platter.head.last
        values = platter.values
        for place in range(index + 1, last + 1):
            raw = values.get(record.entry_key(place))
            if raw is None:
                fail("a hole in a log on disk", member=member, index=place, last=last)
            found = self.ledger.entries.get((place, int.from_bytes(raw[4:12], "big")))
            if found is None or found[1] != term or raw[13:] != found[0].data:
                fail("a log on disk is nobody's", member=member, index=place, known=found)
            term = found[0].term


class StateMachineSafety(Check):
    """Invariant 4: what is applied is what was committed, in order, once, and on the own disk."""

    def applied(self, subject: Subject, entries: Sequence[Entry]) -> None:
        ledger = self.ledger
        first, last = entries[0].index, entries[-1].index
        if first != subject.applied + 1:
            fail("applied out of order", member=subject.id, index=first, after=subject.applied)
        if last > ledger.commit:
            fail("applied what is not committed", member=subject.id, last=last)
        if ledger.committed[first - BASE : last + 1 - BASE] != list(entries):
            fail("applied what others have not committed", member=subject.id, entries=entries)
        if not subject.platter.holds(last, entries[-1].term):
            fail("applied what is not on the own disk", member=subject.id, index=last)

    def began(self, subject: Subject) -> None:
        self._check_position(subject)

    def adopted(self, subject: Subject) -> None:
        self._check_position(subject)

    def _check_position(self, subject: Subject) -> None:
        """What a disk or a snapshot says to be applied."""
        index, term = subject.parts.disk.applied.index, subject.parts.disk.applied.term
        if index < BASE:
            return
        if index > self.ledger.commit or self.ledger.term_at(index) != term:
            fail("a state of what is not committed", member=subject.id, index=index, term=term)
