"""What a member shows of itself in shared memory: its status, and its heartbeats to each peer.

The node writes its own page and nobody else does. Whoever supervises it reads the page at any time:
while the node works, hangs, is stopped, or after it has died, when the page still holds its last
word. All times are nanoseconds of the host's monotonic clock, so that age is a subtraction.

    section 0        Status
    section 1 … 16   heartbeats to one peer each; the first field is the peer's member id, 0 = free

A round trip falls into one of 72 buckets that grow by the fourth root of two from 50 µs, so a
percentile is known within ±9 %. Two windows of 30 s take turns: figures are made from the present
and the previous one, so a pause that is over does not colour them for ever.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from enum import IntEnum, IntFlag
from itertools import accumulate
from math import ceil
from typing import Final

import msgspec

from node.errors import check
from transport.page import PageReader, PageWriter, Shape
from transport.page import create_page as create_any_page

PEERS_MAX: Final = 16
WINDOW_NS: Final = 30_000_000_000

BUCKET_FIRST_NS: Final = 50_000
BUCKET_GROWTH: Final = 2**0.25
BUCKET_BOUNDS_NS: Final = tuple(round(BUCKET_FIRST_NS * BUCKET_GROWTH**step) for step in range(71))
"""Upper bounds: 50 µs … 9.3 s. One more bucket counts what is beyond."""
BUCKETS: Final = len(BUCKET_BOUNDS_NS) + 1


class RoleCode(IntEnum):
    """A Raft role as a number on the page."""

    FOLLOWER = 0
    PRE_CANDIDATE = 1
    CANDIDATE = 2
    LEADER = 3


class AlarmFlag(IntFlag):
    """Raised alarms, one bit each."""

    NOSPACE = 1
    CORRUPT = 2


class Status(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One member at one moment, in its own view. Plain numbers; 0 = none or unknown."""

    pid: int
    member_id: int
    incarnation: int
    started_at_ns: int
    updated_at_ns: int
    role: int = RoleCode.FOLLOWER
    term: int = 0
    leader: int = 0
    """Member id of the leader that this member believes in."""
    is_learner: int = 0
    commit: int = 0
    applied: int = 0
    last_index: int = 0
    first_index: int = 0
    revision: int = 0
    compact_revision: int = 0
    db_size: int = 0
    """Bytes on disk."""
    loop_lateness_ns: int = 0
    """How late the last tick was."""
    loop_lateness_max_ns: int = 0
    """The latest tick of the last second."""
    writer_batches: int = 0
    """Batches that wait for the disk."""
    writer_oldest_ns: int = 0
    """How long the oldest of them has been waiting."""
    sync_p50_ns: int = 0
    sync_p99_ns: int = 0
    alarms: int = 0
    """Bits of `AlarmFlag`."""
    corrupt: int = 0
    """1 = this member's state is not to be trusted (CORRUPT), and it does not serve."""
    paused_for_ns: int = 0
    """The longest gap between two turns of the loop since start."""
    elections: int = 0
    """Campaigns that this member has started."""
    leader_changes: int = 0
    proposals_pending: int = 0
    client_connections: int = 0
    watchers: int = 0
    slow_turns: int = 0


class LinkFigures(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Heartbeats from one member to one peer, in milliseconds; None = never measured."""

    peer: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    """Percentiles and maximum of the round trips of 30 to 60 s, up to the last one measured."""
    age_ms: float | None
    """Since the last answer of the peer to a heartbeat of this member, or its own heartbeat,
    whichever is younger.
    """
    sent_age_ms: float | None
    """Since this member last sent the peer a heartbeat."""
    count: int
    """Round trips measured in this life of the member."""


class _Heartbeats(msgspec.Struct, frozen=True, gc=False):
    """The head of a link's section; the two windows of buckets follow."""

    peer: int
    sent_at_ns: int
    heard_at_ns: int
    count: int
    window_began_ns: int
    max_now_ns: int
    max_before_ns: int


_STATUS_FIELDS: Final = len(Status.__struct_fields__)
_HEAD_FIELDS: Final = len(_Heartbeats.__struct_fields__)
SHAPE: Final = Shape((_STATUS_FIELDS, *([_HEAD_FIELDS + 2 * BUCKETS] * PEERS_MAX)))


def create_page(file: str | int) -> None:
    """Make a new file or memfd the page of one member; its size is always `SHAPE.size()`.

    Raises:
        OSError: there is no room.
    """
    create_any_page(file, SHAPE)


class LinkHistogram:
    """The writer's side of one link: every call publishes at once."""

    def __init__(self, writer: PageWriter, section: int, peer: int) -> None:
        """Take a section of the page over for one peer."""
        self._writer = writer
        self.section = section
        self._peer = peer
        self._sent_at_ns = 0
        self._heard_at_ns = 0
        self._count = 0
        self._window_began_ns = 0
        self._now = [0] * BUCKETS
        self._before = [0] * BUCKETS
        self._max_now_ns = 0
        self._max_before_ns = 0
        self._publish()

    def record_sent(self, now_ns: int) -> None:
        """A heartbeat has left for the peer."""
        self._sent_at_ns = now_ns
        self._publish()

    def record_heard(self, now_ns: int) -> None:
        """A heartbeat of the peer has arrived."""
        self._heard_at_ns = now_ns
        self._publish()

    def record_rtt(self, now_ns: int, round_trip_ns: int) -> None:
        """The answer to one of our heartbeats has arrived."""
        self._turn_window(now_ns)
        self._heard_at_ns = now_ns
        self._count += 1
        self._now[bisect_left(BUCKET_BOUNDS_NS, round_trip_ns)] += 1
        self._max_now_ns = max(self._max_now_ns, round_trip_ns)
        self._publish()

    def _turn_window(self, now_ns: int) -> None:
        elapsed = now_ns - self._window_began_ns
        if elapsed < WINDOW_NS:
            return
        recent = elapsed < 2 * WINDOW_NS
        self._before = self._now if recent else [0] * BUCKETS
        self._max_before_ns = self._max_now_ns if recent else 0
        self._now = [0] * BUCKETS
        self._max_now_ns = 0
        self._window_began_ns = now_ns

    def _publish(self) -> None:
        head = (
            self._peer,
            self._sent_at_ns,
            self._heard_at_ns,
            self._count,
            self._window_began_ns,
            self._max_now_ns,
            self._max_before_ns,
        )
        self._writer.update(self.section, (*head, *self._now, *self._before))


class StatusPage:
    """The page as its node writes it. Made once per life; what a former life left is wiped."""

    def __init__(self, path: str) -> None:
        """Map the page and free its links.

        Raises:
            RegionUnusable: `path` is no page.
        """
        self._writer = PageWriter(path, SHAPE)
        self._links: dict[int, LinkHistogram] = {}
        empty = (0,) * _STATUS_FIELDS
        self._writer.update(0, empty)
        for section in range(1, PEERS_MAX + 1):
            self._free(section)

    @classmethod
    def private(cls) -> StatusPage:
        """A page that goes with its process: nobody supervises it.

        Raises:
            OSError: there is no room.
        """
        descriptor = os.memfd_create("conclave-page", os.MFD_CLOEXEC)
        try:
            create_page(descriptor)
            return cls(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)

    def publish(self, status: Status) -> None:
        """Replace the status: a few microseconds, meant for every tick or turn."""
        self._writer.update(0, msgspec.structs.astuple(status))

    def link(self, peer: int) -> LinkHistogram:
        """Return the heartbeats to one peer, which take a free section at the first call.

        The limit of members is asserted where members are added, not here.
        """
        link = self._links.get(peer)
        if link is None:
            check(len(self._links) < PEERS_MAX, "the page has a section for every peer")
            taken = {held.section for held in self._links.values()}
            section = next(n for n in range(1, PEERS_MAX + 1) if n not in taken)
            link = self._links[peer] = LinkHistogram(self._writer, section, peer)
        return link

    def drop_link(self, peer: int) -> None:
        """Free the section of a member that has left; no effect if it has none."""
        link = self._links.pop(peer, None)
        if link is not None:
            self._free(link.section)

    # What a sender of heartbeats calls, by member id.

    def sent(self, peer: int, now_ns: int) -> None:
        """A heartbeat has left for the peer."""
        self.link(peer).record_sent(now_ns)

    def answered(self, peer: int, now_ns: int, round_trip_ns: int) -> None:
        """Its answer has come back."""
        self.link(peer).record_rtt(now_ns, round_trip_ns)

    def heard(self, peer: int, now_ns: int) -> None:
        """A heartbeat of the peer has arrived."""
        self.link(peer).record_heard(now_ns)

    def close(self) -> None:
        """Unmap; the last word stays readable."""
        self._writer.close()

    def _free(self, section: int) -> None:
        self._writer.update(section, (0,) * SHAPE.sections[section])


class StatusPageReader:
    """The page as a supervisor reads it, whatever state its node is in."""

    def __init__(self, path: str) -> None:
        """Map the page.

        Raises:
            RegionUnusable: `path` is no page.
        """
        self._reader = PageReader(path, SHAPE)

    def status(self) -> Status | None:
        """Return the node's last word, or None before its first."""
        image = self._reader.read(0)
        if image is None or not any(image.fields):
            return None
        return Status(**dict(zip(Status.__struct_fields__, image.fields, strict=True)))

    def links(self, now_ns: int) -> list[LinkFigures]:
        """Return the figures of every peer that the node has spoken to, by member id."""
        figures = (self._link(section, now_ns) for section in range(1, PEERS_MAX + 1))
        return sorted((link for link in figures if link is not None), key=lambda link: link.peer)

    def close(self) -> None:
        """Unmap."""
        self._reader.close()

    def _link(self, section: int, now_ns: int) -> LinkFigures | None:
        image = self._reader.read(section)
        if image is None or not image.fields[0]:
            return None
        head = _Heartbeats(*image.fields[:_HEAD_FIELDS])
        now, before = (
            image.fields[_HEAD_FIELDS : _HEAD_FIELDS + BUCKETS],
            image.fields[_HEAD_FIELDS + BUCKETS :],
        )
        # The last windows also when they are history: `age_ms` says so, and of a node that is
        # stopped or dead they are all there is.
        counts = [a + b for a, b in zip(now, before, strict=True)]
        longest = max(head.max_now_ns, head.max_before_ns)
        return LinkFigures(
            peer=head.peer,
            p50_ms=_percentile_ms(counts, longest, 0.50),
            p99_ms=_percentile_ms(counts, longest, 0.99),
            max_ms=longest / 1e6 if longest else None,
            age_ms=_age_ms(head.heard_at_ns, now_ns),
            sent_age_ms=_age_ms(head.sent_at_ns, now_ns),
            count=head.count,
        )


def _percentile_ms(counts: list[int], longest_ns: int, share: float) -> float | None:
    """Return the middle of the bucket that holds the percentile, never more than the maximum."""
    below = list(accumulate(counts))
    if not below[-1]:
        return None
    bucket = bisect_left(below, ceil(below[-1] * share))
    if bucket >= len(BUCKET_BOUNDS_NS):
        return longest_ns / 1e6
    upper = BUCKET_BOUNDS_NS[bucket]
    middle: float = upper / BUCKET_GROWTH**0.5
    return min(middle, longest_ns) / 1e6


def _age_ms(moment_ns: int, now_ns: int) -> float | None:
    return max(0, now_ns - moment_ns) / 1e6 if moment_ns else None
