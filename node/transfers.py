"""Requests to hand leadership over that wait for the new leader to show.

Raft answers a transfer by the change itself, so a request is settled when this member sees the
wanted leader, or when an election timeout has passed: by then Raft has given it up.

Source: etcd server/etcdserver/server.go (moveLeader waits for the lead to change).
"""

from __future__ import annotations

from collections.abc import Callable

from node.machine.errors import Refusal, Timeout

OnDone = Callable[[Refusal | None], None]


class Transfers:
    """Waiting requests; few, so a list will do."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._waiting: list[tuple[int, float, OnDone]] = []

    def add(self, transferee: int, done: OnDone, now: float) -> None:
        """Wait for `transferee` to lead."""
        self._waiting.append((transferee, now + self._patience_seconds, done))

    def leader_is(self, leader: int) -> None:
        """Settle those whose wish has come true."""
        self._settle(lambda transferee, _: transferee == leader, None)

    def expire(self, now: float) -> None:
        """Settle those whose time is over."""
        self._settle(lambda _, deadline: deadline <= now, Timeout())

    def _settle(self, over: Callable[[int, float], bool], outcome: Refusal | None) -> None:
        settled = [row for row in self._waiting if over(row[0], row[1])]
        self._waiting = [row for row in self._waiting if not over(row[0], row[1])]
        for _, _, done in settled:
            done(outcome)
