"""Limits that contradict each other are refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from node.config import Limits, MemberSpec, NodeConfig, Ticks
from node.errors import ConfigError


@pytest.mark.parametrize(
    "limits",
    [
        {"inflight_bytes_max": 1_000, "append_bytes_max": 2_000},
        {"uncommitted_bytes_max": 1_000, "request_bytes_max": 1_000},
        {"log_entries_max": 100, "log_entries_kept": 100},
        {"log_entries_max": 100, "log_entries_kept": 50, "log_entries_held_max": 49},
        {"writer_bytes_max": 1_000},
    ],
    ids=lambda limits: " ".join(limits),
)
def test_limits_thatContradict_areRefused(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Limits(**limits)


@pytest.mark.parametrize(
    "ticks", [{"tick_ms": 0}, {"heartbeat": 0}, {"heartbeat": 20, "election": 59}]
)
def test_ticks_thatContradict_areRefused(ticks: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Ticks(**ticks)


def config(member_id: int) -> NodeConfig:
    spec = MemberSpec(id=1, name="n1", client_host="127.0.0.1", client_port=2379)
    return NodeConfig(
        cluster_id=1,
        member_id=member_id,
        members=(spec,),
        data_directory="",
        run_directory="",
        log_path="",
    )


def test_spec_isTheMembersOwnRow() -> None:
    assert config(1).spec.client_url == "http://127.0.0.1:2379"


def test_spec_ofAStranger_isRefused() -> None:
    with pytest.raises(ConfigError):
        _ = config(2).spec
