"""What the nodes of a cluster run, and how the supervisor speaks to it.

One value joins the three places that know the node's program: what the zygote preloads, what a
forked child calls, and the two requests that the supervisor makes of a member. Supervision itself
does not depend on any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cluster.entry import enter
from cluster.zygote import Target


@dataclass(frozen=True, slots=True)
class Program:
    """A program that keeps the report protocol (`cluster.entry`) and writes status pages."""

    enter: Target
    load: Callable[[], None]
    """Import what the two requests need; called while the zygote warms up."""
    commit_write: Callable[[str], None]
    """Commit one write through the member at an endpoint.

    Raises:
        ClusterError: it was not committed, as far as one can know.
    """
    move_leader: Callable[[str, int, float], None]
    """Ask the member at an endpoint to hand leadership to a member id, within seconds.

    Raises:
        ClusterError: it refused or did not answer.
    """


# The imports stand inside: their messages cost a start more than the supervisor itself.


def _load() -> None:
    import cluster.etcd  # noqa: F401


def _commit_write(endpoint: str) -> None:
    from cluster.etcd import commit_write

    commit_write(endpoint)


def _move_leader(endpoint: str, member_id: int, timeout_s: float) -> None:
    from cluster.etcd import move_leader

    move_leader(endpoint, member_id, timeout_s)


NODE = Program(enter, _load, _commit_write, _move_leader)
