"""A bbolt file in one pass over sorted items.

Leaves are written as they fill up and their first keys remembered; when a bucket ends, its branches
are built from those, level by level. What has to stay in memory is one page, and one key for each
leaf. The file is not a bbolt file until `close` has written the meta pages, which come first in it
and last in time.

A page is filled as far as it goes: bbolt itself leaves half of it free for later, and will split
pages as it needs to.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from store.bolt.page import (
    BRANCH,
    BRANCH_ELEMENT,
    BUCKET,
    ELEMENTS_MAX,
    FREELIST,
    HEADER,
    IS_BUCKET,
    LEAF,
    LEAF_ELEMENT,
    Meta,
    encode_meta,
)
from store.errors import check

PAGE_BYTES: Final = 4096
_META_PAGES: Final = 2

Child = tuple[bytes, int]
"""The first key below a page, and the page's id."""


class BoltWriter:
    """Writes one file: `begin`, `add` … for each bucket, both in ascending order, then `close`."""

    def __init__(self, file: BinaryIO) -> None:
        """Write to an empty file that can seek; it stays open."""
        self._file = file
        self._next_page = _META_PAGES
        self._buckets: list[tuple[bytes, int]] = []
        self._name = b""
        self._leaf: list[tuple[bytes, bytes]] = []
        self._leaf_bytes = HEADER.size
        self._flags = 0
        self._children: list[Child] = []
        self._last: bytes | None = None
        file.seek(_META_PAGES * PAGE_BYTES)

    def begin(self, name: bytes) -> None:
        """Begin the next bucket and end the one before."""
        self._end_bucket()
        check(not self._buckets or name > self._buckets[-1][0], "buckets come in order", name)
        self._name = name

    def add(self, key: bytes, value: bytes) -> None:
        """Add an item to the bucket that was begun last."""
        check(bool(self._name), "an item outside of a bucket", key)
        check(self._last is None or key > self._last, "items come in order", key)
        self._add(key, value)

    def close(self) -> int:
        """End the last bucket and make a bbolt file of it all; returns its size in bytes."""
        self._end_bucket()
        self._flags = IS_BUCKET
        for name, root in self._buckets:
            self._add(name, BUCKET.pack(root, 0))
        root = self._end_tree()
        freelist = self._write_page(FREELIST, 0, b"")
        for page in range(_META_PAGES):
            meta = Meta(PAGE_BYTES, root, freelist, self._next_page, transaction=page)
            self._file.seek(page * PAGE_BYTES)
            self._file.write(encode_meta(meta, page).ljust(PAGE_BYTES, b"\0"))
        self._file.flush()
        return self._next_page * PAGE_BYTES

    def _end_bucket(self) -> None:
        if self._name:
            self._buckets.append((self._name, self._end_tree()))
            self._name = b""

    def _add(self, key: bytes, value: bytes) -> None:
        size = LEAF_ELEMENT.size + len(key) + len(value)
        full = self._leaf_bytes + size > PAGE_BYTES or len(self._leaf) == ELEMENTS_MAX
        if self._leaf and full:
            self._write_leaf()
        self._leaf.append((key, value))
        self._leaf_bytes += size
        self._last = key

    def _end_tree(self) -> int:
        """Write what remains of a bucket, and return its root."""
        if self._leaf or not self._children:
            self._write_leaf()
        level, self._children, self._last = self._children, [], None
        while len(level) > 1:
            level = self._write_branches(level)
        return level[0][1]

    def _write_leaf(self) -> None:
        items, self._leaf = self._leaf, []
        self._leaf_bytes = HEADER.size
        elements: list[bytes] = []
        position = LEAF_ELEMENT.size * len(items)
        for key, value in items:
            elements.append(LEAF_ELEMENT.pack(self._flags, position, len(key), len(value)))
            position += len(key) + len(value) - LEAF_ELEMENT.size
        content = b"".join(elements) + b"".join([part for item in items for part in item])
        page = self._write_page(LEAF, len(items), content)
        self._children.append((items[0][0] if items else b"", page))

    def _write_branches(self, children: list[Child]) -> list[Child]:
        level: list[Child] = []
        group: list[Child] = []
        size = HEADER.size
        for child in children:
            more = BRANCH_ELEMENT.size + len(child[0])
            # A branch of one child would be a level that gets nowhere.
            if len(group) > 1 and (size + more > PAGE_BYTES or len(group) == ELEMENTS_MAX):
                level.append(self._write_branch(group))
                group, size = [], HEADER.size
            group.append(child)
            size += more
        level.append(self._write_branch(group))
        return level

    def _write_branch(self, children: list[Child]) -> Child:
        elements: list[bytes] = []
        position = BRANCH_ELEMENT.size * len(children)
        for key, page in children:
            elements.append(BRANCH_ELEMENT.pack(position, len(key), page))
            position += len(key) - BRANCH_ELEMENT.size
        content = b"".join(elements) + b"".join([key for key, _ in children])
        return children[0][0], self._write_page(BRANCH, len(children), content)

    def _write_page(self, flags: int, count: int, content: bytes) -> int:
        size = HEADER.size + len(content)
        pages = -(-size // PAGE_BYTES)
        page, self._next_page = self._next_page, self._next_page + pages
        header = HEADER.pack(page, flags, count, pages - 1)
        self._file.write((header + content).ljust(pages * PAGE_BYTES, b"\0"))
        return page
