"""Equal applied index, equal digest; and nobody is accused of a state that is the others' as well.

The product compares digests at some indices, by messages, among those who can talk. Here they are
compared at every index that a slice of applying ends with, also between lives of one member.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node.consistency import CORRUPT
from node.machine.alarm import NOBODY
from node.raft.message import Entry
from tests.simulator.invariants.tap import Check, Subject
from tests.simulator.observer import fail


class EqualDigests(Check):
    """Of the running digest and of what follows from it."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._seen: dict[tuple[int, int], int] = {}
        """Digest by index and origin; chains that begin elsewhere have nothing in common."""

    def began(self, subject: Subject) -> None:
        self._compare(subject, subject.parts.machine.applied_index)

    def adopted(self, subject: Subject) -> None:
        self._compare(subject, subject.parts.machine.applied_index)

    def applied(self, subject: Subject, entries: Sequence[Entry]) -> None:
        self._compare(subject, entries[-1].index)

    def _compare(self, subject: Subject, index: int) -> None:
        origin, crc = subject.parts.chain.link
        known = self._seen.setdefault((index, origin), crc)
        if known != crc:
            fail("digests differ", member=subject.id, index=index, origin=origin)

    def calmed(self, subjects: Sequence[Subject]) -> None:
        """Everybody is up to date: whoever is accused must really be alone with its state."""
        states = {
            subject.id: state for subject in subjects if (state := state_of(subject)) is not None
        }
        for subject in subjects:
            for alarm in subject.parts.machine.alarms():
                if alarm.kind != CORRUPT:
                    continue
                own = states.get(alarm.member_id)
                others = [states[member] for member in states if member != alarm.member_id]
                agree = len(set(others)) == 1 and own in (None, *others)
                if others and agree and (own is not None or alarm.member_id == NOBODY):
                    fail("a sound member is accused", member=alarm.member_id, states=states)


def state_of(subject: Subject) -> tuple[int, int] | None:
    """Applied index and checksum of the whole state; None = it has nothing to compare."""
    walk = subject.parts.machine.state_hash()
    if walk is None:
        return None
    while not walk.step():
        pass
    return subject.applied, walk.crc
