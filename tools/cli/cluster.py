"""Verbs over whole clusters: up, down, ls, rm."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast, get_args

import click

from cluster.client import ClusterClient, KnownCluster, known_clusters, launch, remove
from cluster.config import ClusterConfig, RestartPolicy, load, paths_of
from cluster.document import Progress, StatusDocument
from cluster.errors import ClusterError, NotRunning
from tools.cli.completion import complete_cluster
from tools.cli.duration import duration, format_duration
from tools.cli.exit import Exit, Failure
from tools.cli.limit_options import chosen_limits, chosen_ticks, limit_options
from tools.cli.progress import Launch, ready_lines, tilde, up_document
from tools.cli.session import Session, pass_session
from tools.cli.status_view import NONE
from tools.cli.table import columns, printable
from tools.cli.target import DEFAULT, checked_name, target_name
from tools.cli.tls_options import chosen_tls, server_tls_options
from tools.cli.verb import Verb

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

STATE_COLOURS = {"running": "green", "stale": "yellow", "stopped": "dim"}
ANSWER_MS = 1_000
"""Patience with one supervisor in `ls`: a hanging cluster must not hide the others."""


@click.command("up", cls=Verb, short_help="Start, and wait until a write is committed.")
@click.argument("size", metavar="[N]", type=click.IntRange(1), required=False)
@click.option("-n", "--nodes", type=click.IntRange(1), help="How many nodes.  [default: 3]")
@click.option("-a", "--attach", is_flag=True, help="Stay in front; Ctrl-C stops, twice kills.")
@click.option("--data", type=click.Path(file_okay=False), help="Data directory.")
@click.option("--ephemeral", is_flag=True, default=None, help="The data goes with the cluster.")
@click.option("--timeout", type=duration, default="30s", show_default=True, help="To be ready in.")
@click.option("--retain", is_flag=True, help="Keep a cluster that does not become ready.")
@click.option("--ports", metavar="auto|BASE", help="First of consecutive ports, or any.")
@click.option("--restart-policy", type=click.Choice(get_args(RestartPolicy)), help="For crashes.")
@click.option("--leader", "first_leader", metavar="NODE", help="Who campaigns first, once.")
@click.option(
    "--from-snapshot",
    "seed_path",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="Begin with what an etcd had.",
)
@server_tls_options
@limit_options
@click.pass_context
def up_verb(ctx: click.Context, /, **options: Any) -> None:
    """Bring up a cluster of N nodes and return when a leader has committed a write.

    On a cluster that is up already this succeeds and changes nothing.
    """
    session = ctx.ensure_object(Session)
    config = wanted_config(session, options)
    launched = Launch()
    # Closed by name: an interrupted launch is undone here and now, not whenever it is collected.
    steps = launch(config, timeout_s=options["timeout"] / 1_000, retain=options["retain"])
    with contextlib.closing(cast("Generator[Progress]", steps)):
        show_launch(session, launched, steps)
    status = launched.status or ClusterClient(config.name).status()
    check_size(status, size_of(options))

    def announce() -> None:
        session.done(up_document(launched, status), ready_lines(launched, status, session.out))

    if options["attach"]:
        from tools.cli.attach import attach

        attach(session, ClusterClient(config.name), announce)
    else:
        announce()


def show_launch(session: Session, launched: Launch, steps: Iterable[Progress]) -> None:
    """Draw the phases as they end."""
    for progress in steps:
        line = launched.take(progress, session.err)
        if line:
            session.note(line)


def size_of(options: Mapping[str, Any]) -> int | None:
    """`up 5` and `up -n 5` mean the same; both at once must agree."""
    size, nodes = options["size"], options["nodes"]
    if size is not None and nodes is not None and size != nodes:
        raise click.UsageError(f"{size} nodes and -n {nodes} contradict each other")
    chosen = size if size is not None else nodes
    return None if chosen is None else int(chosen)


def wanted_config(session: Session, options: Mapping[str, Any]) -> ClusterConfig:
    """What was stored for this cluster, changed by what was typed.

    Without a name this is `default`, also while another cluster runs: `up` creates, so it must not
    slip into a cluster that was not named.
    """
    name = checked_name(session.cluster or DEFAULT)
    given = {
        "nodes": size_of(options),
        "directory": options["data"],
        "ephemeral": options["ephemeral"],
        "port_base": port_base(options["ports"]),
        "restart_policy": options["restart_policy"],
        "first_leader": options["first_leader"],
        "seed_path": options["seed_path"],
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    chosen |= chosen_limits(options)
    directory = {key: chosen[key] for key in ("directory", "ephemeral") if key in chosen}
    stored = load(paths_of(ClusterConfig(name=name, **directory)).config)
    base = replace(stored[0], name=name) if stored is not None else ClusterConfig(name=name)
    chosen |= chosen_ticks(options, base.tick_ms)
    return replace(base, tls=chosen_tls(options, base.tls), **chosen)


def port_base(text: str | None) -> int | None:
    """`auto` is 0: any block that is free.

    Raises:
        click.BadParameter: neither `auto` nor a port.
    """
    if text is None or text == "auto":
        return None if text is None else 0
    if text.isdecimal() and 1024 <= int(text) <= 65_535:
        return int(text)
    raise click.BadParameter(f"{text!r} is neither auto nor a port", param_hint="--ports")


def check_size(status: StatusDocument, wanted: int | None) -> None:
    """Refuse to call a cluster of another size "already up"."""
    found = len(status["nodes"])
    if wanted is not None and wanted != found:
        raise Failure(
            f"cluster {status['cluster']!r} runs with {found} nodes, not {wanted}",
            code=Exit.CONFLICT,
            cause="the size of a cluster is chosen when it is created",
            hint=f"conclave up -n {wanted} -c another-name",
            data={"nodes": found},
        )


@click.command("down", cls=Verb, short_help="Stop all nodes and the supervisor; keep the data.")
@click.option("--wipe", is_flag=True, help="Delete the data too.")
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@click.option("--all", "every", is_flag=True, help="Every cluster that runs.")
@click.option("--timeout", type=duration, default="10s", show_default=True, help="Then SIGKILL.")
@pass_session
def down_verb(session: Session, wipe: bool, yes: bool, every: bool, timeout: float) -> None:
    """Stop a cluster. One that is down already counts as done."""
    names = running_names() if every else [target_name(session)]
    if wipe and names:
        confirm(session, f"delete all data of {', '.join(names)}", yes)
    stopped = [name for name in names if take_down(name, wipe, timeout)]
    already = [name for name in names if name not in stopped]
    document = {"schema": "conclave/down.v1", "stopped": stopped, "already_down": already}
    lines = [f"{name} stopped{' and wiped' if wipe else ''}" for name in stopped]
    lines += [f"{name} {'wiped' if wipe else 'is down already'}" for name in already]
    session.done({**document, "wiped": wipe}, lines or ["nothing runs"])


def running_names() -> list[str]:
    """Every cluster that has a supervisor now."""
    return [known.name for known in known_clusters() if known.state == "running"]


def take_down(name: str, wipe: bool, timeout: float) -> bool:
    """Stop one cluster; False when it was down already (its data is wiped all the same)."""
    try:
        ClusterClient(name).down(wipe=wipe, timeout_ms=int(timeout))
    except NotRunning:
        if wipe:
            remove(name)
        return False
    return True


def confirm(session: Session, deed: str, yes: bool) -> None:
    """Ask before something that cannot be undone: on a terminal only, else `--yes` is needed.

    Raises:
        Failure: the answer was no, or there is nobody to ask.
    """
    if yes:
        return
    if session.json or not sys.stdin.isatty():
        raise Failure(
            f"will not {deed} without being told twice",
            code=Exit.USAGE,
            cause="there is no terminal to ask at",
            hint="the same command with --yes",
        )
    if not click.confirm(f"{deed[0].upper()}{deed[1:]}?", err=True):
        raise Failure("nothing was deleted", cause="the answer was no")


@click.command("ls", cls=Verb, short_help="Clusters known here.")
@pass_session
def ls_verb(session: Session) -> None:
    """List clusters: running, stopped, or stale (their supervisor is gone)."""
    rows = [known_document(known) for known in known_clusters()]
    session.result({"schema": "conclave/ls.v1", "clusters": rows}, known_lines(session, rows))


def known_document(known: KnownCluster) -> dict[str, Any]:
    """One cluster: what its directories tell, and its supervisor's word while it runs."""
    status: StatusDocument | None = None
    if known.state == "running":
        try:
            status = ClusterClient(known.name, timeout_ms=ANSWER_MS).status()
        except ClusterError:
            # It runs and does not answer: the row says so by its missing figures.
            status = None
    return {
        "name": known.name,
        "state": known.state,
        "health": status["state"] if status else None,
        "nodes": len(status["nodes"]) if status else stored_size(known),
        "leader": status["leader"] if status else None,
        "uptime_ms": status["uptime_ms"] if status else None,
        "endpoints": status["endpoints"] if status else [],
        "supervisor_pid": known.pid,
        "directory": str(known.directory),
    }


def stored_size(known: KnownCluster) -> int | None:
    """The size that the data directory remembers."""
    try:
        stored = load(known.directory / "cluster.json")
    except ClusterError:
        return None
    return stored[0].nodes if stored else None


def known_lines(session: Session, rows: list[dict[str, Any]]) -> list[str]:
    """The table of `ls`."""
    if not rows:
        return ["no clusters; try: conclave up"]
    paint = session.out
    titles = ("NAME", "STATE", "HEALTH", "NODES", "LEADER", "UP", "PORTS", "DATA")
    table = [[paint(title, "bold") for title in titles]]
    for row in rows:
        ports = ",".join(endpoint.rpartition(":")[2] for endpoint in row["endpoints"])
        table.append(
            [
                printable(row["name"]),
                paint(row["state"], STATE_COLOURS[row["state"]]),
                row["health"] or NONE,
                str(row["nodes"] or NONE),
                row["leader"] or NONE,
                NONE if row["uptime_ms"] is None else format_duration(row["uptime_ms"]),
                ports or NONE,
                printable(tilde(row["directory"])),
            ]
        )
    return columns(table)


@click.command("rm", cls=Verb, short_help="Delete a stopped cluster.")
@click.argument("victim", metavar="[NAME]", required=False, shell_complete=complete_cluster)
@click.option("--force", is_flag=True, help="Stop it first if it runs.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def rm_verb(session: Session, victim: str | None, force: bool, yes: bool) -> None:
    """Delete a cluster's data. An absent cluster counts as done."""
    name = checked_name(victim) if victim else target_name(session)
    known = next((k for k in known_clusters() if k.name == name), None)
    if known is not None:
        if known.state == "running" and not force:
            raise Failure(
                f"cluster {name!r} runs (supervisor {known.pid})",
                code=Exit.CONFLICT,
                hint=f"conclave down -c {name}, or conclave rm -c {name} --force",
            )
        confirm(session, f"delete all data of {name} in {known.directory}", yes)
        take_down(name, wipe=True, timeout=ANSWER_MS)
    document = {"schema": "conclave/rm.v1", "cluster": name, "removed": known is not None}
    session.done(document, [f"{name} removed" if known else f"there is no cluster {name}"])
