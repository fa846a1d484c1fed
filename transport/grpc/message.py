"""Length-prefixed messages in the DATA of a stream.

    | compressed (8) | length (32) | message ... |

Source: gRPC over HTTP/2, "Length-Prefixed-Message".
"""

from __future__ import annotations

import struct
from typing import Final

from transport.grpc.status import Status

PREFIX: Final = struct.Struct(">BI")
PREFIX_BYTES: Final = PREFIX.size


class MessageRefused(Exception):
    """A message that this side does not take; the call ends with the status."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def encode_message(message: bytes) -> bytes:
    """Put the prefix before a message."""
    return PREFIX.pack(0, len(message)) + message


class MessageReader:
    """Cuts the bytes of one direction of one call into messages."""

    __slots__ = ("_bytes_max", "_pending")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._pending = bytearray()

    @property
    def held(self) -> int:
        """Bytes of a message that is not complete."""
        return len(self._pending)

    def add(self, data: bytes) -> list[bytes]:
        """Take bytes, cut anywhere, and give the messages that are complete.

        Raises:
            MessageRefused: the next message is too large, or compressed.
        """
        pending = self._pending
        pending += data
        messages: list[bytes] = []
        position = 0
        while len(pending) - position >= PREFIX_BYTES:
            compressed, size = PREFIX.unpack_from(pending, position)
            self._require(compressed, size)
            start = position + PREFIX_BYTES
            if start + size > len(pending):
                break
            messages.append(bytes(pending[start : start + size]))
            position = start + size
        del pending[:position]
        return messages

    def _require(self, compressed: int, size: int) -> None:
        if compressed:
            text = "grpc: compressed flag set with identity or empty encoding"
            raise MessageRefused(Status.INTERNAL, text)
        if size > self._bytes_max:
            text = f"grpc: received message larger than max ({size} vs. {self._bytes_max})"
            raise MessageRefused(Status.RESOURCE_EXHAUSTED, text)
