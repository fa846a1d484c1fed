"""A real supervisor over tiny nodes (`cluster_child`), as a process of the test's own.

    with Daemon(directory, nodes=3) as daemon:
        daemon.client.kill(["leader"])

`python -m tests.support.cluster_daemon CONFIG` is `python -m cluster` with another program.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from cluster.client import ClusterClient
from cluster.config import ClusterConfig, paths_of
from cluster.errors import WaitTimeout

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0
"""Only a hang is meant to reach this."""
LOOK_MS = 100
"""An event may have come between a look at the past and a wait for the future."""


class Daemon:
    """One supervisor; ended, with all it has started, when the context is left."""

    def __init__(
        self, directory: Path, *, runtime: Path | None = None, wait: bool = True, **settings: Any
    ) -> None:
        # Not under `directory`: a socket's path must be short.
        self._own_runtime = runtime is None
        self.runtime = runtime or Path(tempfile.mkdtemp(prefix="c", dir="/tmp"))
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime)}
        self.config = ClusterConfig(directory=str(directory), **settings)
        self.paths = paths_of(self.config, self.environment)
        self.client = ClusterClient(self.config.name, socket=self.paths.socket)
        self.progress: list[dict[str, Any]] = []
        self._wait = wait
        self._since = 0
        self._descendants: list[psutil.Process] = []

    def __enter__(self) -> Self:
        reader, writer = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(writer), json.dumps(self.config.document())],
            cwd=ROOT,
            env=self.environment,
            pass_fds=[writer],
            start_new_session=True,  # as a daemon has it; orphans are told by the session
            stderr=subprocess.PIPE,
        )
        os.close(writer)
        with os.fdopen(reader, "rb") as lines:
            self.progress = [json.loads(line) for line in lines] if self._wait else []
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        left = self._descendants + self.descendants()
        self.process.kill()
        self.process.communicate()
        wait_gone(left)
        if self._own_runtime:
            shutil.rmtree(self.runtime)

    @property
    def phases(self) -> list[str]:
        """The phases of the launch, or "error"."""
        return [line.get("phase", "error") for line in self.progress]

    def named_memory(self) -> list[str]:
        """What the supervisor or a process below it maps or holds open in /dev/shm."""
        pids = [self.process.pid, *(process.pid for process in self.descendants())]
        maps = [line for pid in pids for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
        links = [os.readlink(link) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()]
        return [text for text in (*maps, *links) if "/dev/shm" in text]

    def node(self, name: str) -> Mapping[str, Any]:
        """One node's row."""
        return self.client.node(name)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of a type since the last `repair`."""
        return [event for event in self.history() if event["type"] == kind]

    def history(self) -> list[dict[str, Any]]:
        """All events since the last `repair`."""
        return list(self.client.events(since=self._since))

    def until(self, kind: str) -> dict[str, Any]:
        """The first event of a type since the last `repair`, if need be by waiting for it."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := self.events(kind)):
            assert time.monotonic() < deadline, f"no {kind}"
            with suppress(WaitTimeout):
                self.client.wait(f"event {kind}", timeout_ms=LOOK_MS)
        return found[0]

    def repair(self) -> Self:
        """Make what a test has left whole again, so that the next one may have it."""
        self.client.resume(["paused"])
        self.client.start(["down"])
        self.client.wait("ready", timeout_ms=int(PATIENCE_S * 1e3))
        self._since = list(self.client.events())[-1]["seq"]
        return self

    def descendants(self) -> list[psutil.Process]:
        """Every process below the supervisor; remembered, to be waited for at the end."""
        try:
            found = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        self._descendants += found
        return found

    def wait(self) -> int:
        """Wait for the supervisor's own end."""
        return self.process.wait(PATIENCE_S)


def wait_gone(processes: list[psutil.Process]) -> None:
    """Wait until processes run no more; one that nobody reaps yet counts as gone."""
    for process in processes:
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            continue
        ready, _, _ = select.select([descriptor], [], [], PATIENCE_S)
        os.close(descriptor)
        assert ready, f"{process} is still there"


def main() -> None:
    """Be the supervisor. Imports stand here: the test only wants the class above."""
    from cluster import daemon
    from cluster.zygote import Zygote
    from tests.support.cluster_child import TINY

    progress_fd = int(sys.argv[1])
    os.set_inheritable(progress_fd, False)
    began = time.monotonic()
    zygote = Zygote(["tests.support.cluster_preload"])
    zygote.start()
    config = ClusterConfig.from_document(json.loads(sys.argv[2]))
    code = daemon.run(config, zygote, progress_fd, began, TINY)
    if zygote.pid is not None:
        os.kill(zygote.pid, 9)
    os._exit(code)


if __name__ == "__main__":
    main()
