"""`conclave up --attach`: the cluster in front, for as long as somebody looks at it.

Attached or not, the supervisor is the same daemon; this only shows its events and ties its end to
ours. The first Ctrl-C (or SIGTERM) stops the cluster in good order, a second one kills it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from cluster.client import ClusterClient
from cluster.document import EVENT_SNAPSHOT
from cluster.errors import NotRunning
from tools.cli.event_view import event_line
from tools.cli.exit import Failure, Terminated
from tools.cli.session import Session, encode

STOP_TIMEOUT_MS = 10_000
LAST_EVENT = "cluster.stopped"


def attach(session: Session, client: ClusterClient, announce: Callable[[], None]) -> None:
    """Announce the cluster, show its events until it ends, then leave; ending us ends it.

    How often we were interrupted decides what is done: show, stop, kill. Nothing else happens where
    an interruption is caught, so that the next one cannot slip in before the cluster is ended.

    Raises:
        Failure: the supervisor went away without having been asked to.
        KeyboardInterrupt: after the cluster was stopped by it; likewise Terminated.
    """
    interrupted: list[BaseException] = []
    while True:
        try:
            if not interrupted:
                announce()
                watch_over(session, client)
            else:
                end(session, client, gently=len(interrupted) == 1)
            break
        except (KeyboardInterrupt, Terminated) as interruption:
            interrupted.append(interruption)
    if interrupted:
        raise interrupted[0]


def watch_over(session: Session, client: ClusterClient) -> None:
    """Show events until the stream ends.

    Raises:
        Failure: it ended otherwise than by `conclave down`.
    """
    if show_events(session, client) != LAST_EVENT:
        raise Failure("the supervisor ended unexpectedly", hint="conclave up, conclave doctor")


def show_events(session: Session, client: ClusterClient) -> str:
    """Print events as they come; the answer is the type of the last one."""
    last = ""
    for event in client.events(follow=True):
        last = str(event.get("type"))
        if last != EVENT_SNAPSHOT:
            session.line(encode(event) if session.json else event_line(event, session.out))
    return last


def end(session: Session, client: ClusterClient, *, gently: bool) -> None:
    """Down in good order, or down at once; a cluster that is gone already is fine."""
    with contextlib.suppress(NotRunning):
        if gently:
            session.note("stopping; Ctrl-C again kills")
            client.down(timeout_ms=STOP_TIMEOUT_MS)
        else:
            client.kill(["all"])
            client.down(timeout_ms=0)
