"""The layout of bbolt's pages. All numbers are little-endian.

    page      id u64 │ flags u16 │ count u16 │ overflow u32 │ elements … │ keys and values …
    leaf      flags u32 │ position u32 │ key bytes u32 │ value bytes u32
    branch    position u32 │ key bytes u32 │ child u64
    bucket    root u64 │ sequence u64 [│ a page, if root is 0: the bucket is inline]
    meta      magic u32 │ version u32 │ page bytes u32 │ flags u32 │ bucket │ freelist u64 │
              pages u64 │ transaction u64 │ FNV-1a of all before u64

A position counts from the element's own first byte. A page whose content is longer than one page
goes on in the `overflow` pages that follow it.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from msgspec import Struct as Record

BRANCH: Final = 0x01
LEAF: Final = 0x02
META: Final = 0x04
FREELIST: Final = 0x10

IS_BUCKET: Final = 0x01
"""Flag of a leaf's element whose value is the header of a bucket."""

MAGIC: Final = 0xED0CDAED
VERSION: Final = 2
NO_FREELIST: Final = 0xFFFF_FFFF_FFFF_FFFF
"""In place of the freelist's page: it is not kept in the file."""

HEADER: Final = Struct("<QHHI")
LEAF_ELEMENT: Final = Struct("<IIII")
BRANCH_ELEMENT: Final = Struct("<IIQ")
BUCKET: Final = Struct("<QQ")
_META: Final = Struct("<IIIIQQQQQ")
_CHECKSUM: Final = Struct("<Q")

ELEMENTS_MAX: Final = 0xFFFF
"""What the count of a page can say."""
PAGE_BYTES_MIN, PAGE_BYTES_MAX = 1 << 9, 1 << 16
META_BYTES: Final = HEADER.size + _META.size + _CHECKSUM.size

_FNV_OFFSET: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 0x100000001B3


class Meta(Record, frozen=True, gc=False):
    """What a meta page says."""

    page_bytes: int
    root: int
    """Page of the root bucket."""
    freelist: int
    pages: int
    """Page ids from here on are not in use; times `page_bytes`, the size of the file at least."""
    transaction: int


def encode_meta(meta: Meta, page: int) -> bytes:
    """The beginning of the meta page with the id `page`."""
    body = _META.pack(
        MAGIC,
        VERSION,
        meta.page_bytes,
        0,
        meta.root,
        0,
        meta.freelist,
        meta.pages,
        meta.transaction,
    )
    return HEADER.pack(page, META, 0, 0) + body + _CHECKSUM.pack(_fnv1a(body))


def decode_meta(raw: bytes) -> Meta | None:
    """The inverse of `encode_meta`; None: it is not a whole meta page of this format."""
    if len(raw) < META_BYTES:
        return None
    body = raw[HEADER.size : HEADER.size + _META.size]
    (checksum,) = _CHECKSUM.unpack_from(raw, HEADER.size + _META.size)
    magic, version, page_bytes, _, root, _, freelist, pages, transaction = _META.unpack(body)
    if (magic, version) != (MAGIC, VERSION) or checksum != _fnv1a(body):
        return None
    return Meta(page_bytes, root, freelist, pages, transaction)


def _fnv1a(data: bytes) -> int:
    """FNV-1a of 64 bits."""
    value = _FNV_OFFSET
    for byte in data:
        value = (value ^ byte) * _FNV_PRIME & 0xFFFF_FFFF_FFFF_FFFF
    return value
