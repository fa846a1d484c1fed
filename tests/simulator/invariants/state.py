"""Applying is a function of the log alone: the same effects, revisions and events everywhere.

Effects are compared entry by entry as they are staged. That catches a machine that answers
differently, not a disk that has lost some; so now and then the keyspaces themselves are compared,
always after a restart or an installed snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node.machine.answer import Operation
from node.machine.errors import Refusal
from node.raft.message import Entry
from tests.simulator.invariants.tap import Check, Subject
from tests.simulator.observer import fail

COMPARED_EVERY = 5
"""Looks between two comparisons of whole keyspaces that nothing gave reason to."""


class SameState(Check):
    """Invariant 10."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._looks = 0
        self._suspects: set[int] = set()
        """Members whose state has come from elsewhere than the entries that were seen."""

    def began(self, subject: Subject) -> None:
        self._suspect(subject)

    def adopted(self, subject: Subject) -> None:
        self._suspect(subject)

    def staged(self, subject: Subject, index: int, effects: Sequence[Operation]) -> None:
        # Only ever compared within one process, so that the hash may differ between two.
        found = hash(tuple(effects))
        if self.ledger.effects.setdefault(index, found) != found:
            fail("an entry had another effect elsewhere", member=subject.id, index=index)

    def applied(self, subject: Subject, entries: Sequence[Entry]) -> None:
        self.ledger.revise(entries[-1].index, subject.parts.machine.revision)

    def looked(self, subjects: Sequence[Subject]) -> None:
        self._looks += 1
        if self._looks % COMPARED_EVERY and not self._suspects:
            return
        groups: dict[int, list[Subject]] = {}
        for subject in subjects:
            if readable(subject):
                groups.setdefault(subject.parts.machine.compact_revision, []).append(subject)
        for group in groups.values():
            if len(group) > 1:
                self._compare(group)

    def calmed(self, subjects: Sequence[Subject]) -> None:
        whole = {
            subject.id: (
                subject.applied,
                subject.parts.machine.revision,
                subject.parts.machine.hash_kv(0),
                tuple(subject.parts.machine.leases()),
                tuple(subject.parts.machine.members()),
                tuple(subject.parts.machine.alarms()),
            )
            for subject in subjects
            if readable(subject)
        }
        by_index: dict[int, tuple[object, ...]] = {}
        for member, found in whole.items():
            if by_index.setdefault(found[0], found) != found:
                fail("two states at one index", member=member, index=found[0], states=whole)

    def _suspect(self, subject: Subject) -> None:
        machine = subject.parts.machine
        index, revision = machine.applied_index, machine.revision
        self._suspects.add(subject.id)
        if index > 1:
            self.ledger.revise(index, revision)

    def _compare(self, group: list[Subject]) -> None:
        """All at the newest revision that everybody has; the history is the same up to there."""
        revision = min(subject.parts.machine.revision for subject in group)
        hashes: dict[int, int | Refusal] = {
            subject.id: subject.parts.machine.hash_kv(revision) for subject in group
        }
        if len(set(hashes.values())) > 1:
            fail("keyspaces differ", revision=revision, hashes=hashes)
        self._suspects -= set(hashes)


def readable(subject: Subject) -> bool:
    """Whether the records that a machine shows are those that it stands for. What a damaged disk
    returns is the business of whoever reads it in earnest."""
    return not subject.parts.disk.installing and not subject.platter.damaged
