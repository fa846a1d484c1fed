"""Which cluster a verb means, and how to reach it.

`-c NAME` or `CONCLAVE_CLUSTER` decide; without them the only cluster that runs, else `default`.
Several running clusters of which none is `default` are an error that names them, because a verb
such as `kill` must not guess.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.client import ClusterClient, KnownCluster, known_clusters
from cluster.config import NAME
from cluster.errors import ClusterError, NotRunning
from tools.cli.exit import Exit, Failure
from tools.cli.session import Session

DEFAULT = "default"
LOG_LINES_SHOWN = 8


def target_name(session: Session) -> str:
    """The cluster that this run is about.

    Raises:
        Failure: the name is malformed, or nobody said which of several clusters is meant.
    """
    if session.cluster:
        return checked_name(session.cluster)
    return sole_running(known_clusters())


def checked_name(name: str) -> str:
    """A name that is safe as a file name.

    Raises:
        Failure: with exit code 2.
    """
    if not NAME.fullmatch(name):
        raise Failure(
            f"{name!r} is no cluster name",
            code=Exit.USAGE,
            cause="a name has up to 32 of a-z 0-9 - _ and starts with a letter or digit",
            hint="conclave ls",
        )
    return name


def sole_running(known: Sequence[KnownCluster]) -> str:
    """The rule for a run without a name. Pure."""
    running = [cluster.name for cluster in known if cluster.state == "running"]
    if len(running) == 1:
        return running[0]
    if running and DEFAULT not in running:
        raise Failure(
            "several clusters run, say which one is meant",
            code=Exit.USAGE,
            cause=f"running: {', '.join(running)}",
            hint=f"-c {running[0]}, or export CONCLAVE_CLUSTER={running[0]}",
            data={"candidates": running},
        )
    return DEFAULT


def reach(session: Session) -> ClusterClient:
    """A client of the cluster that this run is about; nothing is sent yet."""
    return ClusterClient(target_name(session))


def failure_from(error: ClusterError, session: Session) -> Failure:
    """The one translation of the supervisor's errors into ours."""
    name = session.cluster
    option = f" -c {name}" if name else ""
    if isinstance(error, NotRunning):
        return Failure(
            f"cluster {name or DEFAULT!r} is not running",
            code=Exit.NOT_RUNNING,
            cause=error.message,
            hint=f"conclave up{option}, conclave ls",
            data=error.data,
        )
    return Failure(
        error.message,
        code=Exit(error.exit_code),
        cause=cause_of(error),
        hint=error.hint,
        data=error.data,
    )


def cause_of(error: ClusterError) -> str:
    """The likely cause that an error carries among its facts: a text, or the tail of a log."""
    log = error.data.get("log")
    if isinstance(log, list) and log:
        return "\n".join(["last log lines:", *map(str, log[-LOG_LINES_SHOWN:])])
    return str(error.data.get("cause", ""))
