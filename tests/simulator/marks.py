"""Coverage marks: what has to happen in simulated clusters for their silence to mean anything.

An invariant that holds in runs in which nothing interesting happened says nothing. So everything
interesting has a name here, observers and faults count each time that it happens, and a campaign of
many seeds can be asked which of it never happened.

    marks.hit("leader_elected")      a name that is not in MARKS is an error
    total.merge(marks.counts)        across seeds and processes; counts are plain dictionaries
    total.missing()                  what never happened
    total.rare(seeds)                what happened less than ten times in a thousand seeds
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.simulator.mark_table import MARKS

WANTED_PER_THOUSAND = 10
"""How often each mark is to be hit in a thousand seeds."""

__all__ = ["MARKS", "WANTED_PER_THOUSAND", "Marks", "UnknownMark"]


class UnknownMark(AssertionError):
    """Somebody counts what `MARKS` does not explain."""


class Marks:
    """How often each mark was hit, in one run or in many."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(MARKS, 0)

    @property
    def counts(self) -> dict[str, int]:
        """Hits by name, of what was hit; a plain value that other processes can be given."""
        return {name: count for name, count in self._counts.items() if count}

    def __getitem__(self, name: str) -> int:
        """How often `name` was hit."""
        return self._counts[name]

    def hit(self, name: str, times: int = 1) -> None:
        """It happened.

        Raises:
            UnknownMark: nobody has declared `name`.
        """
        try:
            self._counts[name] += times
        except KeyError:
            raise UnknownMark(name) from None

    def merge(self, counts: Mapping[str, int]) -> None:
        """Add what another run has counted."""
        for name, count in counts.items():
            self.hit(name, count)

    def missing(self) -> list[str]:
        """What never happened, in the order of the table."""
        return [name for name, count in self._counts.items() if not count]

    def rare(self, seeds: int) -> list[str]:
        """What happened too seldom for so many seeds, never included."""
        wanted = seeds * WANTED_PER_THOUSAND / 1000
        return [name for name, count in self._counts.items() if count < max(1.0, wanted)]

    def table(self, seeds: int) -> str:
        """All marks with their hits, the rarest first; those that are too rare are starred."""
        rare = set(self.rare(seeds))
        rows = sorted(self._counts.items(), key=lambda row: row[1])
        return "\n".join(
            f"{'*' if name in rare else ' '} {count:>9}  {name:<40} {MARKS[name]}"
            for name, count in rows
        )
