"""What a user may set about the nodes: what is refused, and what the nodes are told."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from cluster.config import ClusterConfig
from cluster.errors import BadRequest
from cluster.layout import node_limits
from cluster.limits import BOUNDS, ClusterLimits, flag_of
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


def config_of(name: str, value: Any) -> ClusterConfig:
    settings: dict[str, Any] = {name: value}
    return ClusterConfig(**settings)


JWT = "jwt,sign-method=HS256,priv-key=/k"
FLAGS: list[tuple[str, Any, dict[str, Any]]] = [
    ("lease_checkpoint_interval_ms", 0, {"lease_checkpoint_ms": 0}),
    ("lease_checkpoint_interval_ms", 60_000, {"lease_checkpoint_ms": 60_000}),
    ("max_request_bytes", 10 << 20, {"request_bytes_max": 10 << 20}),
    ("max_request_bytes", 15 << 20, {"request_bytes_max": 15 << 20}),
    ("max_txn_ops", 4_096, {"txn_operations_max": 4_096}),
    ("max_concurrent_streams", 5, {"streams_max": 5}),
    ("grpc_keepalive_min_time_ms", 100, {"keepalive_min_ms": 100}),
    ("grpc_keepalive_interval_ms", 1_000, {"keepalive_interval_ms": 1_000}),
    ("grpc_keepalive_timeout_ms", 1_000, {"keepalive_timeout_ms": 1_000}),
    ("watch_progress_notify_interval_ms", 100, {"watch_progress_notify_ms": 100}),
    ("snapshot_count", 10, {"log_entries_max": 10, "log_entries_kept": 5}),
    ("snapshot_count", 1_000_000, {"log_entries_max": 1_000_000, "log_entries_kept": 5_000}),
    ("auth_token", JWT, {"auth_token": JWT}),
    ("auth_token_ttl_ms", 60_000, {"auth_token_ttl_ms": 60_000}),
    ("bcrypt_cost", 4, {"bcrypt_cost": 4}),
    ("metrics", "extensive", {"metrics": "extensive"}),
    ("cors", "*", {"cors": ("*",)}),
    ("cors", "https://a.example, http://b:8080", {"cors": ("https://a.example", "http://b:8080")}),
    ("corrupt_check_time_ms", 0, {"state_check_ms": 0}),
    ("corrupt_check_time_ms", 5_000, {"state_check_ms": 5_000}),
]


@pytest.mark.parametrize(("name", "value", "told"), FLAGS, ids=str)
def test_each_flag_reaches_the_nodes(name: str, value: Any, told: dict[str, Any]) -> None:
    limits = node_limits(config_of(name, value))

    assert {name: getattr(limits, name) for name in told} == told


@pytest.mark.parametrize("name", BOUNDS)
def test_both_bounds_of_a_flag_can_be_run_with(name: str) -> None:
    for value in BOUNDS[name]:
        node_limits(config_of(name, value))


@pytest.mark.parametrize("name", BOUNDS)
def test_beyond_the_bounds_of_a_flag_is_refused(name: str) -> None:
    lo, hi = BOUNDS[name]
    for value in (lo - 1, hi + 1):
        with pytest.raises(BadRequest, match=rf"{flag_of(name)} {value}.*: use "):
            config_of(name, value)


def test_every_number_has_bounds() -> None:
    numbers = {field.name for field in fields(ClusterLimits) if field.type == "int"}

    assert numbers == set(BOUNDS)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"auto_compaction_mode": "hourly"}, "auto-compaction-mode"),
    ({"auth_token": "jwt"}, "auth-token 'jwt': sign-method is one of"),
    ({"metrics": "all"}, "metrics 'all': use basic or extensive"),
    ({"cors": "example.org"}, "cors 'example.org'"),
    ({"cors": "*,ftp://a.example"}, "cors 'ftp://a.example'"),
    ({"cors": "https://"}, "cors 'https://'"),
    ({"cors": "https://a.example/path"}, "cors 'https://a.example/path'"),
    ({"cors": "https://me@a.example"}, "cors 'https://me@a.example'"),
    ({"cors": "http://a:99999"}, "cors 'http://a:99999'"),
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
