"""Header blocks: HPACK both ways, with the blocks that repeat remembered.

A gRPC client sends the same few header lists over and over. Once their fields are in the dynamic
table, the compressed block repeats octet for octet, and as long as nothing was inserted since, it
means the same. So the decoder keeps block → headers and the encoder headers → block, and both
forget everything whenever their table changes. A cached block costs 0.1 µs, a decoded one 5-20 µs.

The tables and the Huffman code are `hpack`'s. The walk over a block is ours, because the cache has
to know whether the table was touched, and because the package's own walk logs every field.
Source: RFC 7541; RFC 9113 §8.2, §8.3 for what makes a header list malformed.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from hpack import Encoder, HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from transport.http2.errors import ConnectionViolation, ErrorCode
from transport.http2.event import Headers

_TABLE_BYTES: Final = 4096
"""Our dynamic tables both ways: the default that no SETTINGS has to announce."""
_CACHED_BLOCKS_MAX: Final = 64
_CACHED_BLOCK_BYTES_MAX: Final = 1024
_INTEGER_SHIFT_MAX: Final = 28
_FIELD_OVERHEAD_BYTES: Final = 32

_INDEXED_NAMES: Final = frozenset(
    b":method :scheme :path :authority :status te user-agent content-type grpc-accept-encoding"
    b" grpc-status hasleader client-api-version".split()
)
"""Fields of few values. Others (timeouts, tokens, status texts) would only churn the table."""

_NAME: Final = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE: Final = re.compile(rb"[\x00\r\n]|\A[ \t]|[ \t]\Z")
_CONNECTION_FIELDS: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_REMEMBERED_FIELDS_MAX: Final = 1024
_REMEMBERED_BYTES_MAX: Final = 256
_REQUEST_PSEUDO: Final = frozenset((b":method", b":scheme", b":path", b":authority"))


class HeaderDecoder:
    """Blocks of one connection, which must be given to it all and in order."""

    def __init__(self, list_bytes_max: int) -> None:
        self._table = HeaderTable()
        self._table.maxsize = _TABLE_BYTES
        self._list_bytes_max = list_bytes_max
        self._touched = False
        self._cache: dict[bytes, Headers] = {}
        self.heads: dict[bytes, Headers] = {}
        """Blocks that `admit_head` found well-formed; good until the next `decode`."""
        self.tails: dict[bytes, Headers] = {}
        """The same for trailers."""

    def decode(self, block: bytes) -> Headers:
        """Decompress one block.

        Raises:
            ConnectionViolation: not HPACK (COMPRESSION_ERROR), or the list is too large
                (ENHANCE_YOUR_CALM). The table is out of step afterwards either way.
        """
        headers = self._cache.get(block)
        if headers is not None:
            return headers
        self._touched = False
        try:
            headers = self._walk(block)
        except (HPACKError, IndexError) as error:
            raise ConnectionViolation(ErrorCode.COMPRESSION_ERROR, "not HPACK") from error
        self._remember(block, headers)
        return headers

    def admit_head(self, block: bytes) -> None:
        """Note that the block last decoded is a well-formed first block of a stream."""
        if block in self._cache:
            self.heads[block] = self._cache[block]

    def admit_tail(self, block: bytes) -> None:
        """Note that the block last decoded is a well-formed block of trailers."""
        if block in self._cache:
            self.tails[block] = self._cache[block]

    def _remember(self, block: bytes, headers: Headers) -> None:
        if self._touched or len(self._cache) >= _CACHED_BLOCKS_MAX:
            self._cache.clear()
            self.heads.clear()
            self.tails.clear()
        if not self._touched and len(block) <= _CACHED_BLOCK_BYTES_MAX:
            self._cache[block] = headers

    def _walk(self, block: bytes) -> Headers:
        fields: list[tuple[bytes, bytes]] = []
        position, size, end = 0, 0, len(block)
        table = self._table
        while position < end:
            octet = block[position]
            if 0x80 < octet < 0xFF:  # what nearly all fields are, hence without a call
                field = table.get_by_index(octet & 0x7F)
                position += 1
            elif octet & 0x80:
                index, position = _integer(block, position, 0x7F)
                field = table.get_by_index(index)
            elif octet & 0x40:
                field, position = self._literal(block, position, 0x3F)
                table.add(*field)
                self._touched = True
            elif octet & 0x20:
                position = self._resize(block, position, bool(fields))
                continue
            else:
                field, position = self._literal(block, position, 0x0F)
            size += len(field[0]) + len(field[1]) + _FIELD_OVERHEAD_BYTES
            if size > self._list_bytes_max:
                raise ConnectionViolation(ErrorCode.ENHANCE_YOUR_CALM, "header list too large")
            fields.append(field)
        return tuple(fields)

    def _literal(self, block: bytes, position: int, mask: int) -> tuple[tuple[bytes, bytes], int]:
        index, position = _integer(block, position, mask)
        if index:
            name = self._table.get_by_index(index)[0]
        else:
            name, position = _string(block, position)
        value, position = _string(block, position)
        return (name, value), position

    def _resize(self, block: bytes, position: int, late: bool) -> int:
        size, position = _integer(block, position, 0x1F)
        if late or size > _TABLE_BYTES:
            raise HPACKError
        self._table.maxsize = size
        self._touched = True
        return position


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    """Read a prefixed integer (RFC 7541 §5.1) and give the position after it."""
    number = block[position] & mask
    position += 1
    if number != mask:
        return number, position
    shift = 0
    while True:
        octet = block[position]
        position += 1
        number += (octet & 0x7F) << shift
        if octet < 0x80:
            return number, position
        shift += 7
        if shift > _INTEGER_SHIFT_MAX:
            raise HPACKError


def _string(block: bytes, position: int) -> tuple[bytes, int]:
    """Read a string literal (RFC 7541 §5.2) and give the position after it."""
    huffman = block[position] & 0x80
    length, position = _integer(block, position, 0x7F)
    end = position + length
    if end > len(block):
        raise HPACKError
    raw = block[position:end]
    return (decode_huffman(raw) if huffman else raw), end


class HeaderEncoder:
    """Blocks of one connection in the order they are sent.

    Without Huffman coding: on a loopback socket its bytes cost less than its time.
    """

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._cache: dict[Headers, bytes] = {}

    def resize(self, bytes_max: int) -> None:
        """Follow the peer's SETTINGS_HEADER_TABLE_SIZE, at most up to our own bound."""
        self._encoder.header_table_size = min(bytes_max, _TABLE_BYTES)
        self._cache.clear()

    def encode(self, headers: Headers) -> bytes:
        """Compress a list; the block must be sent before the next one is encoded."""
        block = self._cache.get(headers)
        if block is not None:
            return block
        entries = self._encoder.header_table.dynamic_entries
        newest = entries[0] if entries else None
        marked = [(name, value, name not in _INDEXED_NAMES) for name, value in headers]
        block = bytes(self._encoder.encode(marked, huffman=False))
        inserted = bool(entries) and entries[0] is not newest
        if inserted or len(self._cache) >= _CACHED_BLOCKS_MAX:
            self._cache.clear()
        elif not any(sensitive for _, _, sensitive in marked):
            self._cache[headers] = block
        return block


def fault_of_request(headers: Headers) -> str:
    """Say what makes a request's header list malformed; "" = nothing."""
    fault = _fault_of_fields(headers, _REQUEST_PSEUDO)
    if fault:
        return fault
    pseudo = {name: value for name, value in headers if name.startswith(b":")}
    if not (pseudo.get(b":method") and pseudo.get(b":scheme") and pseudo.get(b":path")):
        return "a required pseudo-header is missing"
    return ""


def fault_of_response(headers: Headers) -> str:
    """Say what makes a response's header list malformed; "" = nothing."""
    fault = _fault_of_fields(headers, frozenset((b":status",)))
    if fault:
        return fault
    status = headers[0][1] if headers and headers[0][0] == b":status" else b""
    return "" if len(status) == 3 and status.isdigit() else ":status is missing"


def fault_of_trailers(headers: Headers) -> str:
    """Say what makes trailers malformed; "" = nothing."""
    return _fault_of_fields(headers, frozenset())


@lru_cache(_REMEMBERED_FIELDS_MAX)
def _is_clean(name: bytes, value: bytes) -> bool:
    """Say whether a field has allowed characters only; nearly all fields come again."""
    return bool(_NAME.fullmatch(name)) and not _BAD_VALUE.search(value)


def _fault_of_fields(headers: Headers, pseudo_allowed: frozenset[bytes]) -> str:
    seen: set[bytes] = set()
    regular = False
    for name, value in headers:
        short = len(name) + len(value) <= _REMEMBERED_BYTES_MAX
        if not (_is_clean(name, value) if short else _is_clean.__wrapped__(name, value)):
            return "a field name or value with characters that are not allowed"
        if name.startswith(b":"):
            if regular or name in seen or name not in pseudo_allowed:
                return "a pseudo-header that is misplaced, doubled or unknown"
            seen.add(name)
            continue
        regular = True
        if name in _CONNECTION_FIELDS or (name == b"te" and value != b"trailers"):
            return "a connection-specific field"
    return ""


class Block:
    """A header block while its CONTINUATION frames arrive."""

    __slots__ = ("_frames", "_pieces", "_size", "end_stream", "stream_id")

    def __init__(self, stream_id: int, end_stream: bool) -> None:
        self.stream_id = stream_id
        self.end_stream = end_stream
        self._pieces: list[bytes] = []
        self._size = 0
        self._frames = 0

    def add(self, piece: bytes, bytes_max: int, frames_max: int) -> None:
        """Take the fragment of one frame.

        Raises:
            ConnectionViolation: the block is larger, or in more frames, than allowed.
        """
        self._pieces.append(piece)
        self._size += len(piece)
        self._frames += 1
        if self._size > bytes_max or self._frames > frames_max:
            raise ConnectionViolation(ErrorCode.ENHANCE_YOUR_CALM, "header block too large")

    def whole(self) -> bytes:
        """Give the block after its last frame."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
