"""Verbs that show what was recorded: logs, events, history, metrics.

What is in files is read from files when the cluster does not run, so that the moment after a crash
is not the moment when nothing can be seen.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path

import click

from cluster.client import ClusterClient, KnownCluster, known_clusters
from cluster.document import HISTORY_SCHEMA, Event, HistoryDocument
from cluster.errors import NotRunning
from cluster.event import read_events
from cluster.leadership import reigns
from tools.cli.completion import complete_event_type, complete_selector
from tools.cli.duration import duration
from tools.cli.event_view import event_line, history_lines, wanted
from tools.cli.exit import Exit, Failure
from tools.cli.log_view import LogLine, Tail, merged
from tools.cli.session import Session, encode, pass_session
from tools.cli.table import printable
from tools.cli.target import reach, target_name
from tools.cli.verb import Verb

FOLLOW_EVERY_S = 0.1
LINES = 100
SUPERVISOR = "supervisor"
"""Stands for the daemon's own log among the nodes of `logs`."""
NODE_COLOURS = ("cyan", "green", "yellow", "red")


@click.command("logs", cls=Verb, short_help="What the nodes wrote, merged by time.")
@click.argument("nodes", metavar="[NODE]...", nargs=-1, shell_complete=complete_selector)
@click.option("-f", "--follow", is_flag=True, help="Go on as they write.")
@click.option("-n", "--lines", type=click.IntRange(0), default=LINES, show_default=True)
@click.option("--since", type=duration, help="Only lines younger than this.")
@click.option("--grep", metavar="REGEX", help="Only lines that match.")
@click.pass_context
def logs_verb(
    ctx: click.Context,
    nodes: tuple[str, ...],
    follow: bool,
    lines: int,
    since: float | None,
    grep: str | None,
) -> None:
    """Show logs of NODE… (default: all; `supervisor` is the daemon), of a stopped cluster too."""
    session = ctx.ensure_object(Session)
    passes = line_filter(grep, moment_before(since))
    paths = log_paths(session, nodes or ("all",))
    tails = [Tail(node, path, from_end=True) for node, path in paths.items()] if follow else []
    show = line_writer(session, list(paths))
    for line in deque(filter(passes, merged(paths)), maxlen=lines):
        show(line)
    while tails:
        for line in sorted(line for tail in tails for line in tail.poll()):
            if passes(line):
                show(line)
        time.sleep(FOLLOW_EVERY_S)


def log_paths(session: Session, selectors: Sequence[str]) -> dict[str, Path]:
    """Log file per node: by the supervisor's word, or by the directory when it does not run.

    Raises:
        Failure: there is no such cluster or node.
    """
    client = reach(session)
    own = (
        {SUPERVISOR: directory_of(client.name) / "supervisor.log"}
        if SUPERVISOR in selectors
        else {}
    )
    nodes = [selector for selector in selectors if selector != SUPERVISOR]
    if not nodes:
        return own
    try:
        return {node: Path(path) for node, path in client.logs(nodes).items()} | own
    except NotRunning:
        return logs_on_disk(client.name, nodes) | own


def logs_on_disk(name: str, nodes: Sequence[str]) -> dict[str, Path]:
    """Log files of a cluster that does not run.

    Raises:
        Failure: there is no such cluster or node.
    """
    found = {path.parent.name: path for path in sorted(directory_of(name).glob("n*/log"))}
    chosen = list(found) if list(nodes) == ["all"] else nodes
    missing = [node for node in chosen if node not in found]
    if missing or not chosen:
        raise Failure(
            f"no logs of {' '.join(missing) or 'any node'} in stopped cluster {name!r}",
            code=Exit.NOT_RUNNING,
            cause="roles mean nothing while it is stopped, only names do" if found else "",
            hint=f"conclave logs {' '.join(found)}" if found else "conclave up",
        )
    return {node: found[node] for node in chosen}


def directory_of(name: str) -> Path:
    """Where the data of a cluster is, running or not.

    Raises:
        Failure: there is no such cluster.
    """
    return known(name).directory


def known(name: str) -> KnownCluster:
    """A cluster that exists here.

    Raises:
        Failure: it does not.
    """
    for cluster in known_clusters():
        if cluster.name == name:
            return cluster
    raise Failure(
        f"there is no cluster {name!r}", code=Exit.NOT_RUNNING, hint="conclave up, conclave ls"
    )


def moment_before(since_ms: float | None) -> datetime | None:
    """The time that `--since` reaches back to."""
    return None if since_ms is None else datetime.now(UTC) - timedelta(milliseconds=since_ms)


def line_filter(grep: str | None, since: datetime | None) -> Callable[[LogLine], bool]:
    """Whether a line passes `--grep` and `--since`.

    Raises:
        click.BadParameter: not a regular expression.
    """
    try:
        pattern = re.compile(grep or "")
    except re.error as error:
        raise click.BadParameter(str(error), param_hint="--grep") from error

    def passes(line: LogLine) -> bool:
        young = since is None or line.moment >= since
        return young and pattern.search(line.text) is not None

    return passes


def line_writer(session: Session, nodes: Sequence[str]) -> Callable[[LogLine], None]:
    """How a line is shown: as JSON, or behind its node's name when there are several."""
    paint = session.out
    width = max(map(len, nodes), default=0)
    colours = {node: NODE_COLOURS[i % len(NODE_COLOURS)] for i, node in enumerate(nodes)}

    def show(line: LogLine) -> None:
        if session.json:
            schema = {"schema": "conclave/log.v1", "node": line.node, "text": line.text}
            session.line(encode(schema))
            return
        prefix = (
            f"{paint(f'{line.node:<{width}}', colours[line.node])} │ " if len(nodes) > 1 else ""
        )
        session.line(prefix + printable(line.text.replace("\t", "    ")))

    return show


@click.command("events", cls=Verb, short_help="What happened: deaths, elections, faults.")
@click.option("-f", "--follow", is_flag=True, help="Go on as they happen.")
@click.option("--since", type=duration, help="Only events younger than this.")
@click.option("--after", type=click.IntRange(0), default=0, metavar="SEQ", help="After this one.")
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="TYPE",
    shell_complete=complete_event_type,
    help="Only these, e.g. leader.elected or 'node.*'; repeatable.",
)
@click.option("-n", "--lines", type=click.IntRange(1), help="Only the last so many, then go on.")
@click.pass_context
def events_verb(
    ctx: click.Context,
    follow: bool,
    since: float | None,
    after: int,
    types: tuple[str, ...],
    lines: int | None,
) -> None:
    """Show events, one line each, oldest first."""
    session = ctx.ensure_object(Session)
    moment = moment_before(since)
    name = target_name(session)
    past = [event for event in recorded(name) if event["seq"] > after]
    chosen = [event for event in past if wanted(event, types, moment)]
    show_events(session, chosen[-lines:] if lines else chosen)
    if follow:
        newest = past[-1]["seq"] if past else after
        coming = ClusterClient(name).events(since=newest, follow=True)
        show_events(session, (event for event in coming if wanted(event, types, moment)))


def recorded(name: str) -> Iterator[Event]:
    """Every event on disk, of earlier runs too.

    Raises:
        Failure: there is no such cluster.
    """
    return read_events(directory_of(name) / "events.jsonl")


def show_events(session: Session, events: Iterable[Event]) -> None:
    """One line each; the snapshot that opens a followed stream is for programs only."""
    paint = session.out
    for event in events:
        if session.json:
            session.line(encode(event))
        elif "seq" in event and event.get("type") != "snapshot":
            session.line(event_line(event, paint))


@click.command("history", cls=Verb, short_help="Who led, from when to when, and why it ended.")
@pass_session
def history_verb(session: Session) -> None:
    """Show the leaders of this cluster, oldest first."""
    client = reach(session)
    try:
        document = client.history()
    except NotRunning:
        document = history_on_disk(client.name)
    session.result(document, history_lines(document["reigns"], session.out))


def history_on_disk(name: str) -> HistoryDocument:
    """The same fold over the event file of a cluster that does not run."""
    return {"schema": HISTORY_SCHEMA, "cluster": name, "reigns": reigns(recorded(name))}


@click.command("metrics", cls=Verb, short_help="Prometheus text of supervisor and nodes.")
@pass_session
def metrics_verb(session: Session) -> None:
    """Print the metrics as Prometheus would scrape them; with --json as a list of samples."""
    text = reach(session).metrics()
    session.result(metrics_document(text) if session.json else {}, text.splitlines())


def metrics_document(text: str) -> dict[str, object]:
    """Schema `conclave/metrics.v1`: every sample; JSON has no NaN and no infinity, so null."""
    # Imported here: nobody else on the command line needs the library.
    from prometheus_client.parser import text_string_to_metric_families

    samples = [
        {
            "name": sample.name,
            "labels": sample.labels,
            "value": sample.value if isfinite(sample.value) else None,
            "type": family.type,
        }
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    return {"schema": "conclave/metrics.v1", "samples": samples}
