"""Many episodes, one after the other, until two servers part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.differential.episode import Difference, Experience, compare
from tests.differential.generator import Generator
from tests.differential.shrink import describe, shortest
from tests.differential.side import Disturbed, Side
from tests.differential.step import Step

LENGTH = 60
"""Steps of an episode."""
DISTURBED_PERCENT_MAX = 5
"""More say that a server does not serve."""


def campaign(
    sides: Sequence[Side],
    operations: int,
    first: int,
    tell: Callable[[str], object] = lambda _: None,
) -> Experience:
    """Run episodes with the seeds from `first` on, until so many operations were compared.

    Raises:
        AssertionError: two sides part; the text has the seed and the shortest way there.
    """
    experience, seed = Experience(), first
    while experience.steps < operations:
        steps = Generator(seed).steps(LENGTH)
        found: Difference | None = None
        try:
            found = attempt(sides, steps, experience)
            experience.episodes += 1
        except Disturbed as reason:
            experience.disturbed += 1
            tell(f"seed {seed} is disturbed: {reason}")
        if found is not None:
            raise AssertionError(report(sides, seed, steps, found, tell))
        seed += 1
        most = 3 + experience.episodes * DISTURBED_PERCENT_MAX // 100
        assert experience.disturbed <= most, f"disturbed too often: {experience.table()}"
        if experience.episodes % 100 == 0:
            tell(f"up to seed {seed}: {experience.steps} operations")
    return experience


def attempt(
    sides: Sequence[Side], steps: Sequence[Step], experience: Experience
) -> Difference | None:
    """One episode; a promise that one side breaks by itself is a difference as well."""
    try:
        return compare(sides, steps, experience)
    except AssertionError as error:
        return Difference("a promise is broken", {"": str(error)}, "a broken promise")


def report(
    sides: Sequence[Side],
    seed: int,
    steps: Sequence[Step],
    found: Difference,
    tell: Callable[[str], object],
) -> str:
    """How two sides part, in the fewest steps that were found."""
    tell(f"seed {seed} parts them, looking for a shorter way: {found}")
    last = [found]

    def fails(tried: Sequence[Step]) -> bool:
        try:
            again = attempt(sides, tried, Experience())
        except Disturbed:
            return False
        if again is None or again.kind != found.kind:
            return False
        last[0] = again
        return True

    fewest = shortest(steps, fails)
    return f"seed {seed}, {len(fewest)} of {len(steps)} steps:\n{describe(fewest)}\n{last[0]}"
