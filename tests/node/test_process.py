"""How a process ends when something escapes that must not; the rest needs real processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import node.errors
import store.errors
import transport.errors
from node.__main__ import fatal_errors
from node.api.server import ClientPort
from node.process import Fatal, Process, guarded
from node.publisher import Publisher
from node.report import Reporter
from node.telemetry import Status, StatusPage, create_page
from store.config import StoreConfig
from store.fatal import EXIT_INVARIANT, EXIT_QUARANTINE, EXIT_STORAGE
from store.leveldb import REFUSED, LevelDBEngine
from tests.support.member_cluster import MemberCluster


class Ended(BaseException):
    """The process is gone."""


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The codes that the process was ended with; an end does not return."""
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        raise Ended

    monkeypatch.setattr("os._exit", end)
    return codes


@pytest.fixture
def events() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def fatal_of_leveldb(directory: Path) -> Fatal:
    """What ends a member whose disk is a real one."""
    engine = LevelDBEngine(directory / "db", StoreConfig(), create=True)
    fatal = fatal_errors(engine)
    engine.close()
    return fatal


def make(tmp_path: Path, reporter: Reporter, events: asyncio.AbstractEventLoop) -> Process:
    node = MemberCluster(1)[1]
    page = tmp_path / "page"
    page.touch()
    create_page(str(page))
    fatal = fatal_of_leveldb(tmp_path)
    publisher = Publisher(
        node.member,
        node.loop,
        node.parts,
        StatusPage(str(page)),
        node.config.spec,
        Status(pid=1, member_id=1, incarnation=1, started_at_ns=1, updated_at_ns=0),
        reporter.report,
    )
    port = ClientPort(node.member)
    return Process(events, node.loop, node.parts, port, publisher, reporter, fatal)


def plyvel_error() -> Exception:
    """What LevelDB raises for damage."""
    return LevelDBEngine.failures[0]("corrupted block")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (node.errors.InvariantViolated("two leaders"), EXIT_INVARIANT),
        (store.errors.InvariantViolated("a hole"), EXIT_INVARIANT),
        (transport.errors.InvariantViolated("a frame"), EXIT_INVARIANT),
        (store.errors.Damaged("an entry"), EXIT_QUARANTINE),
        (plyvel_error(), EXIT_QUARANTINE),
        (REFUSED[0]("too many open files"), EXIT_STORAGE),
    ],
    ids=lambda case: f"{type(case).__module__}.{type(case).__name__}",
)
def test_escaped_fatal_endsTheProcess(
    error: Exception, code: int, tmp_path: Path, exits: list[int], events: asyncio.AbstractEventLoop
) -> None:
    """A member that cannot trust itself or its disk stops, wherever that came to light."""
    with (tmp_path / "log").open("wb") as out:
        process = make(tmp_path, Reporter(out.fileno(), None), events)
        with pytest.raises(Ended):
            process._escaped(events, {"message": "callback", "exception": error})

    assert exits == [code]
    assert str(error) in (tmp_path / "log").read_text()


@pytest.mark.parametrize("error", [ConnectionResetError(), BrokenPipeError(), None])
def test_escaped_everydayLife_isLogged(
    error: Exception | None,
    tmp_path: Path,
    exits: list[int],
    events: asyncio.AbstractEventLoop,
) -> None:
    context: dict[str, object] = {"message": "a client went away"}
    if error is not None:
        context["exception"] = error
    with (tmp_path / "log").open("wb") as out:
        process = make(tmp_path, Reporter(out.fileno(), None), events)
        process._escaped(events, context)

    assert exits == []
    assert "a client went away" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyError("a bug"), EXIT_INVARIANT),
        (plyvel_error(), EXIT_QUARANTINE),
        (REFUSED[0]("too many open files"), EXIT_STORAGE),
    ],
)
def test_guardedTurn_thatRaises_endsTheProcess(
    error: Exception, code: int, tmp_path: Path, exits: list[int]
) -> None:
    def turn() -> None:
        raise error

    with (tmp_path / "log").open("wb") as out, pytest.raises(Ended):
        guarded(turn, Reporter(out.fileno(), None), fatal_of_leveldb(tmp_path))()

    assert exits == [code]
    assert str(error.args[0]) in (tmp_path / "log").read_text()
