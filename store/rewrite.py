"""Gives back the space of everything dead, when an operator asks for it.

LevelDB compacts what it has to, not what it could: what was deleted keeps its space until something
is written above it. A rewrite goes through all of it, which for a large database takes many
seconds. So it runs in a thread of its own, which spends its time inside of LevelDB without holding
the interpreter's lock; reading and writing go on beside it.

    idle ──begin──► running ──► idle

It belongs to the loop's thread. A process that ends does not wait for it: LevelDB takes up after an
interrupted one as after any crash.
"""

import threading
from collections.abc import Callable
from typing import Protocol

from store.engine import Engine
from store.errors import check

EVERYTHING = (b"\x00", b"\xff")
"""Around all keys of a member's database: they begin with letters."""


class Rewriter(Protocol):
    """Who rewrites; one at a time."""

    @property
    def busy(self) -> bool:
        """Whether a rewrite is under way."""

    def begin(self) -> None:
        """Start one; there must be none."""


class ThreadRewriter:
    """The real one."""

    def __init__(self, engine: Engine, die: Callable[[BaseException], None]) -> None:
        """`die` ends the process, called on the rewriting thread with what went wrong."""
        self._engine = engine
        self._die = die
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def begin(self) -> None:
        check(not self.busy, "a rewrite beside another one")
        self._thread = threading.Thread(target=self._run, name="store-rewriter", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._engine.rewrite(*EVERYTHING)
        except BaseException as error:
            self._die(error)


class ImmediateRewriter:
    """The one for tests and the simulator: over when it has begun."""

    busy = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self) -> None:
        self._engine.rewrite(*EVERYTHING)
