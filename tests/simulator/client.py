"""One client: where it is at home, how patient it is, and the request that it waits for."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.simulator.history import Asked
from tests.simulator.wire import Wire


class Client:
    """One client, and the request that it waits for."""

    def __init__(self, name: str, home: int, chance: Random) -> None:
        self.name = name
        self.home = home
        self.roams = chance.random() < 0.4
        """Goes elsewhere after an error; others stay with their member."""
        self.patience = chance.choice((1.0, 3.0, 10.0, 30.0))
        """Seconds that it waits for an answer."""
        self.polite = chance.random() < 0.6
        """Lets the member know that it waits no longer."""
        self.cancel: Callable[[], None] = lambda: None
        self.asked: Asked | None = None
        self.wire: Wire | None = None
        self.gives_up = 0.0
        self.fate = 0.0
        """By how many seconds its answer will come late."""
        self.reply: tuple[float, bytes | None, str] | None = None
        """An answer that is on its way, and when it comes; never, if it is lost."""
