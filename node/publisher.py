"""What a member tells about itself: its name and URLs through the log, its figures on its page.

The name goes through the log once, when the applied roster does not show it; if that fails (no
leader yet, a timeout), the next call tries again. The page is written at every tick: a reader must
be able to tell a paused member by the age of its page.

Source: etcd server/etcdserver/server.go (publishV3).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from node.config import MemberSpec
from node.loop import Loop
from node.machine.answer import Answer
from node.machine.envelope import RequestKind
from node.machine.errors import Refusal
from node.member import Member
from node.parts import Parts
from node.proto import rpc_pb2
from node.telemetry import Status, StatusPage

PAGE_SECONDS = 0.05
"""How old the page of a running member gets."""


class Publisher:
    """Keeps both up to date."""

    def __init__(
        self,
        member: Member,
        loop: Loop,
        parts: Parts,
        page: StatusPage,
        spec: MemberSpec,
        own: Status,
        report: Callable[[str], None],
    ) -> None:
        """`own` holds what does not change: pid, ids, start. `report` is told "published" once
        there is a leader and the roster shows this member: what etcd calls ready."""
        self._member = member
        self._loop = loop
        self._parts = parts
        self._page = page
        self._spec = spec
        self._own = own
        self._report = report
        self._under_way = False
        self._known = False
        self._paged_at = 0.0
        self._lateness_max_ns = 0
        self._lateness_since = 0.0

    def tick(self, now: float) -> None:
        """Do what is due."""
        lateness_ns = int(self._loop.figures.lateness_seconds * 1e9)
        if now - self._lateness_since > 1.0:
            self._lateness_since, self._lateness_max_ns = now, 0
        self._lateness_max_ns = max(self._lateness_max_ns, lateness_ns)
        if now - self._paged_at >= PAGE_SECONDS:
            self._paged_at = now
            self._publish_page(lateness_ns)
            self._publish_name()

    def _publish_name(self) -> None:
        if self._under_way or not self._loop.leader:
            return
        spec = self._spec
        for record in self._parts.machine.members():
            if record.id == spec.id and (record.name, record.client_urls) == (
                spec.name,
                spec.client_urls,
            ):
                self._tell_once()
                return
        self._under_way = True
        message = rpc_pb2.Member(
            ID=spec.id,
            name=spec.name,
            peerURLs=spec.peer_urls or (f"unix://{spec.name}",),
            clientURLs=spec.client_urls,
        )
        self._member.propose(
            RequestKind.MEMBER_PUBLISH, message.SerializeToString(), self._published
        )

    def _tell_once(self) -> None:
        if not self._known:
            self._known = True
            self._report("published")

    def _published(self, outcome: Answer | Refusal) -> None:
        self._under_way = False

    def _publish_page(self, lateness_ns: int) -> None:
        parts, loop, own = self._parts, self._loop, self._own
        core = parts.core.status()
        figures = loop.figures
        syncs = parts.disk.sync_figures()
        self._page.publish(
            Status(
                pid=own.pid,
                member_id=own.member_id,
                incarnation=own.incarnation,
                started_at_ns=own.started_at_ns,
                updated_at_ns=time.monotonic_ns(),
                role=int(core.role),
                term=core.term,
                leader=core.leader,
                is_learner=int(parts.is_learner),
                commit=core.commit,
                applied=core.applied,
                last_index=core.last_index,
                first_index=core.first_index,
                revision=parts.machine.revision,
                compact_revision=max(0, parts.machine.compact_revision),
                db_size=parts.disk.size_on_disk(),
                loop_lateness_ns=lateness_ns,
                loop_lateness_max_ns=self._lateness_max_ns,
                writer_batches=parts.disk.queue_depth(),
                writer_oldest_ns=int(parts.disk.oldest_wait() * 1e9),
                sync_p50_ns=syncs.p50_us * 1000,
                sync_p99_ns=syncs.p99_us * 1000,
                alarms=sum({1 << (alarm.kind - 1) for alarm in parts.machine.alarms()}),
                corrupt=int(parts.machine.accused),
                paused_for_ns=int(figures.paused_seconds * 1e9),
                leader_changes=figures.leader_changes,
                proposals_pending=parts.proposals.pending,
                slow_turns=figures.slow_turns,
            )
        )
