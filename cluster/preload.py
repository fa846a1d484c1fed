"""Imported by the zygote before it forks anything: all that a node needs, and what a zygote owes.

Nothing is started here: no thread, no ZeroMQ context, no LevelDB handle may exist before a fork.
The heap is frozen, so that a node's first garbage collection does not copy every shared page.

When the zygote ends because its supervisor has (end of file on the forkserver's keep-alive pipe),
it kills what it forked. The nodes' lifelines make them leave by themselves; this is for one that
cannot, because it was stopped by a pause.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import node.__main__  # noqa: F401  the whole program, imported once for all nodes

ZYGOTE_NAME = "conclave-zygote"


def prepare(name: str = ZYGOTE_NAME) -> None:
    """Make this process a zygote: named, frozen, and bound to take its children along."""
    Path("/proc/self/comm").write_text(name)
    # Inherited by every node: a thread that computes must not hold the loop up for 5 ms.
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()
    atexit.register(_kill_children, os.getpid())


def _kill_children(zygote: int) -> None:
    if os.getpid() != zygote:
        return
    with suppress(OSError):
        for pid in Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


prepare()
