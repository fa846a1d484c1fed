"""Verbs over nodes: start, stop, restart, kill, pause, resume, transfer.

NODE… are selectors (`n2`, `n[1-3]`, `leader`, `2 of followers`, `!leader`). They travel to the
supervisor as typed: it resolves them at the moment of acting, and the resolution is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import click

from cluster.document import Affected
from cluster.errors import ClusterError
from tools.cli.completion import complete_node, complete_selector
from tools.cli.duration import duration, format_duration
from tools.cli.exit import Exit, Failure
from tools.cli.session import Session, pass_session
from tools.cli.table import printable
from tools.cli.target import reach
from tools.cli.verb import Verb

Function = TypeVar("Function", bound=Callable[..., Any])
STOP_TIMEOUT = "10s"


def selectors() -> Callable[[Function], Function]:
    """The NODE… argument."""
    return click.argument(
        "nodes",
        metavar="NODE...",
        nargs=-1,
        required=True,
        callback=lambda _, __, words: joined(words),
        shell_complete=complete_selector,
    )


def joined(words: Sequence[str]) -> tuple[str, ...]:
    """Selectors as meant: the unquoted words `2 of followers` are one. Pure."""
    found: list[str] = []
    rest = list(words)
    while rest:
        taken = 3 if len(rest) >= 3 and rest[0].isdecimal() and rest[1] == "of" else 1
        found.append(" ".join(rest[:taken]))
        rest = rest[taken:]
    return tuple(found)


@click.command("start", cls=Verb, short_help="Start nodes that do not run.")
@selectors()
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until they serve.")
@pass_session
def start_verb(session: Session, nodes: tuple[str, ...], wait: bool) -> None:
    """Start nodes; those that run already count as done."""
    report(session, "start", lambda: reach(session).start(nodes, wait=wait))


@click.command("stop", cls=Verb, short_help="Drain, then end.")
@selectors()
@click.option(
    "--timeout", type=duration, default=STOP_TIMEOUT, show_default=True, help="Then SIGKILL."
)
@pass_session
def stop_verb(session: Session, nodes: tuple[str, ...], timeout: float) -> None:
    """Stop nodes in good order: a leader hands over first, then SIGTERM, then SIGKILL."""
    report(session, "stop", lambda: reach(session).stop(nodes, timeout_ms=int(timeout)))


@click.command("restart", cls=Verb, short_help="Stop and start; starts a stopped node too.")
@selectors()
@click.option("--rolling", is_flag=True, help="One by one, waiting until all have caught up.")
@click.option(
    "--timeout", type=duration, default=STOP_TIMEOUT, show_default=True, help="Then SIGKILL."
)
@pass_session
def restart_verb(session: Session, nodes: tuple[str, ...], rolling: bool, timeout: float) -> None:
    """Restart nodes."""
    client, patience_ms = reach(session), int(timeout)
    report(
        session, "restart", lambda: client.restart(nodes, timeout_ms=patience_ms, rolling=rolling)
    )


@click.command("kill", cls=Verb, short_help="SIGKILL, without warning.")
@selectors()
@click.option("--signal", default="SIGKILL", show_default=True, help="Another signal.")
@click.option("--restart-after", type=duration, help="Start again after this time.")
@pass_session
def kill_verb(
    session: Session, nodes: tuple[str, ...], signal: str, restart_after: float | None
) -> None:
    """Kill nodes, as a crash would: nothing is flushed, nobody is told."""
    after_ms = None if restart_after is None else int(restart_after)
    named = signal_name(signal)
    report(
        session, "kill", lambda: reach(session).kill(nodes, signal=named, restart_after_ms=after_ms)
    )


def signal_name(text: str) -> str:
    """`SIGTERM` for `SIGTERM`, `term` or `15`.

    Raises:
        click.BadParameter: there is no such signal.
    """
    import signal

    try:
        if text.isdecimal():
            return signal.Signals(int(text)).name
        name = text.upper()
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"].name
    except (KeyError, ValueError):
        raise click.BadParameter(f"there is no signal {text!r}", param_hint="--signal") from None


@click.command("pause", cls=Verb, short_help="SIGSTOP: alive, silent.")
@selectors()
@click.option("--for", "period", type=duration, help="Resume by itself after this time.")
@pass_session
def pause_verb(session: Session, nodes: tuple[str, ...], period: float | None) -> None:
    """Pause nodes: they keep their sockets and files and answer nobody."""
    for_ms = None if period is None else int(period)
    report(session, "pause", lambda: reach(session).pause(nodes, for_ms=for_ms))


@click.command("resume", cls=Verb, short_help="SIGCONT.")
@selectors()
@pass_session
def resume_verb(session: Session, nodes: tuple[str, ...]) -> None:
    """Resume paused nodes; those that run count as done."""
    report(session, "resume", lambda: reach(session).resume(nodes))


@click.command("transfer", cls=Verb, short_help="Hand leadership over.")
@click.argument("to", metavar="[TO]", required=False, shell_complete=complete_node)
@click.option("--timeout", type=duration, default="5s", show_default=True, help="Patience.")
@pass_session
def transfer_verb(session: Session, to: str | None, timeout: float) -> None:
    """Hand leadership to node TO, or to the follower that is furthest along."""
    done = reach(session).transfer(to, timeout_ms=int(timeout))
    lines = [
        f"transfer → {done.get('to')} (term {done.get('term')},"
        f" {format_duration(done.get('ms') or 0)})"
    ]
    session.done({"schema": "conclave/transfer.v1", **done}, lines)


def report(session: Session, verb: str, act: Callable[[], Affected]) -> None:
    """Do it, print whom the selector meant and what was done to them.

    The result is printed also when some nodes failed: who did not is part of it.

    Raises:
        Failure: some nodes failed; PARTLY_DONE when others did not.
    """
    try:
        affected = act()
    except ClusterError as error:
        if "failed" not in error.data:
            raise
        affected = cast(Affected, error.data)
    document = {"schema": f"conclave/{verb}.v1", **affected}
    session.done(document, affected_lines(verb, affected))
    if affected["failed"]:
        raise failure_of(verb, affected)


def affected_lines(verb: str, affected: Affected) -> list[str]:
    """`kill leader → n2 (3 ms)`, then a line for nodes that needed nothing."""
    head = f"{verb} {affected['selector']} → {' '.join(affected['resolved']) or 'nobody'}"
    lines = [printable(f"{head} ({format_duration(affected['ms'])})")]
    if affected["unchanged"]:
        lines.append(printable(f"  nothing to do for {' '.join(affected['unchanged'])}"))
    return lines


def failure_of(verb: str, affected: Affected) -> Failure:
    """What to say when a verb failed on some or all of its nodes."""
    failed = affected["failed"]
    some = bool(affected["done"] or affected["unchanged"])
    return Failure(
        f"{verb} failed on {', '.join(failed)}",
        code=Exit.PARTLY_DONE if some else Exit.FAILED,
        cause="\n".join(f"{name}: {reason}" for name, reason in failed.items()),
        hint=f"conclave logs {' '.join(failed)}, conclave doctor",
        data={"done": affected["done"], "failed": failed},
    )
