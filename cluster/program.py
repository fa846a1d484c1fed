"""What the nodes of a cluster run, and how the supervisor speaks to it.

One value joins the three places that know the node's program: what the zygote preloads, what a
forked child calls, and the requests that are made of members. Supervision itself does not
depend on any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cluster.entry import enter
from cluster.zygote import Target
from transport.tls import ClientFiles

# The imports stand inside: their messages cost a start more than the supervisor itself.


def _load() -> None:
    import cluster.etcd  # noqa: F401


@dataclass(frozen=True, slots=True)
class Program:
    """A program that keeps the report protocol (`cluster.entry`) and writes status pages."""

    enter: Target
    load: Callable[[], None]
    """Import what the requests need; called while the zygote warms up."""
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
    add_learner: Callable[[Sequence[str], str, float], int]
    promote: Callable[[Sequence[str], int, float], None]
    remove: Callable[[Sequence[str], int, float], None]
    """Change the members through one of the endpoints, as `cluster.etcd` says."""
    known: Callable[[ClientFiles | None, str], Program]
    """The same, for members that speak TLS where files are given, and know their supervisor by a
    token."""


def node_program(tls: ClientFiles | None = None, token: str = "") -> Program:
    """The nodes of this package; `tls` is what their supervisor trusts and shows, `token` what they
    know it by."""

    def commit_write(endpoint: str) -> None:
        from cluster import etcd

        etcd.commit_write(endpoint, tls, token)

    def move_leader(endpoint: str, member_id: int, timeout_s: float) -> None:
        from cluster import etcd

        etcd.move_leader(endpoint, member_id, timeout_s, tls, token)

    def add_learner(endpoints: Sequence[str], peer_url: str, timeout_s: float) -> int:
        from cluster import etcd

        return etcd.add_learner(endpoints, peer_url, timeout_s, tls, token)

    def promote(endpoints: Sequence[str], member_id: int, timeout_s: float) -> None:
        from cluster import etcd

        etcd.promote(endpoints, member_id, timeout_s, tls, token)

    def remove(endpoints: Sequence[str], member_id: int, timeout_s: float) -> None:
        from cluster import etcd

        etcd.remove(endpoints, member_id, timeout_s, tls, token)

    return Program(
        enter, _load, commit_write, move_leader, add_learner, promote, remove, node_program
    )


NODE = node_program()
