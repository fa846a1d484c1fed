"""Edits of bytes: what the short run, and the long one without a guide, does to seeds.

An edit is a value, so that hypothesis can leave edits out one by one when it looks for the smallest
input that fails. The numbers that edits write are those at which decoders err: bounds of the fixed
sizes in both byte orders, lengths of zero and one, text that JSON, paths and HPACK treat specially.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

KINDS = 8
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 2**32 - 1, 2**63 - 1, 2**64 - 1)
WORDS = (
    b"\x00",
    b"\xff" * 8,
    b"9" * 400,
    b"[" * 2000,
    b"Infinity",
    b"1e999",
    b"null",
    b"-1",
    b'"',
    b"\r\n",
    b"%00",
    b"!" * 2000,
    b"..",
    "\N{ARABIC-INDIC DIGIT TWO}".encode(),
)
INPUT_BYTES_MAX = 1 << 16


@dataclass(frozen=True, slots=True)
class Edit:
    """One change. `place` and `value` are taken modulo whatever they choose from."""

    kind: int
    place: int
    value: int


def mutate(data: bytes, edits: Sequence[Edit], others: Sequence[bytes]) -> bytes:
    """Apply edits in order; `others` are inputs of the same target to splice with."""
    for edit in edits:
        data = _apply(data, edit, others)[:INPUT_BYTES_MAX]
    return data


def random_edits(random: Random) -> list[Edit]:
    """A few edits; most often one or two."""
    count = min(int(random.expovariate(0.5)) + 1, 12)
    return [
        Edit(random.randrange(KINDS), random.getrandbits(20), random.getrandbits(20))
        for _ in range(count)
    ]


def _apply(data: bytes, edit: Edit, others: Sequence[bytes]) -> bytes:
    at = edit.place % (len(data) + 1)
    value = edit.value
    match edit.kind % KINDS:
        case 0:
            return data[:at] + bytes((value & 0xFF,)) + data[at + 1 :]
        case 1:
            flipped = data[at : at + 1] and bytes((data[at] ^ (1 << value % 8),))
            return data[:at] + flipped + data[at + 1 :]
        case 2:
            return data[:at]
        case 3:
            return data[:at] + data[at + 1 + value % 16 :]
        case 4:
            return data[:at] + data[at : at + 1 + value % 64] + data[at:]
        case 5:
            return data[:at] + WORDS[value % len(WORDS)] + data[at:]
        case 6:
            return _write_number(data, at, value)
        case _:
            other = others[value % len(others)] if others else b""
            return data[:at] + other[value % (len(other) + 1) :]


def _write_number(data: bytes, at: int, value: int) -> bytes:
    number = NUMBERS[value % len(NUMBERS)]
    size = (1, 2, 4, 8)[value // 16 % 4]
    order = "big" if value & 0x400 else "little"
    written = (number & (1 << 8 * size) - 1).to_bytes(size, "big")
    if order == "little":
        written = written[::-1]
    return data[:at] + written + data[at + size :]
