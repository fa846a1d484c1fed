"""Operating errors of one member, and the check that broken invariants die by."""

from __future__ import annotations


class NodeError(Exception):
    """Root of the errors that a member can report before it serves."""


class ConfigError(NodeError):
    """The configuration contradicts itself or the data directory."""


class Removed(NodeError):
    """This member has been removed from its cluster; its id is never used again."""


class InvariantViolated(Exception):
    """Something that cannot happen has happened; the process must end."""


def check(condition: bool, message: str) -> None:
    """Die by an error that no `-O` flag removes.

    Raises:
        InvariantViolated: the condition does not hold.
    """
    if not condition:
        raise InvariantViolated(message)
