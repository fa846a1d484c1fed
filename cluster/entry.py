"""What runs first in a forked child: leave everything of the parents behind, then be a node.

A child of the forkserver inherits the write end of the forkserver's keep-alive pipe: as long as one
child held it, the forkserver would outlive its supervisor. It also inherits signal handlers and a
random state that all siblings would share. All of that ends here, before the node's own code.
"""

from __future__ import annotations

import os
import random
import signal
import traceback
from pathlib import Path
from typing import NoReturn, Protocol

import msgspec

from node.config import NodeConfig

NAME_BYTES_MAX = 15
FD_MAX = 1 << 16
CRASHED = 1


class Descriptor(Protocol):
    """A pipe end that was passed to a child; it closes when the object goes."""

    def fileno(self) -> int:
        """The descriptor's number in this process."""


def enter(payload: bytes, lifeline: Descriptor, report: Descriptor) -> NoReturn:
    """The child's main function.

    Args:
        payload: msgpack of a NodeConfig.
        lifeline: read end; end of file means that the supervisor is gone.
        report: write end; the node writes JSON lines.
    """
    try:
        config = msgspec.msgpack.decode(payload, type=NodeConfig)
        leave_parents(f"conclave-{config.spec.name}", config.log_path, lifeline, report)
        # Imported here, where it costs nothing because the zygote has it, so that the supervisor,
        # which only names this function, never imports a node.
        from node.__main__ import run

        run(config, lifeline.fileno(), report.fileno())
    except BaseException:
        # By hand and straight to the descriptor: the forkserver's own buffers and handlers are not
        # ours any more, and nothing of it may run in a child again.
        os.write(2, traceback.format_exc().encode(errors="replace"))
    os._exit(CRASHED)


def leave_parents(name: str, log_path: str, *keep: Descriptor) -> None:
    """Become a process of its own: name, group, log file, signals, randomness, descriptors.

    Its own process group, but in the supervisor's session: so a terminal's Ctrl-C does not reach
    it, and yet the kernel wakes a stopped node (SIGHUP, SIGCONT) should all its parents vanish.
    """
    os.setpgid(0, 0)
    Path("/proc/self/comm").write_text(name[:NAME_BYTES_MAX])
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    random.seed()
    _close_all_but({0, 1, 2, *(pipe.fileno() for pipe in keep)})


def _close_all_but(keep: set[int]) -> None:
    lo = 0
    for descriptor in [*sorted(keep), FD_MAX]:
        # An empty range must not be asked for: os.closerange(0, 0) closes everything (3.11 hands
        # the kernel an inclusive end of -1).
        if lo < descriptor:
            os.closerange(lo, descriptor)
        lo = descriptor + 1
