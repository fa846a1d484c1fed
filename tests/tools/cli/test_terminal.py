"""What only a terminal gets: colour, questions, a view that repeats in place; and how signals end
it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.conclave_process import DEADLINE_S, first_lines
from tests.support.management_server import ManagementServer
from tests.support.status_document import status_document
from tools.cli.exit import Exit


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tools.cli", *arguments],
            env=os.environ | {"TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.seen = ""

    def read_until(self, text: str) -> str:
        """Everything printed so far, once `text` is in it."""
        while text not in self.seen:
            ready, _, _ = select.select([self._ours], [], [], DEADLINE_S)
            assert ready, f"{text!r} is not in {self.seen!r}"
            self.seen += self._take()
        return self.seen

    def _take(self) -> str:
        try:
            content = os.read(self._ours, 65_536)
        except OSError:
            # Linux answers EIO once the other side is closed.
            content = b""
        assert content, f"ended after {self.seen!r}"
        return content.decode()

    def answer(self, text: str) -> None:
        """Type a line."""
        os.write(self._ours, text.encode() + b"\n")

    def close(self) -> int:
        """Wait for the end of the command."""
        try:
            return self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            os.close(self._ours)


@pytest.fixture
def running(home: Path) -> Iterator[ManagementServer]:
    """A running cluster."""
    with ManagementServer(home / "kept", status_document()) as server:
        yield server


def test_status_is_coloured_on_a_terminal(running: ManagementServer) -> None:
    terminal = Terminal("status")

    seen = terminal.read_until("n3")

    assert "\x1b[32;1mREADY\x1b[0m" in seen
    assert terminal.close() == Exit.DONE


def test_status_is_plain_with_no_color(
    running: ManagementServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal("status")

    assert "\x1b[3" not in terminal.read_until("n3")
    assert terminal.close() == Exit.DONE


def test_watch_repeats_in_place_until_interrupted(running: ManagementServer) -> None:
    terminal = Terminal("status", "-w", "1ms")
    terminal.read_until("READY")
    running.status["state"] = "DEGRADED"

    seen = terminal.read_until("DEGRADED")
    terminal.process.send_signal(signal.SIGINT)

    assert seen.count("\x1b[H") >= 2
    assert terminal.close() == Exit.INTERRUPTED


def test_watch_off_a_terminal_is_one_document_per_line(running: ManagementServer) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tools.cli", "status", "-w", "1ms", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    lines = first_lines(process, 3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE_S)

    assert all(line.startswith('{"schema": "conclave/status.v1"') for line in lines)
    assert process.returncode == Exit.TERMINATED


@pytest.mark.parametrize(
    ("answer", "code", "kept"), [("n", Exit.FAILED, True), ("y", Exit.DONE, False)]
)
def test_rm_asks_on_a_terminal(home: Path, answer: str, code: Exit, kept: bool) -> None:
    directory = home / "data" / "conclave" / "default"
    with ManagementServer(directory, status_document()):
        pass
    terminal = Terminal("rm")

    terminal.read_until("Delete all data of default")
    terminal.answer(answer)

    assert terminal.close() == code
    assert directory.exists() is kept
