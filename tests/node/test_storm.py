"""Whole members under seeded faults keep every promise. A failure names its seed."""

from __future__ import annotations

import pytest

from tests.node.storm import Storm


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_storm_keepsEveryPromise(first: int) -> None:
    for seed in range(first, first + 20):
        storm = Storm(seed)
        try:
            storm.run(400)
            storm.calm()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
