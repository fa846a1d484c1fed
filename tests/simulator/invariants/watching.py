"""No event is lost, doubled or reordered between the machine and a watcher; leases keep their keys.

What clients see is judged from their histories; here is what can be seen inside a member, where a
failure shows as soon as it happens. Source: etcd's watch guarantees; `node.watch.hub`.
"""

from __future__ import annotations

from collections.abc import Sequence

from node.machine.answer import Answer, Event
from node.proto import rpc
from node.watch.watcher import Watcher
from tests.simulator.invariants.state import readable
from tests.simulator.invariants.tap import Check, Subject
from tests.simulator.observer import fail


class Watching(Check):
    """The part of invariant 9 that is about watches."""

    def began(self, subject: Subject) -> None:
        subject.facts["cursors"] = {}
        subject.facts["published"] = subject.parts.hub.revision
        subject.facts["history"] = subject.parts.machine

    def adopted(self, subject: Subject) -> None:
        subject.facts["published"] = subject.parts.hub.revision

    def published(self, subject: Subject, events: Sequence[Event]) -> None:
        revision = events[0].revision
        if revision != subject.facts["published"] + 1:
            fail("a revision was not published", member=subject.id, revision=revision)
        subject.facts["published"] = revision
        told = [(event.key, event.deleted, event.kv) for event in events]
        known = self.ledger.events.setdefault(revision, events)
        if [(event.key, event.deleted, event.kv) for event in known] != told:
            fail("a revision with other events elsewhere", member=subject.id, revision=revision)

    def turned(self, subject: Subject) -> None:
        parts = subject.parts
        if parts.machine.revision != subject.facts["published"] and not parts.disk.installing:
            fail("the machine is ahead of the hub", member=subject.id, to=parts.machine.revision)

    def watched(self, subject: Subject, watcher: Watcher) -> None:
        subject.facts["cursors"][watcher] = watcher.next_revision

    def told(self, subject: Subject, watcher: Watcher, events: Sequence[Event]) -> None:
        cursors = subject.facts["cursors"]
        first, last = cursors[watcher], events[-1].revision
        lo, hi = watcher.interval
        compacted = subject.parts.machine.compact_revision
        expected = [
            (event.revision, event.key)
            for event in self.ledger.history(max(first, compacted + 1), last + 1)
            if lo <= event.key and (hi is None or event.key < hi) and wants(watcher, event)
        ]
        found = [(e.revision, e.key) for e in events]
        if [row for row in found if row[0] > compacted] != expected or found[0][0] < first:
            fail(
                "a watcher is told other events than there were",
                member=subject.id,
                since=first,
                told=found,
                expected=expected,
            )
        cursors[watcher] = last + 1


class Leases(Check):
    """A key with a lease lives no longer than its lease, and leases know their keys."""

    def looked(self, subjects: Sequence[Subject]) -> None:
        for subject in [subject for subject in subjects if readable(subject)][:1]:
            machine = subject.parts.machine
            answer = machine.range(rpc.RangeRequest(key=b"\0", range_end=b"\0"))
            if not isinstance(answer, Answer):
                continue
            attached: dict[int, list[bytes]] = {lease.id: [] for lease in machine.leases()}
            for found in rpc.RangeResponse.FromString(answer.body).kvs:
                if found.lease and found.lease not in attached:
                    fail("a key outlived its lease", member=subject.id, key=found.key)
                if found.lease:
                    attached[found.lease].append(found.key)
            for lease, keys in attached.items():
                if machine.lease_keys(lease) != sorted(keys):
                    fail("a lease does not know its keys", member=subject.id, lease=lease)


def wants(watcher: Watcher, event: Event) -> bool:
    """Whether a watcher has asked for this kind of event."""
    return watcher.deletes if event.deleted else watcher.puts
