"""`conclave up --attach`: the cluster in front, for as long as somebody looks at it.

Attached or not, the supervisor is the same daemon; this only shows its events and ties its end to
ours. The first Ctrl-C (or SIGTERM) stops the cluster in good order, a second one kills it.
"""

from __future__ import annotations

import contextlib

from cluster.client import ClusterClient
from cluster.document import EVENT_SNAPSHOT
from cluster.errors import NotRunning
from tools.cli.event_view import event_line
from tools.cli.exit import Failure, Terminated
from tools.cli.session import Session, encode

STOP_TIMEOUT_MS = 10_000
LAST_EVENT = "cluster.stopped"


def attach(session: Session, client: ClusterClient) -> None:
    """Show events until the cluster ends, then leave; ending us ends the cluster.

    Raises:
        Failure: the supervisor went away without having been asked to.
        KeyboardInterrupt: after the cluster was stopped by it; likewise Terminated.
    """
    try:
        last = show_events(session, client)
    except (KeyboardInterrupt, Terminated):
        session.note("stopping; Ctrl-C again kills")
        stop(client)
        raise
    if last != LAST_EVENT:
        raise Failure("the supervisor ended unexpectedly", hint="conclave up, conclave doctor")


def show_events(session: Session, client: ClusterClient) -> str:
    """Print events as they come; the answer is the type of the last one."""
    last = ""
    for event in client.events(follow=True):
        last = str(event.get("type"))
        if last != EVENT_SNAPSHOT:
            session.line(encode(event) if session.json else event_line(event, session.out))
    return last


def stop(client: ClusterClient) -> None:
    """Down in good order; interrupted once more, down at once."""
    with contextlib.suppress(NotRunning):
        try:
            client.down(timeout_ms=STOP_TIMEOUT_MS)
        except (KeyboardInterrupt, Terminated):
            client.kill(["all"])
            client.down(timeout_ms=0)
