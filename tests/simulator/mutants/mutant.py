"""A planted bug: the product as it would be if somebody had got one thing wrong.

A plant replaces functions or methods of the product for the time of a run, as the bug would really
be written: one condition wrong, one line missing. The product knows nothing of it. Its docstring
says what is wrong and, after "Caught by:", which invariant of the simulator or which judge of the
clients' history has to notice. Numbers are those of the list of planted bugs and never change.

`blindfold` takes the product's own checks away, so that a bug that the product itself notices has
to be seen from outside as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import getdoc

import pytest

from node import errors as node_errors
from store import errors as store_errors
from transport import errors as transport_errors

Plant = Callable[[pytest.MonkeyPatch], None]

CHECKS = (node_errors.check, store_errors.check, transport_errors.check)
FOLDERS = ("node", "store", "transport")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug. `family` is the kind of run that finds it soonest; None = any."""

    number: int
    name: str
    plant: Plant
    family: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    """Actions that happen as often as this while it is hunted, because it needs them."""
    hash_seeds: bool = False
    """The bug shows only in a comparison of two runs under different PYTHONHASHSEED."""

    @property
    def why(self) -> str:
        """What is wrong and what has to catch it."""
        return getdoc(self.plant) or ""

    @property
    def caught_by(self) -> str:
        """The part of it after "Caught by:", in one line."""
        return " ".join(self.why.partition("Caught by:")[2].split())


def mutant(
    number: int,
    name: str,
    *,
    family: str | None = None,
    weights: Mapping[str, float] | None = None,
    hash_seeds: bool = False,
) -> Callable[[Plant], Mutant]:
    """Make a mutant of a function that plants it."""

    def make(plant: Plant) -> Mutant:
        return Mutant(number, name, plant, family, weights or {}, hash_seeds)

    return make


def mutants_of(module: object) -> list[Mutant]:
    """All that a module defines."""
    return [value for value in vars(module).values() if isinstance(value, Mutant)]


def blindfold(patch: pytest.MonkeyPatch) -> None:
    """Let the product's own checks pass whatever they are given."""
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] in FOLDERS and getattr(module, "check", None) in CHECKS:
            patch.setattr(module, "check", _pass)


def _pass(condition: bool, message: str, *facts: object) -> None:
    """A check that is not made."""
