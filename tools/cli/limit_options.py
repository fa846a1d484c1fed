"""Options of `up` that etcd has as flags: its names, and what a user may write as their values.

Sizes are bytes as in etcd, or with a unit (`8GiB`). Durations have a unit, but for those of
`--heartbeat-interval` and `--election-timeout`, which are milliseconds in etcd and may be here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from cluster.limits import ClusterLimits, Metrics
from node.errors import ConfigError
from node.retention_text import Mode
from node.token_option import parse
from tools.cli.duration import duration, parse_duration, parse_size

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]
TICKS = {"heartbeat_interval": "heartbeat_ticks", "election_timeout": "election_ticks"}
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


class TickTime(click.ParamType[float]):
    """Milliseconds as etcd's flag has them, bare, or a duration with a unit."""

    name = "milliseconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        text = str(value).strip()
        if text.isdecimal():
            return float(text)
        try:
            return parse_duration(text)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class TokenKind(click.ParamType[str]):
    """What etcd's flag takes; key files are found where the command is typed."""

    name = "kind"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return str(parse(str(value)).within(Path.cwd()))
        except ConfigError as error:
            self.fail(str(error), param, ctx)


def _size(flag: str, text: str) -> Decorator:
    return click.option(flag, type=Bytes(), metavar="SIZE", help=text)


def _count(flag: str, text: str) -> Decorator:
    return click.option(flag, type=int, metavar="N", help=text)


def _time(flag: str, text: str) -> Decorator:
    name = flag.removeprefix("--").replace("-", "_") + "_ms"
    return click.option(flag, name, type=duration, metavar="TIME", help=text)


OPTIONS = (
    click.option("--heartbeat-interval", type=TickTime(), metavar="MS", help="[default: 50]"),
    click.option("--election-timeout", type=TickTime(), metavar="MS", help="[default: 500]"),
    _size("--quota-backend-bytes", "Largest state of a node; -1 = any.  [default: 2GiB]"),
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
    _time("--lease-checkpoint-interval", "Between notes on leases; 0 = off.  [default: 5m]"),
    _size("--max-request-bytes", "Largest request.  [default: 1.5MiB]"),
    _count("--max-txn-ops", "Operations of one txn.  [default: 128]"),
    _count("--max-concurrent-streams", "Open calls of one client.  [default: 10000]"),
    _time("--grpc-keepalive-min-time", "Between a client's pings, at least.  [default: 5s]"),
    _time("--grpc-keepalive-interval", "Until a silent client is pinged.  [default: 2h]"),
    _time("--grpc-keepalive-timeout", "Until it is cut off then.  [default: 20s]"),
    _time("--watch-progress-notify-interval", "Between progress reports.  [default: 10m]"),
    _count("--snapshot-count", "Entries that the log keeps.  [default: 10000]"),
    click.option(
        "--auth-token",
        type=TokenKind(),
        metavar="KIND",
        help="simple, or jwt,sign-method=…,priv-key=FILE.  [default: simple]",
    ),
    _time("--auth-token-ttl", "Simple tokens live so long unused.  [default: 5m]"),
    _count("--bcrypt-cost", "Of the passwords' hashes.  [default: 10]"),
    click.option(
        "--metrics",
        type=click.Choice(get_args(Metrics)),
        help="extensive: with the time of each call.  [default: basic]",
    ),
    click.option("--cors", metavar="ORIGINS", help="Pages that may read over HTTP.  [default: *]"),
    _time("--corrupt-check-time", "Between checks of the state; 0 = off.  [default: 1m]"),
)


def limit_options(command: Command) -> Command:
    """Add all of them to a verb, in order."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def chosen_limits(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were given, by the names that `ClusterLimits` has for them."""
    return {
        name: round(value) if name.endswith("_ms") else value
        for name, value in options.items()
        if name in FIELDS and value is not None
    }


def chosen_ticks(options: Mapping[str, Any], tick_ms: int) -> dict[str, int]:
    """Heartbeats and elections in whole ticks, those that were given.

    Raises:
        click.BadParameter: less than one tick.
    """
    chosen = {}
    for name, field in TICKS.items():
        given = options.get(name)
        if given is None:
            continue
        if given < tick_ms:
            raise click.BadParameter(
                f"{given:g} ms is less than a tick of {tick_ms} ms",
                param_hint="--" + name.replace("_", "-"),
            )
        chosen[field] = round(given / tick_ms)
    return chosen
