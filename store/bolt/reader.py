"""The buckets of a bbolt file, and their items in order.

A snapshot comes from elsewhere, so nothing in it is believed before it was looked at: a page has
the id by which it was asked for, elements lie within their page, keys ascend, and no page is met
twice, so that no file can lead a reader in circles or out of bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from store.bolt.page import (
    BRANCH,
    BRANCH_ELEMENT,
    BUCKET,
    HEADER,
    IS_BUCKET,
    LEAF,
    LEAF_ELEMENT,
    META_BYTES,
    PAGE_BYTES_MAX,
    PAGE_BYTES_MIN,
    Meta,
    decode_meta,
)
from store.errors import Damaged

Item = tuple[int, bytes, bytes]
"""Flags, key and value of a leaf's element."""


class BoltReader:
    """One file as bytes (or a memory map of it), which must not change meanwhile."""

    def __init__(self, content: bytes | memoryview) -> None:
        """Find the newer whole meta page.

        Raises:
            Damaged: there is none, or the file is shorter than it says.
        """
        self._content = memoryview(content)
        meta = _newest_meta(self._content)
        if meta is None:
            raise Damaged("not a bbolt file, or its meta pages are damaged")
        if meta.pages * meta.page_bytes > len(self._content):
            raise Damaged(
                f"the file ends after {len(self._content)} bytes of "
                f"{meta.pages * meta.page_bytes}: it was cut off"
            )
        self._meta = meta

    def buckets(self) -> list[bytes]:
        """The names of all buckets, in order.

        Raises:
            Damaged: a page is not what it should be.
        """
        return [key for flags, key, _ in self._root() if flags & IS_BUCKET]

    def items(self, bucket: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of one bucket, in order of keys; none if there is no such bucket.

        Raises:
            Damaged: a page is not what it should be; what was told before it is still right.
        """
        for flags, key, value in self._root():
            if flags & IS_BUCKET and key == bucket:
                for _, name, content in self._bucket(value):
                    yield name, content

    def _root(self) -> Iterator[Item]:
        return self._walk(self._meta.root)

    def _bucket(self, header: bytes) -> Iterator[Item]:
        if len(header) < BUCKET.size:
            raise Damaged("a bucket's header is too short")
        root, _ = BUCKET.unpack_from(header)
        if root:
            return self._walk(root)
        inline = memoryview(header)[BUCKET.size :]
        return iter(_leaf(inline, _header(inline, LEAF, "an inline bucket")))

    def _walk(self, root: int) -> Iterator[Item]:
        """All items of the leaves below a page. The stack holds pages still to be visited."""
        stack, seen, last = [root], set[int](), None
        while stack:
            number = stack.pop()
            if number in seen:
                raise Damaged(f"page {number} is in two places")
            seen.add(number)
            page, flags, count = self._page(number)
            if flags == BRANCH:
                stack += reversed(_branch(page, count))
                continue
            for item in _leaf(page, count):
                if last is not None and item[1] <= last:
                    raise Damaged(f"keys do not ascend in page {number}")
                last = item[1]
                yield item

    def _page(self, number: int) -> tuple[memoryview, int, int]:
        """A page with its overflow, its flags and its count."""
        size = self._meta.page_bytes
        if not 2 <= number < self._meta.pages:
            raise Damaged(f"page {number} does not exist")
        start = number * size
        found, flags, count, overflow = HEADER.unpack_from(self._content, start)
        if found != number or flags not in (BRANCH, LEAF):
            raise Damaged(f"page {number} holds something else")
        if number + overflow >= self._meta.pages:
            raise Damaged(f"page {number} does not end")
        return self._content[start : start + (1 + overflow) * size], flags, count


def _newest_meta(content: memoryview) -> Meta | None:
    """The page size stands in the meta pages, so the second one is looked for at every size."""
    found = []
    first = decode_meta(bytes(content[:META_BYTES]))
    sizes = [1 << bits for bits in range(9, 17)]
    if first is not None:
        found.append(first)
        sizes = [first.page_bytes]
    for size in sizes:
        meta = decode_meta(bytes(content[size : size + META_BYTES]))
        if meta is not None and meta.page_bytes == size:
            found.append(meta)
    found = [meta for meta in found if PAGE_BYTES_MIN <= meta.page_bytes <= PAGE_BYTES_MAX]
    return max(found, key=lambda meta: meta.transaction, default=None)


def _header(page: memoryview, wanted: int, what: str) -> int:
    if len(page) < HEADER.size:
        raise Damaged(f"{what} is too short")
    _, flags, count, _ = HEADER.unpack_from(page)
    if flags != wanted:
        raise Damaged(f"{what} holds something else")
    return int(count)


def _leaf(page: memoryview, count: int) -> Sequence[Item]:
    items = []
    for flags, at, key_bytes, value_bytes in _elements(page, count, LEAF_ELEMENT.size):
        middle, end = at + key_bytes, at + key_bytes + value_bytes
        if end > len(page):
            raise Damaged("a value goes beyond its page")
        items.append((flags, bytes(page[at:middle]), bytes(page[middle:end])))
    return items


def _elements(page: memoryview, count: int, size: int) -> Iterator[tuple[int, int, int, int]]:
    if HEADER.size + count * size > len(page):
        raise Damaged("a page is too short for its elements")
    for start in range(HEADER.size, HEADER.size + count * size, size):
        flags, position, key_bytes, value_bytes = LEAF_ELEMENT.unpack_from(page, start)
        yield flags, start + position, key_bytes, value_bytes


def _branch(page: memoryview, count: int) -> list[int]:
    end = HEADER.size + count * BRANCH_ELEMENT.size
    if not count or end > len(page):
        raise Damaged("a page is too short for its elements")
    starts = range(HEADER.size, end, BRANCH_ELEMENT.size)
    return [BRANCH_ELEMENT.unpack_from(page, start)[2] for start in starts]
