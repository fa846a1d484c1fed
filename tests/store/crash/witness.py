"""Runs children under the shim or a kill point, and judges what they leave."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from store.log import Batch
from tests.store.crash.child import TINY
from tests.store.crash.script import Content, content_of, script
from tests.store.crash.trace import NOTES, Call, Files, lay_out, read_trace
from tests.support.store_parts import open_at, write_and_wait

HOME = "home/n1"
REPORTS = "reports"
DEADLINE_SECONDS = 60.0


def compiled_shim(folder: Path) -> Path:
    """The shim as a shared library."""
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-lpthread"]
    subprocess.run(command, check=True, timeout=DEADLINE_SECONDS)
    return library


def run_child(
    root: Path,
    seed: int,
    steps: int,
    *,
    kill: tuple[str, int] | None = None,
    shim: Mapping[str, str] | None = None,
) -> int:
    """Run a child on `root`; returns its exit status, -9 after a kill at a point."""
    reports = root / (NOTES if shim else REPORTS)
    command = [sys.executable, "-m", "tests.store.crash.child"]
    command += [str(root / HOME), str(seed), str(steps), str(reports)]
    if kill is not None:
        command += [kill[0], str(kill[1])]
    ended = subprocess.run(
        command,
        env={**os.environ, **(shim or {})},
        cwd=Path(__file__).parents[3],
        timeout=DEADLINE_SECONDS,
        capture_output=True,
        text=True,
    )
    assert ended.returncode in (0, -9), ended.stderr
    return ended.returncode


def record(shim: Path, folder: Path, seed: int, steps: int, files: Files) -> list[Call]:
    """All that an undisturbed child does, which finds these files."""
    root = folder / "root"
    root.mkdir(parents=True)
    lay_out(files, root)
    status, calls = record_on(root, shim, folder / "trace", seed, steps)
    assert status == 0
    shutil.rmtree(folder)
    return calls


def record_on(
    root: Path, shim: Path, trace: Path, seed: int, steps: int, *, kill_at: int = 0
) -> tuple[int, list[Call]]:
    """How a child on `root` ends, and its calls; it dies in the middle of the call `kill_at`."""
    trace.unlink(missing_ok=True)
    settings = {"LD_PRELOAD": str(shim), "SHIM_ROOT": str(root), "SHIM_TRACE": str(trace)}
    if kill_at:
        settings["SHIM_KILL"] = str(kill_at)
    return run_child(root, seed, steps, shim=settings), read_trace(trace, root)


def acknowledged(notes: list[dict[str, object]]) -> int:
    """The last batch that a child has passed on as durable."""
    return max((int(str(note["ack"])) for note in notes if "ack" in note), default=0)


def reported(root: Path) -> list[dict[str, object]]:
    """What the last child has noted without the shim; one that was killed may leave half a line."""
    path = root / REPORTS
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


@dataclass(frozen=True)
class History:
    """What a store may hold: its content after each batch, by number."""

    contents: dict[int, Content]

    @classmethod
    def of(cls, seed: int, steps: int, start: Content | None = None) -> History:
        start = start or Content()
        contents = {start.write_seq: start}
        for _, content in islice(script(seed, start), steps):
            contents[content.write_seq] = content
        return cls(contents)

    def assert_held(self, root: Path, acknowledged: int) -> Content:
        """The store in `root` opens, has all that was acknowledged, and goes on."""
        store = open_at(root / HOME, config=TINY)
        try:
            content = content_of(store)
            assert content.write_seq >= acknowledged
            assert content == self.contents[content.write_seq]
            write_and_wait(store, Batch())
        finally:
            store.close()
        return content
