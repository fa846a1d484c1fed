"""Planted bugs of what clients see: watches, leases, answers; and of applying."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from node.applier import Applier
from node.housekeeping import HOUSEKEEPING_MS, Housekeeping, revocation
from node.loop import Loop
from node.machine.envelope import RequestKind
from node.proposals import Proposals
from node.raft import proposal, roster, step
from node.raft.message import ConfState, Entry, Message, Propose
from node.raft.raft import Raft
from node.raft.ready import Role, SoftState
from node.watch.hub import History, WatchHub
from node.watch.stream import Stream
from node.watch.watcher import Watcher
from tests.simulator.mutants.mutant import mutant


@mutant(32, "a watcher jumps over what is compacted", family="compaction")
def watcher_jumps(patch: pytest.MonkeyPatch) -> None:
    """A watcher that comes too late goes on at the compact revision instead of being told that it
    has missed events.

    Caught by: 9, the judge of watches: events are missing.
    """

    def end_compacted(self: WatchHub, stream: Stream, watcher: Watcher) -> None:
        watcher.next_revision = self._history.compact_revision

    patch.setattr(WatchHub, "_end_compacted", end_compacted)


@mutant(33, "a snapshot rewinds the watchers", family="compaction")
def watcher_rewound(patch: pytest.MonkeyPatch) -> None:
    """When a snapshot replaces the history, synced watchers go on from where they fell behind the
    last time, not from what they have seen since.

    Caught by: 9, the judge of watches: events come twice.
    """

    def replace_history(self: WatchHub, history: History) -> None:
        self._history = history
        self.revision = history.revision
        for stream in self._streams.values():
            for watcher in stream.watchers.values():
                if watcher.synced:
                    self._synced.discard(watcher)
                    self._become_behind(stream, watcher)

    patch.setattr(WatchHub, "replace_history", replace_history)


@mutant(34, "a deposed leader revokes leases", family="revolt")
def deposed_revokes(patch: pytest.MonkeyPatch) -> None:
    """Revocations are forwarded like any other proposal. A leader that was deposed while it was
    paused finds all leases overdue and has its successor revoke them, who has renewed them since.

    Caught by: 9, the judge of leases: a lease ends before its time.
    """

    def expire_leases(self: Housekeeping, now: float) -> None:
        parts = self._parts
        per_round = max(1, int(self._limits.lease_expiries_per_second * HOUSEKEEPING_MS / 1000))
        due = parts.leases.due(now, per_round)
        if due:
            parts.core.propose(
                [parts.proposals.unasked(RequestKind.LEASE_REVOKE, revocation(i)) for i in due]
            )

    patch.setattr(Housekeeping, "_expire_leases", expire_leases)


@mutant(35, "a repeated forward is taken again")
def forward_taken_twice(patch: pytest.MonkeyPatch) -> None:
    """The leader does not remember which forwards it has had, so that a copy that the network has
    made writes once more.

    Caught by: 9, the log holds a request twice; the clients' history.
    """

    def is_news(raft: Raft, message: Propose) -> bool:
        return True

    patch.setattr(proposal, "_is_news", is_news)


@mutant(36, "the order of a set leaks into messages", hash_seeds=True)
def order_leaks(patch: pytest.MonkeyPatch) -> None:
    """The members are walked in the order of a set of names, which is another in each process.

    Caught by: 14, the same seed gives another trace under another PYTHONHASHSEED.
    """

    def members_of(conf: ConfState) -> tuple[int, ...]:
        everyone = {*conf.voters, *conf.voters_outgoing, *conf.learners, *conf.learners_next}
        return tuple(int(name, 16) for name in {f"{member:016x}" for member in everyone})

    patch.setattr(roster, "members_of", members_of)


@mutant(37, "an error while applying is swallowed", weights={"damage_record": 1.0})
def error_swallowed(patch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong with one entry is passed over, so that the member lives on without its
    effects, in a state that nobody else has.

    Caught by: 10, replicas that have applied the same differ; 12, a request without an answer.
    """
    apply_request = Applier._apply_request

    def apply_if_possible(self: Applier, entry: Entry) -> None:
        with suppress(Exception):
            apply_request(self, entry)

    patch.setattr(Applier, "_apply_request", apply_if_possible)


@mutant(38, "a forward of another term is taken", family="revolt")
def late_forward_taken(patch: pytest.MonkeyPatch) -> None:
    """A leader takes proposals that were forwarded to it in an earlier term of its own. Their
    sender has seen an entry of a later term meanwhile, and has proposed them again.

    Caught by: 9, the log holds a request twice; the clients' history.
    """
    answer_earlier_term = step._answer_earlier_term

    def answer(raft: Raft, message: Message) -> None:
        if isinstance(message, Propose) and raft.role is Role.LEADER:
            proposal.handle_forwarded(raft, message)
        else:
            answer_earlier_term(raft, message)

    patch.setattr(step, "_answer_earlier_term", answer)


@mutant(39, "proposals are repeated as soon as the leader changes")
def repeated_too_early(patch: pytest.MonkeyPatch) -> None:
    """What a former leader was given is proposed again to the next one at once, and not only when
    an entry of its term is applied. It may have had the first in its log all the time.

    Caught by: 9, the log holds a request twice; the clients' history.
    """
    role_changed = Loop._role_changed

    def repeat_at_once(self: Loop, soft: SoftState) -> None:
        role_changed(self, soft)
        if soft.leader:
            self._parts.proposals.term_applied(soft.term)

    patch.setattr(Loop, "_role_changed", repeat_at_once)


@mutant(40, "a request's number is used again after a restart")
def number_reused(patch: pytest.MonkeyPatch) -> None:
    """Sequences begin at one in each process. An entry of the former process that is applied late
    is taken for the request that has its number now, whose client is told of another's outcome.

    Caught by: 9, the clients' history: a put is answered with the revision of another.
    """
    init: Callable[..., None] = Proposals.__init__

    def restart_at_one(self: Proposals, origin: int, first_sequence: int, **rest: object) -> None:
        init(self, origin, 0, **rest)

    patch.setattr(Proposals, "__init__", restart_at_one)


OVERTAKEN = {"outrun": 1.0, "transfer": 1.0, "kill_leader": 0.2, "put": 30.0}
"""Members that are sent a snapshot while they wait for answers, and another leader soon after."""


@mutant(41, "a snapshot leaves no doubt", family="compaction", weights=OVERTAKEN)
def snapshot_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What was proposed before a snapshot was installed, and is in it, is taken for lost and
    proposed again when the next term begins.

    Caught by: 9, the log holds a request twice; the clients' history.
    """
    patch.setattr(Proposals, "snapshot_installed", lambda self, term: None)
