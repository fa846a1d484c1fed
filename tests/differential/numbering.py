"""Revisions and lease ids of an episode, and what a server calls them.

An episode counts revisions from its own beginning; a server goes on from what it has. Leases whose
ids the server chooses have numbers of their own in an episode.
"""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.message import Message

from tests.differential.step import CHOSEN

M = TypeVar("M", bound=Message)

REVISIONS = {
    "revision",
    "start_revision",
    "compact_revision",
    "create_revision",
    "mod_revision",
    "min_mod_revision",
    "max_mod_revision",
    "min_create_revision",
    "max_create_revision",
}
LEASES = {"lease", "ID"}
SHIFTED_MAX = 1 << 61
"""Numbers beyond are no revisions that any store has."""


class Numbering:
    """The numbers of one server in one episode."""

    def __init__(self, base: int) -> None:
        """`base` is the server's revision before the episode's first one."""
        self._base = base
        self._chosen: list[int] = []

    def choose(self, lease: int) -> None:
        """The server has granted a lease under an id of its choice."""
        self._chosen.append(lease)

    def to_server(self, message: M) -> M:
        """A copy with the server's numbers."""
        leases = {CHOSEN + place: lease for place, lease in enumerate(self._chosen)}
        return self._translated(message, self._base, leases)

    def from_server(self, message: M) -> M:
        """A copy with the episode's numbers."""
        leases = {lease: CHOSEN + place for place, lease in enumerate(self._chosen)}
        return self._translated(message, -self._base, leases)

    def _translated(self, message: M, delta: int, leases: dict[int, int]) -> M:
        copy = type(message)()
        copy.CopyFrom(message)
        _translate(copy, delta, leases)
        return copy


def _translate(message: Message, delta: int, leases: dict[int, int]) -> None:
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for inner in value if _is_repeated(value) else (value,):
                _translate(inner, delta, leases)
        elif descriptor.name in REVISIONS:
            if 0 < value < SHIFTED_MAX:
                setattr(message, descriptor.name, value + delta)
        elif descriptor.name in LEASES and value in leases:
            setattr(message, descriptor.name, leases[value])


def _is_repeated(value: Any) -> bool:
    return hasattr(value, "extend")
