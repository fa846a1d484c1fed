"""Node logs: read from their files, merged by time, followed as they grow.

Nodes write their own files and the supervisor relays nothing, so logs can be read while a cluster
is stopped or hangs. A line that starts with no time (a traceback, a message of a library) belongs
to the moment of the line before it, so that merging never tears it away.
"""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tools.cli.event_view import parse_time

TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?")
TIME_WITHIN = 64
"""Characters in which a line's time is looked for: text lines start with it, JSON lines almost."""
TAIL_BYTES_MAX = 64 << 20
BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class LogLine:
    """One line of one node; ordered by time, then node, then place in the file."""

    moment: datetime
    node: str
    number: int
    text: str = field(compare=False)


def time_of(text: str) -> datetime | None:
    """The time at the start of a line; None when it has none."""
    found = TIME.search(text, 0, TIME_WITHIN)
    return parse_time(found[0].replace(",", ".")) if found else None


def read_log(node: str, path: Path) -> Iterator[LogLine]:
    """The lines of one file, of a huge one its last 64 MiB; an absent file is empty."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > TAIL_BYTES_MAX:
                file.seek(size - TAIL_BYTES_MAX)
                file.readline()
            yield from dated(node, file)
    except FileNotFoundError:
        return


def dated(node: str, lines: Iterable[bytes], moment: datetime = BEGINNING) -> Iterator[LogLine]:
    """Give each raw line the time that it or the line before it carries."""
    for number, raw in enumerate(lines):
        text = raw.decode(errors="replace").rstrip("\r\n")
        moment = time_of(text) or moment
        yield LogLine(moment, node, number, text)


def merged(paths: Mapping[str, Path]) -> Iterator[LogLine]:
    """The lines of all nodes in the order of time."""
    return heapq.merge(*(read_log(node, path) for node, path in paths.items()))


class Tail:
    """One growing file: hands out whole lines that were added since the last look.

    A file that shrank or was replaced is read from its beginning; half a line waits for its rest.
    """

    def __init__(self, node: str, path: Path, *, from_end: bool) -> None:
        self._node = node
        self._path = path
        self._rest = b""
        self._inode, size = self._look()
        self._offset = size if from_end else 0

    def poll(self) -> list[LogLine]:
        """New lines; empty while there are none or the file is away."""
        inode, size = self._look()
        if inode != self._inode or size < self._offset:
            self._inode, self._offset, self._rest = inode, 0, b""
        if size <= self._offset:
            return []
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            content = file.read(size - self._offset)
        self._offset += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        return list(dated(self._node, lines))

    def _look(self) -> tuple[int, int]:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return 0, 0
        return found.st_ino, found.st_size
