"""The observer that brings checks and lives together."""

from __future__ import annotations

from collections.abc import Iterable

from node.raft.message import ConfState
from tests.simulator.invariants.ledger import Ledger
from tests.simulator.invariants.platter import Platters
from tests.simulator.invariants.tap import Check, Subject, heard, tap
from tests.simulator.marks import Marks
from tests.simulator.observer import Observer
from tests.support.member_cluster import MemberCluster, Node


class Inspection(Observer):
    """Taps every life when it begins and passes on what happens in it."""

    def __init__(
        self, cluster: MemberCluster, kinds: Iterable[type[Check]], marks: Marks | None = None
    ) -> None:
        self.cluster = cluster
        self.marks = marks or Marks()
        founders = [node.id for node in cluster if node._founders.voters]
        self.ledger = Ledger(ConfState(voters=tuple(founders)))
        self.platters = Platters(cluster)
        self.checks = [kind(cluster, self.ledger, self.platters, self.marks) for kind in kinds]
        self.subjects: dict[int, Subject] = {}
        """The present life of each member that is up."""
        self._lives = 0
        self._turned = heard(self.checks, "turned")

    def check(self, kind: type[Check]) -> Check:
        """The check of this kind."""
        return next(check for check in self.checks if isinstance(check, kind))

    def started(self, node: Node) -> None:
        self._lives += 1
        subject = Subject(node, self._lives, self.platters[node.id])
        self.subjects[node.id] = subject
        for check in self.checks:
            check.began(subject)
        tap(subject, self.checks)

    def ended(self, node: Node) -> None:
        subject = self.subjects.pop(node.id)
        for check in self.checks:
            check.ended(subject)

    def stepped(self, node: Node | None) -> None:
        subjects = self.subjects
        for member in (node.id,) if node is not None else tuple(subjects):
            subject = subjects.get(member)
            if subject is not None:
                for turned in self._turned:
                    turned(subject)

    def looked(self) -> None:
        subjects = list(self.subjects.values())
        for check in self.checks:
            check.looked(subjects)

    def calmed(self) -> None:
        subjects = list(self.subjects.values())
        for check in self.checks:
            check.calmed(subjects)
