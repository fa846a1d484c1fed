"""How the leader brings every log up to its own, and learns what is committed.

Answers and proposals only change what is known of a peer; the appends that follow from it are made
once per turn, in `flush`. A turn with a hundred proposals and two acknowledgements so costs one
append per peer, which also carries the newest commit. Source: Raft paper §5.3, §5.4.2, §7.
"""

from __future__ import annotations

from node.raft import transfer
from node.raft.errors import LogError
from node.raft.membership import members_of
from node.raft.message import (
    Append,
    AppendReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    entries_bytes,
)
from node.raft.progress import Progress, ProgressState
from node.raft.raft import Raft
from node.raft.ready import NoteKind

Batch = tuple[list[Entry], int]
"""Entries of one append, and their size."""


def flush(raft: Raft) -> None:
    """Send each peer what it may be sent now. Peers at the same position share one list."""
    push = raft.push_due
    raft.replicate_due = raft.push_due = False
    batches: dict[int, Batch] = {}
    for member, progress in raft.roster.progress.items():
        if member != raft.id:
            _send_appends(raft, member, progress, batches, push=push)


def handle_append_reply(raft: Raft, message: AppendReply, progress: Progress) -> None:
    """A peer holds more than we knew, or refuses to append where we guessed."""
    progress.recent_active = True
    progress.eager = message.eager
    raft.replicate_due = True
    if message.reject:
        _handle_refusal(raft, message, progress)
        return
    if message.index > raft.log.last_index:
        raft.note(NoteKind.MESSAGE_IGNORED, "acknowledges what was never sent", message.sender)
        return
    probing = progress.state is ProgressState.PROBE
    if not progress.maybe_update(message.index) and not (
        # An acknowledgement of what is known still ends the guessing.
        probing and progress.match == message.index
    ):
        return
    if probing or (
        progress.state is ProgressState.SNAPSHOT
        # Any snapshot will do that reconnects the peer to our log, not only the one we sent.
        and progress.match + 1 >= raft.log.first_index()
    ):
        progress.become_replicate()
    else:
        progress.inflight.free_to(message.index)
    maybe_commit(raft)


def handle_heartbeat_reply(raft: Raft, message: HeartbeatReply, progress: Progress) -> None:
    """A peer lives; if it still lacks something, an append or its answer may have been lost."""
    progress.recent_active = True
    progress.eager = message.eager
    if not progress.beat_due:
        return
    progress.beat_due = False
    if progress.state is ProgressState.PROBE:
        progress.paused = False
        progress.owed = True
    elif progress.state is ProgressState.REPLICATE and progress.match < raft.log.last_index:
        # Also with a full window: without the empty append one lost window would stall for ever.
        progress.owed = True
    raft.replicate_due = True


def maybe_commit(raft: Raft) -> bool:
    """Move the commit to what a quorum holds, if that is of the own term: entries of earlier terms
    commit with it, never by counting. Source: Raft paper §5.4.2, figure 8.

    The entry that takes the leader itself out of the voters is left to a successor to commit. The
    others take it into effect only when they learn that it is committed; a leader that left first
    could keep them from ever electing anybody, since until then they need the vote of the one who
    left, and its log may be longer than theirs (etcd #12359)."""
    index = raft.roster.committed()
    if 0 < raft.exit_index <= index:
        index = raft.exit_index - 1
        transfer.hand_over(raft)
    if index <= raft.log.commit or not raft.log.matches(index, raft.term):
        return False
    raft.replicate_due = True
    return raft.log.commit_to(index)


def send_heartbeats(raft: Raft, *, period: bool) -> None:
    """Tell everyone who leads; once per `period` this also allows one repeat per peer. Between
    periods only voters are asked: their answers confirm reads."""
    for member, progress in raft.roster.progress.items():
        if member == raft.id or not (period or raft.roster.is_voter(member)):
            continue
        progress.beat_due |= period
        # More than the match may be another leader's there, and must not be committed.
        commit = min(progress.match, raft.log.commit)
        progress.sent_commit = max(progress.sent_commit, commit)
        raft.send(Heartbeat(raft.id, member, raft.term, commit, raft.reads.counter))


def report_unreachable(progress: Progress) -> None:
    """A message was not even sent; stop being optimistic."""
    if progress.state is ProgressState.REPLICATE:
        progress.become_probe()


def report_snapshot(progress: Progress, *, delivered: bool) -> None:
    """What became of a snapshot: when delivered, its acknowledgement is still to come."""
    if progress.state is not ProgressState.SNAPSHOT:
        return
    if not delivered:
        progress.pending_snapshot = 0
    progress.become_probe()
    progress.paused = True


def _handle_refusal(raft: Raft, message: AppendReply, progress: Progress) -> None:
    """Go back to where the logs can still agree; both sides skip whole terms."""
    hint = message.hint_index
    if message.hint_term > 0:
        hint, _ = raft.log.conflict_by_term(hint, message.hint_term)
    if progress.maybe_retreat(message.index, hint):
        progress.owed = True
        raft.note(
            NoteKind.PROBE_MOVED,
            f"refused {message.index}, next is {progress.next}",
            message.sender,
        )


def push_commits(raft: Raft) -> None:
    """A tick has passed: whoever was not told the newest commit is told now."""
    commit = raft.log.commit
    peers = raft.roster.progress
    if any(peers[member].can_bump_commit(commit) for member in peers if member != raft.id):
        raft.replicate_due = raft.push_due = True


def await_commit(raft: Raft, member: int, index: int) -> None:
    """A member waits for the commit of what lies up to `index`."""
    progress = raft.roster.progress.get(member)
    if progress is not None:
        progress.awaits = max(progress.awaits, index)
        raft.replicate_due = True


def _send_appends(
    raft: Raft, member: int, progress: Progress, batches: dict[int, Batch], *, push: bool
) -> None:
    """Appends while there is something to say and room to say it."""
    commit = raft.log.commit
    while not progress.paused:
        previous = progress.next - 1
        try:
            previous_term = raft.log.term(previous)
            entries, size = _entries_for(raft, progress, batches)
        except LogError:
            _send_snapshot(raft, member, progress)
            return
        news = progress.can_bump_commit(commit) and (push or progress.waits_for_commit())
        if not (entries or progress.owed or news):
            return
        raft.send(Append(raft.id, member, raft.term, previous, previous_term, commit, entries))
        progress.sent(len(entries), size, commit)
        if not entries:
            return


def _entries_for(raft: Raft, progress: Progress, batches: dict[int, Batch]) -> Batch:
    if progress.state is ProgressState.REPLICATE and progress.inflight.full():
        return [], 0
    batch = batches.get(progress.next)
    if batch is None:
        lo, hi = progress.next, raft.log.last_index + 1
        entries = raft.log.entries(lo, hi, raft.config.append_bytes_max)
        batch = batches[lo] = entries, entries_bytes(entries)
    return batch


def _send_snapshot(raft: Raft, member: int, progress: Progress) -> None:
    """The entries that the peer needs are compacted away."""
    if not progress.recent_active:
        return
    meta = raft.log.snapshot()
    if meta.index < progress.next or member not in members_of(meta.conf):
        # One from before the member was added would be refused, over and over.
        raft.note(NoteKind.SNAPSHOT, f"{meta.index} is too old to send", member)
        return
    progress.become_snapshot(meta.index)
    raft.note(NoteKind.SNAPSHOT, f"sending {meta.index}", member)
    raft.send(InstallSnapshot(raft.id, member, raft.term, meta))
