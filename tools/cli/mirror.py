"""`conclave mirror`: from the command line to a mirror between two etcds.

Both ends are clusters of this machine by their name, or endpoints of any etcd. The mirror itself is
`tools.mirror`, imported when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tools.cli.duration import duration
from tools.cli.exit import Exit, Failure
from tools.cli.kv import call_failure, typed
from tools.cli.session import Session, encode, pass_session
from tools.cli.target import reach
from tools.cli.tls_options import FILE, client_files
from tools.cli.user_options import login_of
from tools.cli.verb import Verb

if TYPE_CHECKING:
    from node.client import EtcdClient
    from tools.mirror.follower import Options, Progress
    from tools.mirror.plan import Names

Function = TypeVar("Function", bound=Callable[..., Any])
SCHEMA = "conclave/mirror.v1"
CALL_S = 5.0
"""Patience with one call; a mirror makes it again as long as its own patience lasts."""
LINE_S = 1.0
"""How often a human is told."""


def end_options(function: Function) -> Function:
    """Whom to trust at each end, and who to be there."""
    for side in ("dest", "source"):
        function = click.option(
            f"--{side}-password", metavar="TEXT", help=f"If not in --{side}-user."
        )(function)
        function = click.option(
            f"--{side}-user", metavar="NAME[:PASSWORD]", help=f"As whom at the {side}."
        )(function)
        for option, text in (
            ("key", "Its key."),
            ("cert", f"What to show the {side}."),
            ("cacert", f"Whom to trust as the {side}."),
        ):
            function = click.option(f"--{side}-{option}", type=FILE, help=text)(function)
    return function


@click.command("mirror", cls=Verb, short_help="Copy keys to another etcd, live.")
@click.argument("source")
@click.argument("dest")
@click.option("--prefix", default="", help="Only keys that start with this.")
@click.option("--dest-prefix", help="What takes its place.  [default: the same]")
@click.option("--no-dest-prefix", is_flag=True, help="Nothing takes its place.")
@click.option("--rev", type=click.IntRange(0), default=0, help="No copy: follow from here on.")
@click.option(
    "--max-txn-ops", type=click.IntRange(2), default=128, show_default=True, help="At the dest."
)
@click.option("--delete-extras", is_flag=True, help="The copy deletes what only the dest has.")
@click.option(
    "--on-compaction",
    type=click.Choice(["error", "restart"]),
    default="error",
    show_default=True,
    help="If the source forgets what is next; restart needs --delete-extras.",
)
@click.option(
    "--timeout", type=duration, default="1m", show_default=True, help="Patience with either end."
)
@end_options
@pass_session
def mirror_verb(session: Session, /, **options: Any) -> None:
    """Copy the keys of SOURCE to DEST at one revision, then follow every change, until interrupted.

    SOURCE and DEST are names of clusters here, or HOST:PORT,… of any etcd. A key of the dest below
    conclave.mirror/ remembers the position: the same command goes on where it was. Leases are not
    copied. What only the dest has stays, unless --delete-extras is given.
    """
    from tools.mirror.follower import Mirror

    names, chosen = names_of(options), options_of(options)
    with (
        told(options),
        connected(session, options, "source") as source,
        connected(session, options, "dest") as dest,
    ):
        Mirror(source, dest, names, chosen, teller(session)).run()


def names_of(options: Mapping[str, Any]) -> Names:
    """Which key becomes which.

    Raises:
        click.UsageError: that was said in two ways.
    """
    from tools.mirror.plan import Names

    prefix, dest = typed(options["prefix"]), options["dest_prefix"]
    if options["no_dest_prefix"]:
        if dest is not None:
            raise click.UsageError("--dest-prefix and --no-dest-prefix exclude each other")
        return Names(prefix, b"")
    return Names(prefix, prefix if dest is None else typed(dest))


def options_of(options: Mapping[str, Any]) -> Options:
    """How to mirror.

    Raises:
        click.UsageError: a restart could not make the destination equal.
    """
    from tools.mirror.follower import Options

    if options["on_compaction"] == "restart" and not options["delete_extras"]:
        raise click.UsageError(
            "--on-compaction restart needs --delete-extras: else keys that were deleted meanwhile "
            "would stay"
        )
    return Options(
        operations_max=options["max_txn_ops"],
        revision=options["rev"],
        delete_extras=options["delete_extras"],
        on_compaction=options["on_compaction"],
        patience_s=options["timeout"] / 1_000,
    )


def teller(session: Session) -> Callable[[Progress], None]:
    """A line for every step of progress with --json; a human gets the news once a second, and each
    change of the phase."""
    shown = ("", 0.0)

    def tell(progress: Progress) -> None:
        nonlocal shown
        if session.json:
            session.line(encode({"schema": SCHEMA, **asdict(progress)}))
            return
        phase, at = shown
        if progress.phase != phase or monotonic() - at >= LINE_S:
            shown = progress.phase, monotonic()
            session.line(progress_line(progress))

    return tell


def progress_line(progress: Progress) -> str:
    """Where a mirror is, for people."""
    words = {"copy": "copying revision", "follow": "followed to revision"}[progress.phase]
    line = f"{words} {progress.revision}, {progress.puts} put, {progress.deletes} deleted"
    return f"{line}, {progress.extras} only in the dest" if progress.extras else line


@contextmanager
def connected(session: Session, options: Mapping[str, Any], side: str) -> Iterator[EtcdClient]:
    """A client of one end: a cluster of this machine by its name, or endpoints."""
    from node.client import EtcdClient

    text = options[side]
    papers = {
        "cacert": options[f"{side}_cacert"],
        "cert": options[f"{side}_cert"],
        "key_file": options[f"{side}_key"],
    }
    if ":" in text:
        endpoints, status = text.split(","), None
    else:
        status = reach(replace(session, cluster=text)).status()
        endpoints = status["endpoints"]
    files = client_files(papers, status)
    login = login_of({"user": options[f"{side}_user"], "password": options[f"{side}_password"]})
    with EtcdClient(endpoints, tls=files, timeout_s=CALL_S) as client:
        if login is not None:
            client.log_in(*login)
        yield client


@contextmanager
def told(options: Mapping[str, Any]) -> Iterator[None]:
    """Say why a mirror has ended, and what to do about it."""
    from node.client import CallFailed, ClientError
    from tools.mirror.errors import CheckpointConflict, Compacted, MirrorError
    from tools.mirror.plan import RESERVED

    try:
        yield
    except Compacted as error:
        raise Failure(
            str(error),
            code=Exit.CONFLICT,
            cause="the mirror was away for longer than the source keeps its history",
            hint="the same with --delete-extras --on-compaction restart, which copies anew",
            data={"revision": error.revision, "compact_revision": error.compact_revision},
        ) from error
    except CheckpointConflict as error:
        shown = (RESERVED + names_of(options).dest_prefix).decode(errors="replace")
        raise Failure(
            str(error),
            code=Exit.CONFLICT,
            cause="another mirror writes to this place, or has",
            hint=f"another --dest-prefix; or begin anew: etcdctl del {shown}",
        ) from error
    except MirrorError as error:
        raise Failure(str(error), code=Exit.CONFLICT) from error
    except CallFailed as error:
        raise call_failure(error.status, error.text) from error
    except ClientError as error:
        raise Failure(
            "source or dest cannot be reached",
            code=Exit.NOT_RUNNING,
            cause=str(error),
            hint="the same command goes on where it was, once both answer",
        ) from error
