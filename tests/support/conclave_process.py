"""The `conclave` program as users run it: a process of its own, in a home of its own."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cluster.client import ClusterClient

DEADLINE_S = 60
"""Only ends a hang: no test looks at how long anything took."""


class ConclaveHome:
    """XDG directories of its own, and the program run in them.

    The runtime directory is made apart: socket paths must be short, and a test's directory is not.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runtime = Path(tempfile.mkdtemp(prefix="cl-", dir="/tmp"))
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CONCLAVE_", "XDG_", "ETCDCTL_"))
        }
        self.environment = kept | {
            "XDG_RUNTIME_DIR": str(self.runtime),
            "XDG_DATA_HOME": str(directory / "data"),
            "XDG_CONFIG_HOME": str(directory / "config"),
            "TMPDIR": str(directory),
        }

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=self.directory,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )

    def command(self, *arguments: str) -> list[str]:
        """The command line of the program."""
        return [sys.executable, "-P", "-m", "tools.cli", *arguments]

    def done(self, *arguments: str) -> str:
        """The output of a command that must succeed."""
        result = self(*arguments)
        assert result.returncode == 0, f"{arguments}: {result.stdout}{result.stderr}"
        return result.stdout

    def document(self, *arguments: str) -> dict[str, Any]:
        """The JSON document of a command, whatever its exit code."""
        result = self(*arguments, "--json")
        found = json.loads(result.stdout or result.stderr)
        assert isinstance(found, dict)
        return found

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command that goes on, its output in pipes."""
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """Lines as a user pastes them, with conclave and etcdctl on PATH."""
        process = self.start_shell(script)
        out, err = process.communicate(timeout=DEADLINE_S)
        return subprocess.CompletedProcess(script, process.returncode, out, err)

    def start_shell(self, script: str) -> subprocess.Popen[str]:
        """The same for lines that go on."""
        path = f"{os.path.dirname(sys.executable)}:{self.environment['PATH']}"
        return subprocess.Popen(
            ["bash", "-c", script],
            env=self.environment | {"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def client(self, name: str = "default") -> ClusterClient:
        """The Python client of a cluster here, for what a test does not look at."""
        return ClusterClient(name, socket=self.runtime / "conclave" / name / "ctl.sock")

    def close(self) -> None:
        """Take everything down that runs here and delete it."""
        self("down", "--all", "--wipe", "--yes")
        shutil.rmtree(self.runtime, ignore_errors=True)


def first_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """The first lines that a process prints; read below its buffer, so that a deadline holds."""
    assert process.stdout is not None
    source = process.stdout.fileno()
    content = b""
    while content.count(b"\n") < count:
        ready, _, _ = select.select([source], [], [], DEADLINE_S)
        chunk = os.read(source, 65_536) if ready else b""
        if not chunk:
            process.kill()
            raise AssertionError(f"printed {content!r} only: {process.communicate()[1]}")
        content += chunk
    return content.decode().splitlines()[:count]
