"""What a fuzz target is, and how its input is read.

A target is a pure function of bytes that may end in two ways only: normally, or in an assertion
that names a broken promise. Errors that a decoder documents are caught inside the target; anything
else that comes out of it is a finding. Every target also asserts a bound on what its input made the
product do or keep, in proportion to the input: that is what stands for "bounded work and memory".

A `Tape` reads an input as a program, so that bytes which mean little to the product (where a stream
is cut, what its owner does next) can be mutated like all others. A tape that has ended gives zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

LENGTH_ESCAPE = 255
"""A length octet that announces a length of two octets."""


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder under test."""

    name: str
    fuzz: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    """Inputs made from real messages; called once for each run."""
    examples: int = 100
    """Mutations tried by the short run."""


class Tape:
    """Input that is read from front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        """Octets not read so far."""
        return len(self._data) - self._position

    def octet(self) -> int:
        """The next octet."""
        return self.number(1)

    def number(self, size: int) -> int:
        """The next `size` octets, little-endian."""
        return int.from_bytes(self.take(size), "little")

    def take(self, size: int) -> bytes:
        """The next `size` octets, fewer at the end."""
        start = self._position
        self._position = min(len(self._data), start + size)
        return self._data[start : self._position]

    def block(self) -> bytes:
        """Octets that begin with their length, as `block` of this module writes them."""
        size = self.octet()
        return self.take(self.number(2) if size == LENGTH_ESCAPE else size)

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(self.left)


def block(content: bytes) -> bytes:
    """Write what `Tape.block` reads.

    Raises:
        OverflowError: more than 65,535 octets.
    """
    if len(content) < LENGTH_ESCAPE:
        return bytes((len(content),)) + content
    return bytes((LENGTH_ESCAPE,)) + len(content).to_bytes(2, "little") + content


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Cut into pieces of `size` octets, 0 = one piece; a stream may be cut anywhere."""
    if not size:
        yield data
        return
    for start in range(0, len(data), size):
        yield data[start : start + size]
