"""The face of the consensus core: messages and ticks in, `Ready` out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from node.raft.config import RaftConfig
from node.raft.message import ConfChange, ConfState, Message
from node.raft.ready import PersistToken, Proposed, Ready, Status
from node.raft.storage import Storage


class Random(Protocol):
    """The chance that the core is given; `random.Random` with a seed will do."""

    def randrange(self, start: int, stop: int, /) -> int:
        """A number of [start, stop)."""


class Core:
    """One member's consensus, without I/O."""

    def __init__(
        self, config: RaftConfig, storage: Storage, random: Random, applied: int = 0
    ) -> None:
        raise NotImplementedError

    def tick(self) -> None:
        raise NotImplementedError

    def step(self, message: Message) -> None:
        raise NotImplementedError

    def campaign(self) -> None:
        raise NotImplementedError

    def propose(self, data: Sequence[bytes], *, forward: bool = True) -> Proposed:
        raise NotImplementedError

    def propose_conf_change(self, change: ConfChange, *, forward: bool = True) -> Proposed:
        raise NotImplementedError

    def apply_conf_change(self, change: ConfChange | None) -> ConfState:
        raise NotImplementedError

    def read_index(self, context: int) -> bool:
        raise NotImplementedError

    def transfer_leader(self, transferee: int) -> None:
        raise NotImplementedError

    def report_unreachable(self, member: int) -> None:
        raise NotImplementedError

    def report_snapshot(self, member: int, delivered: bool) -> None:
        raise NotImplementedError

    def has_ready(self) -> bool:
        raise NotImplementedError

    def ready(self) -> Ready:
        raise NotImplementedError

    def persisted(self, token: PersistToken) -> None:
        raise NotImplementedError

    def applied_to(self, index: int) -> None:
        raise NotImplementedError

    def status(self) -> Status:
        raise NotImplementedError
