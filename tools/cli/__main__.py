"""The command's composition root: which verb lives where, signals, and nothing else."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

import click

from tools.cli.exit import Terminated
from tools.cli.session import Session
from tools.cli.verb import PROGRAM, Root

SECTIONS = {
    "Cluster": {
        "up": "tools.cli.cluster",
        "down": "tools.cli.cluster",
        "ls": "tools.cli.cluster",
        "rm": "tools.cli.cluster",
        "status": "tools.cli.look",
        "wait": "tools.cli.look",
        "env": "tools.cli.look",
    },
    "Nodes": {
        "start": "tools.cli.node",
        "stop": "tools.cli.node",
        "restart": "tools.cli.node",
        "kill": "tools.cli.node",
        "pause": "tools.cli.node",
        "resume": "tools.cli.node",
        "transfer": "tools.cli.node",
        "add": "tools.cli.membership",
        "promote": "tools.cli.membership",
        "remove": "tools.cli.membership",
        "replace": "tools.cli.membership",
    },
    "Data": {
        "kv": "tools.cli.kv",
        "mirror": "tools.cli.mirror",
        "bench": "tools.cli.bench",
    },
    "Look": {
        "logs": "tools.cli.record",
        "events": "tools.cli.record",
        "history": "tools.cli.record",
        "metrics": "tools.cli.record",
    },
    "Tool": {
        "doctor": "tools.cli.tool",
        "completion": "tools.cli.tool",
        "version": "tools.cli.tool",
    },
}
ALIASES = {"st": "status"}


def show_help(ctx: click.Context, **_: Any) -> None:
    """Without a verb: the help, as a plain answer."""
    if ctx.invoked_subcommand is None:
        ctx.obj.line(ctx.get_help())


def show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """`--version`: the same line as the verb's."""
    if wanted and not ctx.resilient_parsing:
        from tools.cli.tool import version_document, version_lines

        ctx.ensure_object(Session).result(version_document(), version_lines())
        ctx.exit()


conclave = Root(
    SECTIONS,
    ALIASES,
    name=PROGRAM,
    help="A local, crash-proof, etcd-compatible cluster in one command.",
    epilog="A first tour: conclave up · conclave status · conclave kill leader · conclave down",
    invoke_without_command=True,
    callback=click.pass_context(show_help),
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            callback=show_version,
            help="Print the version and leave.",
        )
    ],
)


def terminated(_: int, __: FrameType | None) -> None:
    """SIGTERM ends the verb by its `finally` clauses, as Ctrl-C does."""
    raise Terminated


def main() -> None:
    """The `conclave` program."""
    signal.signal(signal.SIGTERM, terminated)
    conclave.main()


if __name__ == "__main__":
    main()
