"""When output is coloured, and the few colours there are.

Precedence: `--color always|never`, then `NO_COLOR`, `FORCE_COLOR`, `TERM=dumb`, then whether the
stream is a terminal. A state is always told by word and glyph too, never by colour alone. Plain
escape sequences, because loading rich would cost the fast verbs a quarter of their time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, TextIO

Choice = Literal["auto", "always", "never"]
CODES: Mapping[str, str] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}


def wants_colour(choice: Choice, environment: Mapping[str, str], terminal: bool) -> bool:
    """Decide for one stream; empty variables count as unset, as no-color.org says."""
    if choice != "auto":
        return choice == "always"
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return terminal and environment.get("TERM") != "dumb"


class Paint:
    """Colours text for one stream, or leaves it alone."""

    def __init__(self, on: bool) -> None:
        self.on = on

    @classmethod
    def for_stream(cls, stream: TextIO, choice: Choice) -> Paint:
        """The paint that suits `stream` in this process's environment."""
        return cls(wants_colour(choice, os.environ, stream.isatty()))

    def __call__(self, text: str, *colours: str) -> str:
        """Wrap `text` in the named colours; without colour or without text it comes back as is."""
        named = [CODES[colour] for colour in colours if colour]
        if not self.on or not named or not text:
            return text
        return f"\x1b[{';'.join(named)}m{text}\x1b[0m"


PLAIN = Paint(on=False)
