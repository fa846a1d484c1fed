"""Checks that run on every turn, in production too: each costs a comparison or two.

A member that breaks one of them stops before anything of that turn is written or sent.
"""

from __future__ import annotations

from node.errors import check
from node.raft.message import AppendReply, Entry
from node.raft.raft import Raft
from node.raft.ready import Ready, Role


class Invariants:
    """Remembers the previous turn's marks, to see that none of them goes back."""

    __slots__ = ("_applied", "_commit", "_first_index", "_term", "_vote")

    def __init__(self, raft: Raft) -> None:
        self._remember(raft)

    def verify(self, raft: Raft, ready: Ready) -> None:
        """Check the state at the end of a turn, and what is about to leave.

        Raises: InvariantViolated.
        """
        self._verify_progress(raft)
        _verify_order(raft)
        _verify_entries(raft, ready.entries)
        check(ready.snapshot is None or not ready.entries, "a snapshot comes alone")
        _verify_acknowledgements(raft, ready)
        check(bool(raft.roster.quorum.voters) or raft.role is Role.FOLLOWER, "nobody votes")
        if raft.role is Role.LEADER:
            _verify_leader(raft)
        self._remember(raft)

    def _verify_progress(self, raft: Raft) -> None:
        log = raft.log
        check(raft.term >= self._term, "the term went back")
        check(raft.term > self._term or self._vote in (0, raft.vote), "the vote changed in a term")
        check(log.commit >= self._commit, "the commit went back")
        check(log.applied >= self._applied, "the applied index went back")
        check(log.first_index() >= self._first_index, "compacted entries came back")

    def _remember(self, raft: Raft) -> None:
        self._term, self._vote = raft.term, raft.vote
        self._commit, self._applied = raft.log.commit, raft.log.applied
        self._first_index = raft.log.first_index()


def _verify_order(raft: Raft) -> None:
    log = raft.log
    check(log.first_index() - 1 <= log.last_index, "the log ends before it begins")
    check(log.applied <= log.applying <= log.commit <= log.last_index, "marks out of order")
    check(log.applying <= log.stable_index <= log.last_index, "applying what is not on disk")


def _verify_entries(raft: Raft, entries: list[Entry]) -> None:
    """What goes to disk ends in the current term at most, and in no earlier one than it begins."""
    if entries:
        check(entries[0].term <= entries[-1].term <= raft.term, "terms decrease along the log")
        check(entries[-1].index - entries[0].index == len(entries) - 1, "a hole in the log")


def _verify_acknowledgements(raft: Raft, ready: Ready) -> None:
    handed = raft.log.tail.handed
    for message in ready.messages_after_append:
        if isinstance(message, AppendReply) and message.term == raft.term and not message.reject:
            check(message.index < handed, "acknowledging what is not handed to the writer")


def _verify_leader(raft: Raft) -> None:
    for member, progress in raft.roster.progress.items():
        check(progress.match < progress.next, f"match reached next for {member}")
        check(progress.match <= raft.log.last_index, f"match of {member} beyond the last entry")
    own = raft.roster.progress.get(raft.id)
    check(own is None or own.match <= raft.log.stable_index, "counting own unwritten entries")
