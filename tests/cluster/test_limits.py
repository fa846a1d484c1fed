"""What a user may set about the nodes: what is refused, and what the nodes are told."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from cluster.config import ClusterConfig
from cluster.errors import BadRequest
from cluster.layout import node_limits
from cluster.limits import ClusterLimits
from node.config import QUOTA_BYTES, Limits

SETTINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"quota_bytes": QUOTA_BYTES}),
    ({"quota_backend_bytes": 8 << 30}, {"quota_bytes": 8 << 30}),
    ({"quota_backend_bytes": -1}, {"quota_bytes": -1}),
    ({}, {"auto_compaction_mode": "periodic", "auto_compaction_retention": 0}),
    ({"auto_compaction_retention": "30m"}, {"auto_compaction_retention": 1800.0}),
    ({"auto_compaction_retention": "2"}, {"auto_compaction_retention": 7200.0}),
    (
        {"auto_compaction_mode": "revision", "auto_compaction_retention": "1000"},
        {"auto_compaction_mode": "revision", "auto_compaction_retention": 1000},
    ),
]


@pytest.mark.parametrize(("settings", "told"), SETTINGS, ids=str)
def test_nodes_are_told_what_was_set(settings: dict[str, Any], told: dict[str, Any]) -> None:
    limits = node_limits(ClusterConfig(**settings))

    assert {name: getattr(limits, name) for name in told} == told


def test_without_settings_nodes_have_their_own_defaults() -> None:
    assert node_limits(ClusterConfig()) == Limits()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"quota_backend_bytes": 1 << 61}, "quota-backend-bytes"),
    ({"auto_compaction_mode": "hourly"}, "auto-compaction-mode"),
    ({"auto_compaction_retention": "soon"}, "auto-compaction-retention"),
    (
        {"auto_compaction_mode": "revision", "auto_compaction_retention": "10h"},
        "auto-compaction-retention",
    ),
]


@pytest.mark.parametrize(("settings", "flag"), REFUSED, ids=str)
def test_impossible_settings_are_refused_by_name(settings: dict[str, Any], flag: str) -> None:
    with pytest.raises(BadRequest, match=flag):
        ClusterConfig(**settings)


def test_settings_are_remembered() -> None:
    chosen = {field.name: getattr(ClusterLimits(), field.name) for field in fields(ClusterLimits)}
    chosen["quota_backend_bytes"] = 1 << 33
    config = ClusterConfig(**chosen)

    assert ClusterConfig.from_document(json.loads(json.dumps(config.document()))) == config
