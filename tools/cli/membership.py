"""Verbs that change who the nodes are: add, promote, remove, replace."""

from __future__ import annotations

import click

from tools.cli.duration import duration, format_duration
from tools.cli.node import report, selectors
from tools.cli.session import Session, pass_session
from tools.cli.table import printable
from tools.cli.target import reach
from tools.cli.verb import Verb

PATIENCE = "30s"


@click.command("add", cls=Verb, short_help="One node more, with a vote once it has caught up.")
@click.option("--learner", is_flag=True, help="Leave it without a vote.")
@click.option("--timeout", type=duration, default=PATIENCE, show_default=True, help="Patience.")
@pass_session
def add_verb(session: Session, learner: bool, timeout: float) -> None:
    """Add a node: new id, port and directory; returns when it has the data, and its vote."""
    added = reach(session).add(learner=learner, timeout_ms=int(timeout))
    line = f"add → {added['node']} at {added['client']}, {added['role']}"
    lines = [printable(f"{line} ({format_duration(added['ms'])})")]
    session.done({"schema": "conclave/add.v1", **added}, lines)


@click.command("promote", cls=Verb, short_help="Give a learner a vote.")
@selectors()
@click.option("--timeout", type=duration, default=PATIENCE, show_default=True, help="Patience.")
@pass_session
def promote_verb(session: Session, nodes: tuple[str, ...], timeout: float) -> None:
    """Promote learners as soon as they have caught up; voters count as done."""
    patience_ms = int(timeout)
    report(session, "promote", lambda: reach(session).promote(nodes, timeout_ms=patience_ms))


@click.command("remove", cls=Verb, short_help="Take nodes out of the cluster for ever.")
@selectors()
@click.option("--timeout", type=duration, default=PATIENCE, show_default=True, help="Patience.")
@pass_session
def remove_verb(session: Session, nodes: tuple[str, ...], timeout: float) -> None:
    """Remove nodes, running or not, one by one; their files go to removed/ in the directory."""
    patience_ms = int(timeout)
    report(session, "remove", lambda: reach(session).remove(nodes, timeout_ms=patience_ms))


@click.command("replace", cls=Verb, short_help="An empty node with a new id in the place of one.")
@selectors()
@click.option("--timeout", type=duration, default=PATIENCE, show_default=True, help="Patience.")
@pass_session
def replace_verb(session: Session, nodes: tuple[str, ...], timeout: float) -> None:
    """Replace nodes: the way out of quarantine. The others must be a quorum without them."""
    patience_ms = int(timeout)
    report(session, "replace", lambda: reach(session).replace(nodes, timeout_ms=patience_ms))
