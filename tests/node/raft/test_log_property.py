"""The log against a naive one: a list of terms that takes effect at once.

Hypothesis drives both with a leader's appends, hand-outs and completions in any interleaving.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from node.raft import Entry, MemoryStorage
from node.raft.log import RaftLog
from node.raft.ready import PersistToken

appends = st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(1, 4))
"""(how far before the end it starts, by how much the term grows, how many entries)"""
actions = st.lists(
    st.one_of(
        st.tuples(st.just("append"), appends),
        st.tuples(st.just("write"), st.just((0, 0, 0))),
        st.tuples(st.just("sync"), st.just((0, 0, 0))),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=150)
@given(actions)
def test_log_reads_like_a_list_and_is_stable_only_where_the_disk_agrees(
    steps: list[tuple[str, tuple[int, int, int]]],
) -> None:
    storage = MemoryStorage()
    log = RaftLog(storage, commit=0, applied=0)
    naive: list[int] = []
    term = 1
    queue: list[tuple[PersistToken, list[Entry]]] = []
    for name, (back, growth, count) in steps:
        if name == "append":
            term += growth
            keep = max(0, len(naive) - back) if growth else len(naive)
            naive = naive[:keep] + [term] * count
            new = [Entry(term, keep + 1 + offset, 0, b"") for offset in range(count)]
            assert log.maybe_append(keep, naive[keep - 1] if keep else 0, new) == keep + count
        elif name == "write" and log.tail.has_work:
            entries = log.tail.hand_out()
            token = log.tail.issue(term, log.term(log.tail.handed - 1), 0)
            queue.append((token, entries))
        elif name == "sync" and queue:
            token, entries = queue.pop(0)
            storage.write(entries=entries)
            log.complete(token, term)

        assert [log.term(index) for index in range(1, log.last_index + 1)] == naive
        for index in range(1, log.stable_index + 1):
            assert storage.term(index) == naive[index - 1]
            later = [entry for _, write in queue for entry in write if entry.index == index]
            assert not later, "called stable while a write that replaces it is still to come"


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=12).map(sorted),
    st.lists(st.integers(1, 4), min_size=1, max_size=12).map(sorted),
)
def test_conflict_hint_never_skips_a_common_entry(ours: list[int], theirs: list[int]) -> None:
    """Both sides may skip whole terms, but never past the last entry that they share."""
    leader, follower = make_log(ours), make_log(theirs)
    shared = 0
    while shared < min(len(ours), len(theirs)) and ours[shared] == theirs[shared]:
        shared += 1
    for probe in range(shared + 1, len(ours) + 1):
        start = min(probe, len(theirs))

        index, term = follower.conflict_by_term(start, ours[probe - 1])
        back, _ = leader.conflict_by_term(index, term) if term else (index, 0)

        assert back >= min(shared, start)
        assert back < probe or theirs[probe - 1 : probe] == [ours[probe - 1]]


def make_log(terms: list[int]) -> RaftLog:
    storage = MemoryStorage()
    storage.write(entries=[Entry(term, at + 1, 0, b"") for at, term in enumerate(terms)])
    return RaftLog(storage, commit=0, applied=0)
