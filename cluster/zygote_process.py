"""The zygote's own side: what its process does once, after its imports and before its first fork.

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

SWITCH_INTERVAL_S = 0.0005
"""Inherited by every node: a thread that computes must not hold the loop up for 5 ms."""


def prepare(name: str) -> None:
    """Make this process a zygote: named, frozen, and bound to take its children along."""
    Path("/proc/self/comm").write_text(name)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
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
