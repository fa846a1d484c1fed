"""The thread that gives back the space of what is dead, beside the one that writes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from store.boot import Store, open_store
from store.config import StoreConfig
from store.directory import DataDirectory
from store.engine import Engine
from store.errors import InvariantViolated
from store.leveldb import LevelDBEngine
from store.log import Batch
from store.memory import MemoryEngine, MemoryEngineFailed
from store.record import HardState
from store.rewrite import ImmediateRewriter, ThreadRewriter

DEADLINE_S = 60.0


class Held(MemoryEngine):
    """An engine whose rewrite lasts until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.failure: Exception | None = None

    def rewrite(self, lo: bytes, hi: bytes) -> None:
        self.begun.set()
        assert self.go_on.wait(DEADLINE_S)
        if self.failure is not None:
            raise self.failure


def ended(rewriter: ThreadRewriter) -> None:
    thread = rewriter._thread
    assert thread is not None
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


def never(error: BaseException) -> None:
    raise AssertionError(error)


def test_rewriter_isBusyUntilTheEngineIsDone() -> None:
    engine = Held()
    rewriter = ThreadRewriter(engine, never)
    idle = rewriter.busy

    rewriter.begin()
    assert engine.begun.wait(DEADLINE_S)
    working = rewriter.busy
    engine.go_on.set()
    ended(rewriter)

    assert (idle, working, rewriter.busy) == (False, True, False)


def test_rewriter_doesOneAtATime() -> None:
    engine = Held()
    rewriter = ThreadRewriter(engine, never)
    rewriter.begin()

    with pytest.raises(InvariantViolated):
        rewriter.begin()

    engine.go_on.set()
    ended(rewriter)
    rewriter.begin()
    ended(rewriter)


def test_rewriter_endsTheProcessWhenTheDiskRefuses() -> None:
    engine = Held()
    engine.failure = MemoryEngineFailed()
    engine.go_on.set()
    deaths: list[BaseException] = []
    rewriter = ThreadRewriter(engine, deaths.append)

    rewriter.begin()
    ended(rewriter)

    assert deaths == [engine.failure]


def test_immediateRewriter_isOverWhenItHasBegun() -> None:
    engine = Held()
    engine.go_on.set()
    rewriter = ImmediateRewriter(engine)

    rewriter.begin()

    assert engine.begun.is_set()
    assert not rewriter.busy


def opened(path: Path) -> Store:
    return open_store(DataDirectory(path), 1, 1, StoreConfig(), first_conf=b"conf")


def test_store_writesWhileItIsRewritten(tmp_path: Path) -> None:
    store = opened(tmp_path / "db")
    engine: Engine = store.engine
    assert isinstance(engine, LevelDBEngine)

    store.rewriter.begin()
    for term in range(1, 50):
        store.writer.submit(Batch(hard_state=HardState(term, 1, 0)))
    ended(store.rewriter)
    store.close()
    again = opened(tmp_path / "db")

    assert again.image.hard_state == HardState(49, 1, 0)
    again.close()
