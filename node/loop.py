"""The one place that orders effects: everything that happens in a member happens in a turn of this.

Inputs (peer frames, client requests, finished writes, ticks) only queue something and `wake` the
loop; a turn takes all of it at once, so that one sync, one frame per peer and one socket write per
client serve everything that arrived together:

    receive ─► ticks ─► finished writes ─► reads, proposals            (into the core)
        └► Ready: queue for the disk, collect messages and entries     (out of the core)
              └► send ─► apply a slice ─► answer ─► watch output ─► flush the client port

Order is what keeps promises. A Ready's `messages` may leave before its write is synced, its
`messages_after_append` only after; entries are applied when they are committed *and* synced here;
clients are answered after apply.

A turn is bounded (frames, entries); what is left wakes the loop again, so that a flood of client
work cannot starve heartbeats. Time enters as ticks: after a pause the inbox is drained first, and a
follower is fed fewer ticks than an election timeout, so that a heartbeat that waits in a socket
still counts; a leader is fed all of them, so that it notices that it has lost its quorum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from node.config import Limits, Ticks
from node.disk import Write
from node.housekeeping import HOUSEKEEPING_MS, Housekeeping
from node.parts import Parts
from node.peers import PARCEL_BYTES_MAX
from node.raft.message import InstallSnapshot, Message
from node.raft.ready import Proposed, Ready, Role, SoftState
from transport.mesh import Channel, Received

FRAMES_PER_TURN = 256
ENTRIES_PER_SLICE = 256
SLICES_PER_TURN = 8
TURN_SECONDS_MAX = 0.01
"""Longer turns are counted: they make heartbeats late."""
COMPACT_RECORDS = 256
"""History that one slice of a compaction walks over."""
CATCH_UP_EVENTS = 1_000
"""History that watchers who fell behind are given per turn."""


class Outputs(Protocol):
    """What a turn hands to the client port."""

    def deliver(self, responses: Sequence[tuple[int, bytes]]) -> None:
        """Watch responses by stream, in order."""

    def flush(self) -> None:
        """Write out what this turn has answered."""


@dataclass(slots=True)
class Figures:
    """Counters of a loop, for metrics and the status page."""

    turns: int = 0
    slow_turns: int = 0
    leader_changes: int = 0
    lateness_seconds: float = 0.0
    """How late the last tick was."""
    paused_seconds: float = 0.0
    """The longest gap between ticks that was an election timeout or more."""


class Loop:
    """The turns of one member. All methods belong to the loop's thread."""

    def __init__(
        self,
        parts: Parts,
        ticks: Ticks,
        limits: Limits,
        clock: Callable[[], float],
        schedule: Callable[[Callable[[], None]], object],
        outputs: Outputs,
    ) -> None:
        """`clock` is monotonic seconds, `schedule` runs a call soon, after pending input."""
        self._parts = parts
        self._ticks = ticks
        self._limits = limits
        self._clock = clock
        self._schedule = schedule
        self._awake = False
        self._outputs = outputs
        self._catching_up = False
        self._outgoing: list[Message] = []
        self._inbox: list[Received] = []
        self._tick_seconds = ticks.tick_ms / 1000
        self._ticked_at = clock()
        self._housekeeping = Housekeeping(parts, limits, self._ticked_at)
        self._housekept_at = self._ticked_at
        self._soft = SoftState()
        self.figures = Figures()
        self.leaderless_since = self._ticked_at

    # -- what the owner calls ------------------------------------------------------------------

    @property
    def role(self) -> Role:
        """This member's role as of the last turn."""
        return self._soft.role

    @property
    def term(self) -> int:
        """The current term as of the last turn."""
        return self._soft.term

    @property
    def apply_lag(self) -> int:
        """Committed entries that are not applied."""
        return self._parts.applier.waiting

    @property
    def leader(self) -> int:
        """Member id of the known leader; 0 = none."""
        return self._soft.leader

    def wake(self) -> None:
        """Something was queued: run a turn soon. Any number of calls makes one turn."""
        if not self._awake:
            self._awake = True
            self._schedule(self.turn)

    def turn(self) -> None:
        """Take everything that waits through the member once."""
        self._awake = False
        self.figures.turns += 1
        now = self._clock()
        self._receive(now)
        self._install_arrived(now)
        self._tick(now)
        self._finish_writes()
        self._ask(now)
        parts = self._parts
        parts.membership.pump(self._soft.leader, self._soft.term)
        self._propose()
        self._drain_core(now)
        if self._apply():
            self._propose()  # what an earlier leader took along, now that another's term began
            self._drain_core(now)
        self._compact_history()
        if not parts.disk.installing:  # until then the old state is what a reader would see
            parts.reads.release(parts.disk.applied.index)
        parts.calls.pump(self._soft.leader, parts.member_id)
        self._catching_up = parts.hub.catch_up(CATCH_UP_EVENTS)
        self._outputs.deliver(parts.hub.take_output())
        self._outputs.flush()
        self._look_again(now)
        if self._clock() - now > TURN_SECONDS_MAX:
            self.figures.slow_turns += 1

    # -- into the core -------------------------------------------------------------------------

    def _receive(self, now: float) -> None:
        parts = self._parts
        frames = self._inbox
        if len(frames) < FRAMES_PER_TURN:
            frames = frames + parts.mesh.receive(FRAMES_PER_TURN - len(frames))
        self._inbox = []
        now_ns = int(now * 1e9)
        step = parts.core.step
        for frame in frames:
            if frame.channel is Channel.BULK:
                parts.snapshots.receive(frame.sender, frame.payload, now)
                continue
            messages, calls = parts.peers.open(frame, now_ns)
            for message in messages:
                if not isinstance(message, InstallSnapshot):  # only whole ones, from below
                    step(message)
            if calls:
                parts.calls.take(frame.sender, calls)
                parts.membership.take(frame.sender, calls)
                parts.connections.take(frame.sender, calls, parts.core.leader)

    def _install_arrived(self, now: float) -> None:
        """Show the core a snapshot that has arrived as a whole.

        Only once the disk would take its Ready at once: the installer is at hand now and not later,
        and between the effects of the state that it replaces and itself no other write has a place.
        """
        parts = self._parts
        message = parts.snapshots.arrived
        if message is None or not parts.disk.make_way_for_install():
            return
        parts.core.step(message)
        self._drain_core(now)
        if not parts.core.has_ready():  # else the disk has no room yet, and it may still be wanted
            parts.snapshots.abandon()

    def _tick(self, now: float) -> None:
        late = now - self._ticked_at
        count = int(late / self._tick_seconds)
        if count <= 0:
            return
        self._ticked_at += count * self._tick_seconds
        self.figures.lateness_seconds = late - self._tick_seconds
        if count >= self._ticks.election:
            self.figures.paused_seconds = max(self.figures.paused_seconds, late)
            self._parts.reporter.report("node.late", seconds=round(late, 3))
        self._feed_ticks(count)
        self._parts.consistency.walk()
        if now - self._housekept_at >= HOUSEKEEPING_MS / 1000:
            self._housekept_at = now
            self._housekeeping.keep(now)

    def _feed_ticks(self, count: int) -> None:
        """A leader gets all of them, a follower fewer than it takes to campaign; a leader that
        steps down on the way is a follower from there on."""
        core = self._parts.core
        patience = self._ticks.election - 1
        fed = 0
        while fed < count and (core.leads or fed < patience):
            core.tick()
            fed += 1

    def _finish_writes(self) -> None:
        parts = self._parts
        done = parts.disk.take_durable()
        installs = [write for write in done if write.generation is not None]
        for write in done:
            self._outgoing += write.messages
            if installs and write is installs[-1]:  # its state has replaced those before it
                self._adopt_snapshot(write)
            if write.token is not None:
                parts.core.persisted(write.token)

    def _ask(self, now: float) -> None:
        parts = self._parts
        if parts.reads.wants_round(now) and self._soft.leader:
            # If nobody can be asked now, it counts as a question that got no answer.
            parts.core.read_index(parts.reads.start(now))

    def _propose(self) -> None:
        proposals = self._parts.proposals
        core = self._parts.core
        while proposals.waiting() and self._soft.leader:
            batch = proposals.take(PARCEL_BYTES_MAX)
            outcome = core.propose([proposal.envelope for proposal in batch])
            if outcome not in (Proposed.ACCEPTED, Proposed.FORWARDED):
                proposals.put_back(batch)
                return
            forward = core.forwards if outcome is Proposed.FORWARDED else 0
            proposals.proposed(batch, core.term, forward)

    # -- out of the core -----------------------------------------------------------------------

    def _drain_core(self, now: float) -> None:
        """Hand on what the core wants done.

        Messages leave before the writer is given its work: the first send gives up the interpreter
        lock, and the writer, once awake, would hold it while the peers wait.
        """
        parts = self._parts
        core, disk = parts.core, parts.disk
        taken: list[Ready] = []
        while core.has_ready() and disk.has_room():
            ready = core.ready()
            if ready.notes:
                parts.reporter.notes(ready.notes)
            if ready.soft_state is not None:
                self._role_changed(ready.soft_state)
            self._outgoing += ready.messages
            taken.append(ready)
            if ready.committed:
                parts.applier.add(ready.committed)
            if ready.dropped:
                parts.proposals.dropped(ready.dropped)
            for state in ready.read_states:
                parts.reads.confirmed(state.context, state.index)
        self._send(now)
        for ready in taken:
            self._store(ready)

    def _store(self, ready: Ready) -> None:
        parts = self._parts
        if ready.snapshot is None:
            parts.disk.write(ready)
            return
        # What was committed before is part of the snapshot; nothing is applied until it is durable.
        parts.applier.drop()
        parts.disk.write(ready, parts.snapshots.take_installer())

    def _send(self, now: float) -> None:
        if not self._outgoing:
            return
        parts = self._parts
        outgoing, self._outgoing = self._outgoing, []
        streams = [m for m in outgoing if isinstance(m, InstallSnapshot)]
        for message in streams:
            if parts.consistency.accused:  # what it would hand on is not what was agreed on
                parts.core.report_snapshot(message.to, delivered=False)
            else:
                parts.snapshots.start(message, now)
        if streams:
            outgoing = [m for m in outgoing if not isinstance(m, InstallSnapshot)]
        for peer in parts.peers.send(outgoing, int(now * 1e9)):
            parts.core.report_unreachable(peer)

    def _apply(self) -> bool:
        parts = self._parts
        if not parts.applier.waiting or parts.disk.installing:
            return False
        for _ in range(SLICES_PER_TURN):
            last = parts.applier.apply(ENTRIES_PER_SLICE)
            if last is None:
                break
            parts.disk.applied_to(last.index, last.term, parts.chain.encoded())
            parts.core.applied_to(last.index)
        return True

    def _compact_history(self) -> None:
        """One slice per write, so that the disk, not this loop, sets the pace of what nobody
        waits for; the finished write brings the next turn."""
        disk = self._parts.disk
        if not disk.busy and not disk.installing and self._parts.applier.compact(COMPACT_RECORDS):
            disk.flush_effects()

    def _adopt_snapshot(self, write: Write) -> None:
        """While a newer one is under way, what the disk says of index and digest is of that one."""
        parts, index = self._parts, write.applied.index
        parts.proposals.snapshot_installed(write.applied.term)
        parts.membership.snapshot_installed(write.applied.term)
        parts.adopt_conf(write.conf)
        machine = parts.machine = parts.new_machine(index)
        digest = b"" if parts.disk.installing else parts.disk.digest
        parts.applier.replace_machine(machine, digest, index)
        parts.consistency.replaced()
        parts.hub.replace_history(machine)
        parts.tokens.kind.clear()
        if parts.leases.leading:
            self._housekeeping.promote_leases(self._clock())
        parts.reporter.report("raft.snapshot_installed", index=index)

    # -- after a turn --------------------------------------------------------------------------

    def _look_again(self, now: float) -> None:
        """ZeroMQ announces only what is new, so the sockets are looked at until they are empty.

        Readers that gathered behind a round are let go on at its end, not at the next tick."""
        parts = self._parts
        self._inbox = parts.mesh.receive(FRAMES_PER_TURN)
        applicable = parts.applier.waiting and not parts.disk.installing
        readable = self._soft.leader and parts.reads.wants_round(now)
        if self._inbox or applicable or self._catching_up or readable:
            self.wake()

    # -- things that change now and then ---------------------------------------------------------

    def _role_changed(self, soft: SoftState) -> None:
        parts, before = self._parts, self._soft
        self._soft = soft
        now = self._clock()
        if soft.leader != before.leader or soft.term != before.term:
            parts.reads.leader_changed()
        if soft.leader != before.leader:
            self.leaderless_since = now
            parts.transfers.leader_is(soft.leader)
            if soft.leader:
                self.figures.leader_changes += 1
        if soft.role == Role.LEADER and before.role != Role.LEADER:
            parts.reporter.report("leader.elected", term=soft.term)
        elif soft.role != Role.LEADER and before.role == Role.LEADER:
            parts.leases.demote()
            parts.reporter.report("raft.stepdown", term=soft.term)
