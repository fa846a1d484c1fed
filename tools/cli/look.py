"""Verbs that look at the cluster as it is now: status, wait, env. They never disturb it."""

from __future__ import annotations

import os
import shlex
import sys
import time
from typing import TYPE_CHECKING

import click

from cluster.config import runtime_root
from cluster.variables import TLS_VARIABLES, etcdctl_variables
from tools.cli.completion import complete_condition
from tools.cli.duration import duration, format_duration
from tools.cli.exit import Exit
from tools.cli.session import Session, encode, pass_session
from tools.cli.status_view import status_lines
from tools.cli.target import reach
from tools.cli.verb import Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.client import ClusterClient
    from cluster.document import StatusDocument

HOME_AND_CLEAR = "\x1b[H\x1b[J"
LINE_CLEAR = "\x1b[K"
SHELLS = ("sh", "bash", "zsh", "fish", "csh")


@click.command("status", cls=Verb, short_help="Who leads, who is up, how far behind.")
@click.option(
    "-w",
    "--watch",
    type=duration,
    is_flag=False,
    flag_value="1s",
    metavar="[EVERY]",
    help="Again and again, every second or as told.",
)
@click.option("-o", "--output", type=click.Choice(["table", "wide"]), default="table")
@click.pass_context
def status_verb(ctx: click.Context, watch: float | None, output: str) -> None:
    """Show the cluster as its supervisor sees it now. Exit code 6 unless it is READY."""
    session = ctx.ensure_object(Session)
    client = reach(session)
    wide = output == "wide"
    if watch is not None:
        watch_status(session, client, watch / 1_000, wide)
    document = client.status()
    session.result(document, status_lines(document, session.out, wide=wide))
    if document["state"] != "READY":
        ctx.exit(Exit.DEGRADED)


def watch_status(session: Session, client: ClusterClient, every_s: float, wide: bool) -> None:
    """Show the status until interrupted: in place on a terminal, else block after block."""
    in_place = sys.stdout.isatty() and not session.json
    if in_place:
        session.line(HOME_AND_CLEAR)
    while True:
        show_once(session, client.status(), wide, in_place)
        time.sleep(every_s)


def show_once(session: Session, document: StatusDocument, wide: bool, in_place: bool) -> None:
    """One refresh; lines are overwritten rather than cleared first, which would flicker."""
    if session.json:
        session.line(encode(document))
        return
    lines = [*status_lines(document, session.out, wide=wide), ""]
    if in_place:
        session.line("\x1b[H" + "\n".join(line + LINE_CLEAR for line in lines) + "\x1b[J")
    else:
        session.line("\n".join(lines))


@click.command("wait", cls=Verb, short_help="Block until a condition holds.")
@click.argument(
    "condition", metavar="COND...", nargs=-1, required=True, shell_complete=complete_condition
)
@click.option("--timeout", type=duration, default="30s", show_default=True, help="Then exit 4.")
@click.option("--for", "period", type=duration, default="0", help="It must hold this long.")
@pass_session
def wait_verb(session: Session, condition: tuple[str, ...], timeout: float, period: float) -> None:
    """Block until COND holds: ready, leader, no-leader, converged, down, node n2=paused, term>7,
    event TYPE. Quote `term>7`, or the shell takes it for a redirection."""
    met = reach(session).wait(" ".join(condition), timeout_ms=int(timeout), for_ms=int(period))
    document = {"schema": "conclave/wait.v1", **met}
    session.done(document, [f"{met['condition']} ({format_duration(met['waited_ms'])})"])


@click.command("env", cls=Verb, short_help="Variables for etcdctl and for scripts.")
@click.option("--shell", type=click.Choice(SHELLS), default="sh", show_default=True, help="Syntax.")
@click.option("--unset", is_flag=True, help="Print how to undo it; needs no cluster.")
@pass_session
def env_verb(session: Session, shell: str, unset: bool) -> None:
    """Print variables to evaluate: eval "$(conclave env)"."""
    if unset:
        names = [*environment_of({}, "", ""), *TLS_VARIABLES]
        lines = [unset_line(name, shell) for name in names]
        session.result({"schema": "conclave/env.v1", "unset": names}, lines)
        return
    client = reach(session)
    etcdctl = etcdctl_variables(client.status())
    variables = environment_of(etcdctl, client.name, socket_of(client.name))
    lines = [export_line(*pair, shell) for pair in variables.items()]
    # Left over from another cluster they would make etcdctl speak TLS to this one.
    left = [name for name in TLS_VARIABLES if name in os.environ and name not in variables]
    lines += [unset_line(name, shell) for name in left]
    session.result({"schema": "conclave/env.v1", "variables": variables}, lines)


def socket_of(cluster: str) -> str:
    """The management socket, for `curl --unix-socket`."""
    return str(runtime_root() / cluster / "ctl.sock")


def environment_of(etcdctl: Mapping[str, str], cluster: str, socket: str) -> Mapping[str, str]:
    """What a shell should know about a cluster, besides what etcdctl reads."""
    return {
        "ETCDCTL_API": "3",
        "ETCDCTL_ENDPOINTS": "",
        **etcdctl,
        "CONCLAVE_CLUSTER": cluster,
        "CONCLAVE_SOCKET": socket,
    }


def export_line(name: str, value: str, shell: str) -> str:
    """One variable in the syntax of a shell."""
    quoted = shlex.quote(value)
    if shell == "fish":
        return f"set -gx {name} {quoted};"
    return f"setenv {name} {quoted};" if shell == "csh" else f"export {name}={quoted}"


def unset_line(name: str, shell: str) -> str:
    """How to forget one variable."""
    if shell == "fish":
        return f"set -e {name};"
    return f"unsetenv {name};" if shell == "csh" else f"unset {name}"
