"""Operating errors of transport, and the check that broken invariants die by.

Peers cannot make a codec raise: what they do wrong ends in an event, a reset or a closed
connection. The errors here are for the owner of a codec, who asked for what cannot be done.
"""

from __future__ import annotations


class TransportError(Exception):
    """Root of the operating errors of this folder."""


class ConnectionLost(TransportError):
    """The connection is closed, or was told to take no more calls."""


class StreamsExhausted(TransportError):
    """The peer allows no further concurrent stream right now; retry when one has ended."""


class InvariantViolated(Exception):
    """Something that cannot happen has happened; the process must end."""


def check(condition: bool, message: str) -> None:
    """Die by an error that no `-O` flag removes.

    Raises:
        InvariantViolated: the condition does not hold.
    """
    if not condition:
        raise InvariantViolated(message)
