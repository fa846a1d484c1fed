"""How much of the log a member keeps behind what it has applied.

    dropped … │ kept for whoever is a little behind │ … applied        nobody needs more: `kept`
    dropped … │ needed by a follower, up to `held_max` │ … applied     somebody catches up

Some entries are always kept, so that a follower that missed a moment is served from the log. More
are kept while a follower that is alive and catching up needs them: without that, a snapshot that
travels longer than it takes to write `kept` entries is followed by another one, and the follower of
a busy leader never comes up to date. A follower that is silent is not waited for, and nobody is
waited for without end.

Source: CockroachDB keeps the log for pending snapshots; etcd does not (snapshot-catchup-entries).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from node.config import Limits


class Peer(Protocol):
    """What a leader knows of a member."""

    @property
    def match(self) -> int:
        """Last index that is certain to be on its disk."""

    @property
    def next(self) -> int:
        """First index that is still to be sent."""

    @property
    def state(self) -> str:
        """probe, replicate or snapshot"""

    @property
    def recent_active(self) -> bool:
        """Whether it was heard from lately."""


def dispensable(applied: int, peers: Iterable[Peer], limits: Limits) -> int:
    """The last index that may be dropped; `peers` are a leader's, and none a follower's."""
    needed = [first_needed(peer) for peer in peers if peer.recent_active]
    wanted = min([applied - limits.log_entries_kept, *(index - 1 for index in needed)])
    return max(wanted, applied - limits.log_entries_held_max)


def first_needed(peer: Peer) -> int:
    """What was sent ahead in replicate may be lost; elsewhere `next` is where it goes on."""
    return peer.match + 1 if peer.state == "replicate" else peer.next
