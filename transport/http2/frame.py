"""HTTP/2 frames: their nine-byte header and the payloads that have a shape of their own.

    +---------------+--------+---------+-----------------+
    | length (24)   | kind   | flags   | 0 | stream (31) |   then `length` octets of payload
    +---------------+--------+---------+-----------------+

Length and kind are read as one 32-bit word, which makes a header one `struct` call. This module
knows octets only: which frame may come when is the business of `connection`.
Source: RFC 9113 §4, §6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final

from transport.http2.errors import ConnectionViolation, ErrorCode

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITISED: Final = 0x20

HEADER_BYTES: Final = 9
HEADER: Final = struct.Struct(">IBI")
"""(length << 8 | kind, flags, stream id); the reserved bit is still in the stream id."""
STREAM_MASK: Final = 0x7FFF_FFFF
WINDOW_MAX: Final = 0x7FFF_FFFF

_WORD: Final = struct.Struct(">I")
_SETTING: Final = struct.Struct(">HI")
_GOAWAY: Final = struct.Struct(">II")


class Setting(IntEnum):
    """Names of the parameters in SETTINGS."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6


def encode(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Put a payload, already bounded by the peer's frame size, into one frame."""
    return HEADER.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def encode_settings(values: Mapping[Setting, int]) -> bytes:
    """Announce parameters."""
    return encode(SETTINGS, 0, 0, b"".join(_SETTING.pack(*item) for item in values.items()))


def encode_word(kind: int, stream_id: int, word: int) -> bytes:
    """Build RST_STREAM (error code) or WINDOW_UPDATE (increment)."""
    return encode(kind, 0, stream_id, _WORD.pack(word))


def encode_goaway(last_stream_id: int, code: int, reason: str) -> bytes:
    """Say goodbye; the reason becomes debug data."""
    return encode(GOAWAY, 0, 0, _GOAWAY.pack(last_stream_id, code) + reason.encode()[:256])


def encode_block(stream_id: int, block: bytes, flags: int, frame_bytes_max: int) -> bytes:
    """Put a header block into HEADERS and as many CONTINUATION as it takes."""
    if len(block) <= frame_bytes_max:
        return encode(HEADERS, flags | END_HEADERS, stream_id, block)
    pieces = list(_split(block, frame_bytes_max))
    frames = [encode(HEADERS, flags, stream_id, pieces[0])]
    frames += [encode(CONTINUATION, 0, stream_id, piece) for piece in pieces[1:-1]]
    frames.append(encode(CONTINUATION, END_HEADERS, stream_id, pieces[-1]))
    return b"".join(frames)


def _split(block: bytes, size: int) -> Iterable[bytes]:
    return (block[start : start + size] for start in range(0, len(block), size))


def decode_word(payload: bytes, name: str) -> int:
    """Read the one 32-bit word of RST_STREAM or WINDOW_UPDATE.

    Raises:
        ConnectionViolation: the payload has another size.
    """
    require_size(len(payload) == _WORD.size, name)
    return int.from_bytes(payload, "big")


def decode_settings(payload: bytes) -> dict[int, int]:
    """Read SETTINGS; of a parameter given twice the last value counts, unknown ones are kept.

    Raises:
        ConnectionViolation: the size is no multiple of six, or a value is out of range.
    """
    require_size(len(payload) % _SETTING.size == 0, "SETTINGS")
    values = dict(_SETTING.iter_unpack(payload))
    if values.get(Setting.ENABLE_PUSH, 0) > 1:
        raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
    if values.get(Setting.INITIAL_WINDOW_SIZE, 0) > WINDOW_MAX:
        raise ConnectionViolation(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE too large")
    if not 16_384 <= values.get(Setting.MAX_FRAME_SIZE, 16_384) <= 16_777_215:
        raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range")
    return values


def decode_goaway(payload: bytes) -> tuple[int, int, str]:
    """Read (last stream id, error code, reason).

    Raises:
        ConnectionViolation: the payload is too short.
    """
    require_size(len(payload) >= _GOAWAY.size, "GOAWAY")
    last_stream_id, code = _GOAWAY.unpack_from(payload)
    return last_stream_id & STREAM_MASK, code, payload[8:].decode("utf-8", "replace")


def strip_padding(payload: bytes, flags: int, *, priority: bool = False) -> bytes:
    """Give DATA or HEADERS content without padding and without priority fields.

    Raises:
        ConnectionViolation: the padding is longer than the frame.
    """
    start, stop = 0, len(payload)
    if flags & PADDED:
        require_size(stop >= 1, "padded frame")
        start, stop = 1, stop - payload[0]
    if priority and flags & PRIORITISED:
        start += 5
    if start > stop:
        raise ConnectionViolation(ErrorCode.PROTOCOL_ERROR, "padding longer than the frame")
    return payload[start:stop]


def require_size(condition: bool, name: str) -> None:
    """Refuse a frame of a wrong size.

    Raises:
        ConnectionViolation: the condition does not hold.
    """
    if not condition:
        raise ConnectionViolation(ErrorCode.FRAME_SIZE_ERROR, f"{name} of a wrong size")
