"""Options of `up` that etcd has as flags: its names, and what a user may write as their values.

Sizes are bytes as in etcd, or with a unit (`8GiB`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_args

import click

from cluster.limits import ClusterLimits
from node.retention_text import Mode
from tools.cli.duration import parse_size

Command = TypeVar("Command", bound=Callable[..., Any])
FIELDS = frozenset(field.name for field in fields(ClusterLimits))


class Bytes(click.ParamType[int]):
    """A whole number of bytes, negative too, or a size with a unit."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip()
        if text.removeprefix("-").isdecimal():
            return int(text)
        try:
            return parse_size(text)
        except ValueError as error:
            self.fail(str(error), param, ctx)


OPTIONS = (
    click.option(
        "--quota-backend-bytes",
        type=Bytes(),
        metavar="SIZE",
        help="Largest state of a node; -1 = any.  [default: 2GiB]",
    ),
    click.option(
        "--auto-compaction-mode",
        type=click.Choice(get_args(Mode)),
        help="What the retention counts.  [default: periodic]",
    ),
    click.option(
        "--auto-compaction-retention",
        metavar="TIME|N",
        help="History to keep: 1 (hours), 30m, or N revisions.  [default: all]",
    ),
)


def limit_options(command: Command) -> Command:
    """Add all of them to a verb, in order."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def chosen_limits(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were given, by the names that `ClusterLimits` has for them."""
    return {name: value for name, value in options.items() if name in FIELDS and value is not None}
