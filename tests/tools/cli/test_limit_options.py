"""The options of `up` that etcd has as flags."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from cluster.limits import ClusterLimits
from tools.cli.limit_options import TICKS, chosen_limits, chosen_ticks, limit_options

TICK_TIMES: list[tuple[str, dict[str, int] | None]] = [
    ("--heartbeat-interval=100", {"heartbeat_ticks": 10}),
    ("--heartbeat-interval=20ms", {"heartbeat_ticks": 2}),
    ("--election-timeout=1000", {"election_ticks": 100}),
    ("--election-timeout=2s", {"election_ticks": 200}),
    ("--heartbeat-interval=5", None),
]


@pytest.mark.parametrize(("argument", "chosen"), TICK_TIMES, ids=str)
def test_times_of_raft_are_whole_ticks(argument: str, chosen: dict[str, int] | None) -> None:
    found: dict[str, int] = {}

    @click.command()
    @limit_options
    def verb(**options: Any) -> None:
        found.update(chosen_ticks(options, 10))

    ran = CliRunner().invoke(verb, [argument])

    assert (ran.exit_code == 0) is (chosen is not None), ran.output
    assert found == (chosen or {})


def parse(*arguments: str) -> dict[str, Any] | str:
    """What was chosen, or the complaint."""
    found: dict[str, Any] = {}

    @click.command()
    @limit_options
    def verb(**options: Any) -> None:
        found.update(chosen_limits(options))

    ran = CliRunner().invoke(verb, arguments)
    return found if ran.exit_code == 0 else ran.output


JWT = "jwt,sign-method=HS256"
GIVEN: list[tuple[str, dict[str, Any]]] = [
    ("--quota-backend-bytes=8589934592", {"quota_backend_bytes": 8 << 30}),
    ("--quota-backend-bytes=8GiB", {"quota_backend_bytes": 8 << 30}),
    ("--quota-backend-bytes=-1", {"quota_backend_bytes": -1}),
    ("--auto-compaction-mode=revision", {"auto_compaction_mode": "revision"}),
    ("--auto-compaction-retention=10h", {"auto_compaction_retention": "10h"}),
    ("--lease-checkpoint-interval=1m", {"lease_checkpoint_interval_ms": 60_000}),
    ("--max-request-bytes=10MiB", {"max_request_bytes": 10 << 20}),
    (f"--auth-token={JWT},priv-key=/k", {"auth_token": f"{JWT},priv-key=/k"}),
    (f"--auth-token={JWT},priv-key=k", {"auth_token": f"{JWT},priv-key={Path.cwd()}/k"}),
    ("--auth-token-ttl=1m", {"auth_token_ttl_ms": 60_000}),
    ("--bcrypt-cost=4", {"bcrypt_cost": 4}),
    ("--metrics=extensive", {"metrics": "extensive"}),
    ("--cors=https://a.example", {"cors": "https://a.example"}),
    ("--max-txn-ops=4096", {"max_txn_ops": 4_096}),
    ("--max-concurrent-streams=5", {"max_concurrent_streams": 5}),
    ("--grpc-keepalive-min-time=100ms", {"grpc_keepalive_min_time_ms": 100}),
    ("--grpc-keepalive-interval=1h", {"grpc_keepalive_interval_ms": 3_600_000}),
    ("--grpc-keepalive-timeout=10s", {"grpc_keepalive_timeout_ms": 10_000}),
    ("--watch-progress-notify-interval=1m", {"watch_progress_notify_interval_ms": 60_000}),
    ("--snapshot-count=100", {"snapshot_count": 100}),
    ("--corrupt-check-time=0", {"corrupt_check_time_ms": 0}),
]


@pytest.mark.parametrize(("argument", "chosen"), GIVEN, ids=[argument for argument, _ in GIVEN])
def test_option_is_a_setting(argument: str, chosen: dict[str, Any]) -> None:
    assert parse(argument) == chosen


UNREADABLE = [
    "--quota-backend-bytes=much",
    "--auth-token=jwt",
    "--auto-compaction-mode=hourly",
    "--max-txn-ops=many",
    "--corrupt-check-time=5",
    "--heartbeat-interval=often",
    "--election-timeout=-5",
]


@pytest.mark.parametrize("argument", UNREADABLE)
def test_what_cannot_be_read_is_refused_by_name(argument: str) -> None:
    complaint = parse(argument)

    assert argument.partition("=")[0] in complaint


def test_nothing_given_is_nothing_chosen() -> None:
    assert parse() == {}


def test_every_setting_has_its_option() -> None:
    names = {parameter.name for parameter in options_of()}

    assert names == {field.name for field in fields(ClusterLimits)} | set(TICKS)


def options_of() -> list[click.Parameter]:
    @click.command()
    @limit_options
    def verb(**options: Any) -> None: ...

    return verb.params
