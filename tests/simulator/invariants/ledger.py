"""What was once true of a cluster for good, and must stay so: one ledger for all members and lives.

Who led a term, what each member voted, which entry stands at a position of any log, what is
committed, which configuration holds from where, what applying an entry did. Checks write down what
they see first and compare what they see later; the ledger itself only fails where two sightings
contradict each other.

It holds the values that members made, not hashes of them: the members of a simulation live in one
process, so that an entry costs one reference, and comparing two is cheaper than hashing one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from node.machine.answer import Event
from node.raft.message import ConfState, Entry
from node.raft.storage import FOUNDING_INDEX, FOUNDING_TERM
from tests.simulator.observer import fail

BASE = FOUNDING_INDEX + 1
"""The first index at which an entry can stand."""


class Ledger:
    """See the module's docstring. Terms, indexes and revisions are as the members count them."""

    def __init__(self, founders: ConfState) -> None:
        self.leaders: dict[int, tuple[int, int]] = {}
        """Term → (member, number of its life)."""
        self.opened: dict[int, tuple[int, int]] = {}
        """Term → (index of its leader's first entry, term of the entry before)."""
        self.votes: dict[tuple[int, int], int] = {}
        """(member, term) → for whom."""
        self.entries: dict[tuple[int, int], tuple[Entry, int]] = {}
        """(index, term) → what stands there, and the term of the entry before. Two logs that share
        a key share everything before it, because the entries before share theirs."""
        self.commit = FOUNDING_INDEX
        """The highest index that any member has called committed."""
        self.committed: list[Entry] = []
        """From BASE on."""
        self.committed_in: dict[int, int] = {}
        """Term of a leader → the last index that it has committed."""
        self.confs: list[tuple[int, ConfState]] = [(FOUNDING_INDEX, founders)]
        """(index, configuration from there on), in order."""
        self.removed: set[int] = set()
        self.effects: dict[int, int] = {}
        """Index → hash of the records that applying its entry wrote."""
        self.revisions: dict[int, int] = {}
        """Index → the revision after it was applied."""
        self._revision_at: list[int] = []
        self.events: dict[int, Sequence[Event]] = {}
        """Revision → what happened in it."""

    # Elections.

    def lead(self, term: int, member: int, life: int) -> bool:
        """`member` acts as the leader of `term`; True when that is news."""
        known = self.leaders.setdefault(term, (member, life))
        if known != (member, life):
            fail("two leaders in one term", term=term, leaders=(known, (member, life)))
        return term not in self.opened

    def vote(self, member: int, term: int, candidate: int) -> None:
        """`member` has said, or written down, that it votes for `candidate`."""
        known = self.votes.setdefault((member, term), candidate)
        if known != candidate:
            fail("two votes in one term", member=member, term=term, votes=(known, candidate))

    # The log.

    def term_at(self, index: int) -> int:
        """The term of a committed position."""
        return self.committed[index - BASE].term if index >= BASE else FOUNDING_TERM

    def commit_entries(self, entries: Sequence[Entry], term: int) -> None:
        """The next entries were committed, by the leader of `term`."""
        self.committed += entries
        self.commit = entries[-1].index
        self.committed_in[term] = self.commit

    def term_in_log_of(self, leader_term: int, index: int) -> int | None:
        """The term of what stands at `index` in the log of the leader of a term; None = unknown."""
        opened = self.opened.get(leader_term)
        if opened is None:
            return None
        first, term = opened
        if index >= first:
            return leader_term
        for place in range(first - 1, index, -1):
            found = self.entries.get((place, term))
            if found is None:
                return None
            term = found[1]
        return term

    # The configuration.

    def conf_at(self, index: int) -> ConfState:
        """What holds once everything up to `index` is applied."""
        place = bisect_right(self.confs, index, key=lambda row: row[0])
        return self.confs[place - 1][1] if place else ConfState()

    # The state.

    def revise(self, index: int, revision: int) -> None:
        """A member has applied everything up to `index` and is at `revision`."""
        known = self.revisions.get(index)
        if known is None:
            self.revisions[index] = revision
            if not self._revision_at or index > self._revision_at[-1]:
                self._revision_at.append(index)
        elif known != revision:
            fail("one index, two revisions", index=index, revisions=(known, revision))

    def revision_before(self, index: int) -> int:
        """A revision that whoever has applied `index` has reached at least."""
        place = bisect_right(self._revision_at, index)
        return self.revisions[self._revision_at[place - 1]] if place else 1

    def history(self, lo: int, hi: int) -> Iterator[Event]:
        """The known events of the revisions [lo, hi), in order."""
        for revision in range(lo, hi):
            yield from self.events.get(revision, ())
