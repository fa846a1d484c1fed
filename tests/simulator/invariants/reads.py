"""A linearizable read sees everything that anybody had been told before it began.

What is compared is stricter than what a client could see: a read index must not be behind anything
that was *committed* anywhere when the round began. Source: Raft thesis §6.4.
"""

from __future__ import annotations

from collections.abc import Callable

from node.machine.errors import Refusal
from tests.simulator.invariants.tap import Check, Subject
from tests.simulator.observer import fail


class FreshReads(Check):
    """Invariant 8."""

    def began(self, subject: Subject) -> None:
        subject.facts["reads"] = {}

    def read_asked(self, subject: Subject, context: int, *, again: bool) -> None:
        subject.facts["reads"] = {context: self.ledger.commit}

    def read_confirmed(self, subject: Subject, context: int, index: int) -> None:
        wanted = subject.facts["reads"].get(context, 0)
        if index < wanted:
            fail("a stale read index", member=subject.id, index=index, wanted=wanted)

    def read_began(self, subject: Subject) -> Callable[[Refusal | None], None]:
        ledger = self.ledger
        wanted = ledger.commit

        def answered(refusal: Refusal | None) -> None:
            if refusal is not None:
                return
            parts = subject.parts
            seen, revision = parts.disk.applied.index, parts.machine.revision
            if seen < wanted or parts.disk.installing:
                fail("a read of old state", member=subject.id, applied=seen, wanted=wanted)
            least = ledger.revision_before(wanted)
            if revision < least:
                fail("a read of an old revision", member=subject.id, seen=revision, least=least)

        return answered
