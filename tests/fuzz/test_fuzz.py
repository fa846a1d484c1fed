"""The short run: seeds, inputs that failed once, and a few hundred mutations of both.

Deterministic, so that a failure is one of the change at hand. `make fuzz` goes on from here.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import corpus
from tests.fuzz.catalogue import TARGETS
from tests.fuzz.mutation import KINDS, Edit, mutate
from tests.fuzz.target import Target

EDITS = st.lists(
    st.builds(
        Edit, st.integers(0, KINDS - 1), st.integers(0, 1 << 16), st.integers(0, (1 << 12) - 1)
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_target_holdsForSeedsAndRegressions(target: Target) -> None:
    inputs = corpus.seeds(target)

    assert len(inputs) > 1
    for data in inputs:
        target.fuzz(data)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_target_holdsForMutations(target: Target) -> None:
    inputs = corpus.seeds(target)
    mutated = st.builds(
        lambda seed, edits: mutate(seed, edits, inputs), st.sampled_from(inputs), EDITS
    )

    @settings(
        max_examples=target.examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated | st.binary(max_size=300))
    def holds(data: bytes) -> None:
        target.fuzz(data)

    holds()
