"""Columns of plain text, sized to their content.

No boxes and no wrapping: what is printed can be cut, grepped and diffed. Cells may be painted;
widths are counted without the escape sequences and with double width for East Asian characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
GAP = "  "


def width(text: str) -> int:
    """Terminal columns that `text` takes."""
    bare = ESCAPE.sub("", text)
    if bare.isascii():
        return len(bare)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in bare)


def printable(text: str) -> str:
    """`text` without control characters, so that foreign data cannot steer the terminal."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines in which each column starts at the same place; trailing blanks are cut.

    Rows may differ in length; the first is usually the heading.
    """
    count = max((len(row) for row in rows), default=0)
    widths = [max((width(row[i]) for row in rows if i < len(row)), default=0) for i in range(count)]
    return [
        GAP.join(cell + " " * (widths[i] - width(cell)) for i, cell in enumerate(row)).rstrip()
        for row in rows
    ]
