"""The real etcdctl, beside this interpreter, as a user's shell runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

BINARY = Path(sys.executable).with_name("etcdctl")
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Ran:
    """What one run left: exit code, output, and what it complained about."""

    code: int
    out: str
    error: str


class Etcdctl:
    """Runs against given endpoints."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._command = [str(BINARY), f"--endpoints={','.join(endpoints)}"]
        self._environment = {k: v for k, v in os.environ.items() if "ETCDCTL" not in k}

    def run(self, arguments: Sequence[str], stdin: str = "") -> Ran:
        """Run one command to its end."""
        done = subprocess.run(
            [*self._command, *arguments],
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        return Ran(done.returncode, done.stdout, complaint(done.stderr))

    def done(self, *arguments: str, stdin: str = "") -> str:
        """The output of a command that must succeed."""
        ran = self.run(arguments, stdin)
        assert ran.code == 0, f"{arguments}: {ran}"
        return ran.out

    def start(self, arguments: Sequence[str]) -> Following:
        """Start a command that goes on."""
        return Following([*self._command, *arguments], self._environment)


class Following:
    """A command that goes on, whose lines are read until one that ends the reading."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def until(self, end: str) -> list[str]:
        """All lines up to the one that is `end`; the process is ended then, or by a deadline."""
        return self.until_true(lambda line: line == end)

    def until_true(self, last: Callable[[str], bool]) -> list[str]:
        """All lines up to the first for which `last` holds, as `until`."""
        assert self._process.stdout is not None
        watchdog = threading.Timer(DEADLINE_S, self._process.kill)
        watchdog.start()
        lines: list[str] = []
        try:
            for line in self._process.stdout:
                lines.append(line.rstrip("\n"))
                if last(lines[-1]):
                    return lines
            raise AssertionError(f"ended too early: {lines[-5:]}")
        finally:
            watchdog.cancel()
            self.close()

    def close(self) -> None:
        """End the process. Idempotent."""
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def complaint(text: str) -> str:
    """The lines for people among those that the client library logs."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("{"))
