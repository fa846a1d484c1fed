"""How much of the log stays, and for whom."""

from __future__ import annotations

import pytest

from node.config import Limits
from node.raft.ready import PeerStatus
from node.retention import dispensable

LIMITS = Limits(log_entries_max=100, log_entries_kept=50, log_entries_held_max=1_000)


def peer(match: int, next_: int, state: str = "replicate", active: bool = True) -> PeerStatus:
    return PeerStatus(
        match=match,
        next=next_,
        state=state,
        paused=False,
        inflight=0,
        recent_active=active,
        learner=False,
    )


@pytest.mark.parametrize(
    ("peers", "cut"),
    [
        ([], 4_950),
        ([peer(5_000, 5_001), peer(4_990, 5_001)], 4_950),
        ([peer(4_500, 5_001)], 4_500),
        ([peer(4_500, 5_001, active=False)], 4_950),
        ([peer(0, 4_801, "snapshot")], 4_800),
        ([peer(0, 4_801, "probe")], 4_800),
        ([peer(100, 5_001)], 4_000),
        ([peer(4_700, 5_001), peer(4_600, 5_001)], 4_600),
    ],
    ids=[
        "follower",
        "all are close",
        "one is behind",
        "one is silent",
        "one gets a snapshot",
        "one is probed",
        "one is too far behind",
        "the slowest counts",
    ],
)
def test_dispensable(peers: list[PeerStatus], cut: int) -> None:
    assert dispensable(5_000, peers, LIMITS) == cut
