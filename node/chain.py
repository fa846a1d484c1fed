"""A running digest over what applying did: two members at one index have it in common, or differ.

    entry ──► crc(previous, index, term, data, outcome, effects) ──► entry ──► …
    origin ············ 256 ············ 512 ···· check ············ 768     what is remembered

Each link covers the entry as it was read and everything that came out of it, so that both another
log and an apply that went its own way show, at that index and at all later ones. It is a function
of the index alone: neither slices nor batches nor restarts are in it. It goes to disk with the
applied index and travels with snapshots.

A chain begins at its `origin`, and only chains of one origin can be compared. All founders have the
same; a member whose disk or snapshot has no digest begins at its own position. A check of the
states (`node.consistency`) begins a new one for everybody: there the states themselves are
compared, and with that all that lies behind them.

One CRC-32 and not two with different seeds: CRC is affine, so the difference of two inputs is the
same under every seed, and the second number would never tell more than the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple
from zlib import crc32

import msgspec

from node.machine.answer import Answer, Operation
from node.machine.errors import Refusal

CHECKPOINT_ENTRIES = 256
CHECKPOINTS_MAX = 64
"""What a member can answer for: a follower that is 16,384 entries behind is not asked."""

_DIGEST = Struct(">QI")
_HEAD = Struct(">QQqII").pack
_GONE, _AGAIN = b"-", b"="
"""In place of the value of an effect: the record is deleted; it is that of the effect before."""
JOINED_BYTES_MAX = 2048
"""Entries below are cheaper to copy than to be read by a call of their own."""
_encode = msgspec.msgpack.Encoder().encode


class Link(NamedTuple):
    """The digest at some index."""

    origin: int
    crc: int


class Chain:
    """This member's digest and its checkpoints."""

    __slots__ = ("_checkpoints", "_crc", "_origin")

    def __init__(self, digest: bytes, index: int) -> None:
        """Go on from what was stored with the applied `index`."""
        self._checkpoints: dict[int, Link] = {}
        self.resume(digest, index)

    def resume(self, digest: bytes, index: int) -> None:
        """Go on from another position: a snapshot was installed. No digest, or one of a form that
        this release does not know: begin there."""
        self._origin, self._crc = index, 0
        if len(digest) == _DIGEST.size:
            self._origin, self._crc = _DIGEST.unpack(digest)
        self._checkpoints.clear()

    @property
    def link(self) -> Link:
        """The digest of everything that was absorbed."""
        return Link(self._origin, self._crc)

    @property
    def newest(self) -> int:
        """The index of the newest checkpoint; 0 = there is none."""
        return next(reversed(self._checkpoints), 0)

    def encoded(self) -> bytes:
        """The digest as it is stored and sent."""
        return _DIGEST.pack(self._origin, self._crc)

    def absorb(
        self,
        index: int,
        term: int,
        data: bytes,
        outcome: Answer | Refusal | None = None,
        effects: Sequence[Operation] = (),
    ) -> None:
        """One more entry was applied; its outcome is None if it had none.

        On the path of every write, so there are no calls of ours in it. A put's record is the
        effect on two keys, one after the other: its bytes are read once. A CRC does not see how
        its input was cut, so that what is small is joined first: a call costs more than a copy.
        """
        if isinstance(outcome, Answer):
            revision, body = outcome.revision, outcome.body
        else:
            revision, body = -1, _encode((type(outcome).__name__, outcome))
        size, crc = len(data), self._crc
        head = _HEAD(index, term, revision, size, len(effects))
        if (
            size < JOINED_BYTES_MAX
            and len(effects) == 2
            and (value := effects[0][1]) is not None
            and value is effects[1][1]
        ):
            parts = (head, data, body, effects[0][0], value, effects[1][0], _AGAIN)
            crc = crc32(b"".join(parts), crc)
        else:
            crc = crc32(data, crc32(head, crc))
            if body:
                crc = crc32(body, crc)
            before: bytes | None = None
            for key, value in effects:
                crc = crc32(key, crc)
                if value is None:
                    crc = crc32(_GONE, crc)
                elif value == before:
                    crc = crc32(_AGAIN, crc)
                else:
                    crc, before = crc32(value, crc), value
        self._crc = crc
        if not index % CHECKPOINT_ENTRIES:
            self._remember(index)

    def begin(self, index: int) -> None:
        """Remember the chain up to the entry just absorbed, and begin a new one behind it."""
        self._remember(index)
        self._origin, self._crc = index, 0

    def at(self, index: int) -> Link | None:
        """A checkpoint; None = none is remembered there."""
        return self._checkpoints.get(index)

    def _remember(self, index: int) -> None:
        checkpoints = self._checkpoints
        checkpoints[index] = self.link
        if len(checkpoints) > CHECKPOINTS_MAX:
            del checkpoints[next(iter(checkpoints))]
