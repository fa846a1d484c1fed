"""The leader's view of one member: window, optimism and retreat."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from node.raft import RaftConfig
from node.raft.inflight import Inflight
from node.raft.progress import Progress, ProgressState

CONFIG = RaftConfig(id=1, inflight_messages_max=2)


def progress_at(match: int, state: ProgressState) -> Progress:
    progress = Progress(CONFIG, 10, learner=False, active=True)
    progress.maybe_update(match)
    if state is ProgressState.REPLICATE:
        progress.become_replicate()
    elif state is ProgressState.SNAPSHOT:
        progress.become_snapshot(20)
    return progress


def test_inflight_is_full_by_count() -> None:
    window = Inflight(messages_max=2, bytes_max=1000)
    window.add(5, 10)
    window.add(6, 10)

    assert window.full()
    window.free_to(5)
    assert not window.full()
    assert (len(window), window.bytes) == (1, 10)


def test_inflight_is_full_by_bytes_after_the_message_that_reaches_them() -> None:
    window = Inflight(messages_max=9, bytes_max=100)
    window.add(5, 5000)

    assert window.full()
    window.free_to(9)
    assert (len(window), window.bytes) == (0, 0)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 9), max_size=20), st.integers(0, 100))
def test_inflight_free_to_keeps_what_is_above(steps: list[int], index: int) -> None:
    window, lasts = Inflight(100, 10**6), list[int]()
    for step in steps:
        lasts.append((lasts[-1] if lasts else 0) + step)
        window.add(lasts[-1], step)

    window.free_to(index)

    assert len(window) == sum(last > index for last in lasts)


def test_match_only_grows() -> None:
    progress = progress_at(7, ProgressState.REPLICATE)

    assert not progress.maybe_update(5)
    assert progress.match == 7


def test_stale_refusal_in_replicate_is_ignored() -> None:
    progress = progress_at(7, ProgressState.REPLICATE)

    assert not progress.maybe_retreat(rejected=7, hint=3)
    assert progress.state is ProgressState.REPLICATE


def test_refusal_in_replicate_goes_back_to_probing_after_the_match() -> None:
    progress = progress_at(7, ProgressState.REPLICATE)
    progress.sent(5, 100, commit=7)

    assert progress.maybe_retreat(rejected=9, hint=8)
    assert (progress.state, progress.next) == (ProgressState.PROBE, 8)
    assert len(progress.inflight) == 0


def test_refusal_in_probe_moves_to_the_hint_but_not_below_the_match() -> None:
    progress = progress_at(3, ProgressState.PROBE)

    assert not progress.maybe_retreat(rejected=5, hint=4), "not the append that is out"
    assert progress.maybe_retreat(rejected=9, hint=6)
    assert progress.next == 7
    assert progress.maybe_retreat(rejected=6, hint=1)
    assert progress.next == 4


def test_probe_pauses_until_it_is_answered() -> None:
    progress = progress_at(3, ProgressState.PROBE)

    progress.sent(1, 50, commit=3)

    assert progress.paused
    assert progress.next == 10, "a probe is no proof, so next stays"


def test_snapshot_delivered_probes_after_it_and_failed_probes_after_the_match() -> None:
    delivered, failed = (progress_at(3, ProgressState.SNAPSHOT) for _ in range(2))

    delivered.become_probe()
    failed.pending_snapshot = 0
    failed.become_probe()

    assert (delivered.next, failed.next) == (21, 4)


def test_snapshot_stays_paused_when_an_old_acknowledgement_arrives() -> None:
    """An append that was under way before the snapshot is acknowledged: that ends nothing. Appends
    once flowed behind the snapshot then, outside of any window."""
    progress = progress_at(3, ProgressState.SNAPSHOT)

    assert progress.maybe_update(5)

    assert progress.paused
    assert (progress.match, progress.next) == (5, 21)


def test_commit_is_pushed_once() -> None:
    progress = progress_at(7, ProgressState.REPLICATE)

    assert progress.can_bump_commit(6)
    progress.sent(0, 0, commit=6)
    assert not progress.can_bump_commit(6)
    assert progress.can_bump_commit(7)


def test_active_for_one_period_after_the_last_word() -> None:
    progress = progress_at(7, ProgressState.REPLICATE)
    seen = []
    for _ in range(3):
        seen.append(progress.active)
        progress.close_period()

    assert seen == [True, True, False]
