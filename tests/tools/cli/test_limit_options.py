"""The options of `up` that etcd has as flags."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click
import pytest
from click.testing import CliRunner

from cluster.limits import ClusterLimits
from tools.cli.limit_options import chosen_limits, limit_options


def parse(*arguments: str) -> dict[str, Any] | str:
    """What was chosen, or the complaint."""
    found: dict[str, Any] = {}

    @click.command()
    @limit_options
    def verb(**options: Any) -> None:
        found.update(chosen_limits(options))

    ran = CliRunner().invoke(verb, arguments)
    return found if ran.exit_code == 0 else ran.output


GIVEN: list[tuple[str, dict[str, Any]]] = [
    ("--quota-backend-bytes=8589934592", {"quota_backend_bytes": 8 << 30}),
    ("--quota-backend-bytes=8GiB", {"quota_backend_bytes": 8 << 30}),
    ("--quota-backend-bytes=-1", {"quota_backend_bytes": -1}),
    ("--auto-compaction-mode=revision", {"auto_compaction_mode": "revision"}),
    ("--auto-compaction-retention=10h", {"auto_compaction_retention": "10h"}),
]


@pytest.mark.parametrize(("argument", "chosen"), GIVEN, ids=[argument for argument, _ in GIVEN])
def test_option_is_a_setting(argument: str, chosen: dict[str, Any]) -> None:
    assert parse(argument) == chosen


@pytest.mark.parametrize(
    "argument", ["--quota-backend-bytes=much", "--auto-compaction-mode=hourly"]
)
def test_what_cannot_be_read_is_refused_by_name(argument: str) -> None:
    complaint = parse(argument)

    assert argument.partition("=")[0] in complaint


def test_nothing_given_is_nothing_chosen() -> None:
    assert parse() == {}


def test_every_setting_has_its_option() -> None:
    names = {parameter.name for parameter in options_of()}

    assert names == {field.name for field in fields(ClusterLimits)}


def options_of() -> list[click.Parameter]:
    @click.command()
    @limit_options
    def verb(**options: Any) -> None: ...

    return verb.params
