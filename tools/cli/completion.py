"""What the shell completes: cluster names, node names and selectors, event types, conditions.

Everything comes from directories; no daemon is asked, so a hanging cluster cannot hang a prompt.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from tools.cli.session import Session

if TYPE_CHECKING:
    from cluster.client import KnownCluster

SELECTORS = {
    "all": "every node",
    "leader": "who leads now",
    "followers": "who follows now",
    "learners": "members without a vote",
    "any": "one at random",
    "any-follower": "one follower at random",
    "minority": "as many as the cluster can lose",
    "majority": "one more than it can lose",
    "others": "all but the leader",
    "running": "by process state",
    "paused": "by process state",
    "down": "by process state",
    "oldest": "longest running",
    "lagging": "furthest behind",
}
CONDITIONS = {
    "ready": "a leader has committed a write",
    "leader": "somebody leads",
    "no-leader": "nobody leads",
    "converged": "every running node has applied what is committed",
    "down": "no node runs",
    "node": "node n2=paused",
    "term": "term>7",
    "event": "event leader.elected",
}
EVENT_TYPES = (
    "cluster.*",
    "node.*",
    "node.exited",
    "node.serving",
    "raft.*",
    "leader.elected",
    "leader.lost",
    "quorum.lost",
    "quorum.regained",
)


def matching(words: Iterable[tuple[str, str]], start: str) -> list[CompletionItem]:
    """The words that go on from what was typed, with their explanations."""
    return [CompletionItem(word, help=text) for word, text in words if word.startswith(start)]


def complete_cluster(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Every cluster of this user."""
    from cluster.client import known_clusters

    return matching(((known.name, known.state) for known in known_clusters()), incomplete)


def complete_selector(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Nodes of the cluster that is meant, then the selector words, each also negated."""
    words = [(name, "node") for name in node_names(ctx)] + list(SELECTORS.items())
    if incomplete.startswith("!"):
        words = [(f"!{word}", f"all but: {text}") for word, text in words]
    return matching(words, incomplete)


def complete_node(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Nodes of the cluster that is meant."""
    return matching(((name, "node") for name in node_names(ctx)), incomplete)


def complete_condition(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Conditions of `wait`."""
    return matching(CONDITIONS.items(), incomplete)


def complete_event_type(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Types of events."""
    return matching(((name, "") for name in EVENT_TYPES), incomplete)


def node_names(ctx: click.Context) -> list[str]:
    """Nodes that have a directory in the cluster that is meant; none when that is unclear."""
    from cluster.client import known_clusters

    known = known_clusters()
    session = ctx.find_object(Session)
    given = session.cluster if session is not None else None
    chosen = [cluster for cluster in known if cluster.name == given] if given else likely(known)
    return sorted(path.parent.name for c in chosen for path in c.directory.glob("n*/log"))


def likely(known: list[KnownCluster]) -> list[KnownCluster]:
    """The clusters that an unnamed one can be: those that run, else all."""
    return [cluster for cluster in known if cluster.state == "running"] or known
