"""The zygote and the processes that it forks, with a tiny real program."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from cluster.entry import Descriptor, leave_parents
from cluster.process import ChildProcess, readable
from cluster.zygote import Zygote, become_subreaper

PATIENCE_S = 20.0
DESCRIPTORS = 256


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def obey(payload: bytes, lifeline: Descriptor, report: Descriptor) -> NoReturn:
    """The tiny program: tell what a child finds itself to be, then do as ordered."""
    order, log = json.loads(payload)
    leave_parents("tiny-node-with-a-long-name", log, lifeline, report)
    keep = {0, 1, 2, lifeline.fileno(), report.fileno()}
    facts = {
        "event": "facts",
        "comm": Path("/proc/self/comm").read_text().strip(),
        "group": os.getpgid(0) == os.getpid(),
        "session": os.getsid(0),
        "preloaded": "tests.support.cluster_preload" in sys.modules,
        "strays": [n for n in range(DESCRIPTORS) if is_open(n) and n not in keep],
        "handled": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        "drawn": random.random(),
    }
    os.write(report.fileno(), json.dumps(facts).encode() + b"\n")
    os.write(1, b"said to the log\n")
    match order:
        case "exit 7":
            os._exit(7)
        case "wait":
            os.read(lifeline.fileno(), 1)
    os._exit(0)


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    become_subreaper()
    made = Zygote(["tests.support.cluster_preload", __name__])
    made.start()
    yield made
    made.stop()


class Life:
    """One child, followed to its end inside an event loop."""

    def __init__(self, zygote: Zygote, order: str, log: Path) -> None:
        payload = json.dumps([order, str(log)]).encode()
        self.child = ChildProcess(zygote.fork("tiny", obey, payload))

    async def facts(self) -> dict[str, object]:
        while True:
            await asyncio.wait_for(self.child.report_ready(), PATIENCE_S)
            reports = self.child.read_reports()
            assert reports is not None, "ended without a report"
            if reports:
                return reports[0]

    async def end(self) -> int:
        await asyncio.wait_for(self.child.ended(), PATIENCE_S)
        status = await self.child.status()
        self.child.close()
        return status


def test_child_is_a_process_of_its_own(zygote: Zygote, tmp_path: Path) -> None:
    async def scenario() -> dict[str, object]:
        life = Life(zygote, "exit 7", tmp_path / "log")
        facts = await life.facts()
        assert await life.end() == 7
        return facts

    facts = asyncio.run(scenario())

    assert facts["comm"] == "tiny-node-with-"
    assert facts["group"]
    assert facts["session"] == os.getsid(0)
    assert facts["preloaded"]
    assert facts["strays"] == []
    assert facts["handled"]
    assert (tmp_path / "log").read_text() == "said to the log\n"


def test_children_draw_different_random_numbers(zygote: Zygote, tmp_path: Path) -> None:
    async def draw() -> object:
        life = Life(zygote, "exit 7", tmp_path / "log")
        facts = await life.facts()
        await life.end()
        return facts["drawn"]

    async def scenario() -> list[object]:
        return [await draw() for _ in range(3)]

    assert len(set(asyncio.run(scenario()))) == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_child_death_by_signal_tells_which(
    zygote: Zygote, tmp_path: Path, number: signal.Signals
) -> None:
    async def scenario() -> int:
        life = Life(zygote, "wait", tmp_path / "log")
        await life.facts()
        assert life.child.signal(number)
        return await life.end()

    assert asyncio.run(scenario()) == -number


def test_child_stopped_dies_by_kill(zygote: Zygote, tmp_path: Path) -> None:
    async def scenario() -> int:
        life = Life(zygote, "wait", tmp_path / "log")
        await life.facts()
        life.child.signal(signal.SIGSTOP)
        life.child.signal(signal.SIGKILL)
        return await life.end()

    assert asyncio.run(scenario()) == -signal.SIGKILL


def test_child_after_its_end_takes_no_signal(zygote: Zygote, tmp_path: Path) -> None:
    async def scenario() -> bool:
        life = Life(zygote, "exit 7", tmp_path / "log")
        await life.end()
        return life.child.signal(signal.SIGTERM)

    assert not asyncio.run(scenario())


def test_lifeline_closed_is_the_order_to_leave(zygote: Zygote, tmp_path: Path) -> None:
    async def scenario() -> None:
        life = Life(zygote, "wait", tmp_path / "log")
        await life.facts()
        pid = life.child.pid
        descriptor = os.pidfd_open(pid)
        life.child.close()
        await asyncio.wait_for(readable(descriptor), PATIENCE_S)
        os.close(descriptor)

    asyncio.run(scenario())


def test_zygote_has_one_thread_and_no_tracker_beside_it(zygote: Zygote, tmp_path: Path) -> None:
    async def scenario() -> None:
        await Life(zygote, "exit 7", tmp_path / "log").end()

    asyncio.run(scenario())

    assert psutil.Process(zygote.pid).num_threads() == 1
    commands = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not [command for command in commands if "resource_tracker" in command]


def test_zygote_killed_leaves_the_child_and_its_status_to_us(tmp_path: Path) -> None:
    become_subreaper()
    zygote = Zygote(["tests.support.cluster_preload", __name__])
    zygote.start()

    async def scenario() -> int:
        life = Life(zygote, "wait", tmp_path / "log")
        await life.facts()
        os.kill(zygote.pid or 0, signal.SIGKILL)
        assert life.child.signal(signal.SIGTERM)
        return await life.end()

    assert asyncio.run(scenario()) == -signal.SIGTERM
    zygote.start()
    assert psutil.pid_exists(zygote.pid or 0)
    zygote.stop()
    assert zygote.pid is None


def test_zygote_leaves_no_name_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever dies without a word cannot clean up: there must be nothing to clean."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    zygote = Zygote(["tests.support.cluster_preload", __name__])
    for _ in range(2):
        zygote.start()
        assert list(tmp_path.iterdir()) == []
        os.kill(zygote.pid or 0, signal.SIGKILL)
        os.waitid(os.P_PID, zygote.pid or 0, os.WEXITED | os.WNOWAIT)
    zygote.start()

    asyncio.run(Life(zygote, "exit 7", tmp_path / "log").end())

    zygote.stop()
