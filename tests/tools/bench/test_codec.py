"""The measurement of the codec answers every call that it counts."""

from __future__ import annotations

import math

import pytest

from tools.bench.codec import measure_client, measure_server


@pytest.mark.parametrize("deadlines", [False, True])
def test_server_answers_all_calls(deadlines: bool) -> None:
    assert math.isfinite(measure_server(200, deadlines=deadlines))


def test_client_gets_all_answers() -> None:
    assert math.isfinite(measure_client(300))
