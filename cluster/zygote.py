"""The zygote: a clean, warm process that forks every node.

It is the forkserver of the package `multiprocess`, started before the supervisor imports anything
heavy and preloaded with the node's program, so a node costs a fork instead of an interpreter's
start. It never holds a ZeroMQ context, a LevelDB handle or a thread: a child can inherit nothing
broken.

Four facts about that forkserver shape this module:
- It wants a resource tracker, one more interpreter, for named semaphores and segments. We have
  none of those (memfds only), and give it /dev/null to talk to instead.
- It reaps the nodes and passes their status on. When it is killed, its children become ours,
  because the supervisor is a subreaper: `cluster.process` then reaps them itself.
- It listens on a socket in a temporary directory that an orderly exit removes. A supervisor may be
  killed, so the name goes as soon as the socket is there, and we reach it by descriptor.
- A request waits while it preloads (or for ever, when somebody stops it), so requests are made from
  one thread and never from the supervisor's loop.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import multiprocess
from multiprocess import forkserver, process, resource_tracker

PR_SET_CHILD_SUBREAPER = 36
Target = Callable[..., Any]


class Forked(Protocol):
    """What the forkserver gives back for one child."""

    @property
    def pid(self) -> int | None:
        """Its process id."""

    @property
    def exitcode(self) -> int | None:
        """None until the forkserver has reaped it; negative = the signal that ended it."""

    @property
    def sentinel(self) -> int:
        """A pipe that is readable when `exitcode` is known, or the forkserver is gone."""


@dataclass(frozen=True, slots=True)
class Birth:
    """A child, and our ends of its two pipes."""

    forked: Forked
    lifeline: int
    """Write end; closing it (or dying) tells the child to leave. The caller's to close."""
    report: int
    """Read end of the child's JSON lines. The caller's to close."""


class Zygote:
    """One forkserver. `start` returns at once; `fork` waits until it is warm."""

    def __init__(self, preload: Sequence[str]) -> None:
        self._context = multiprocess.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        self._server = forkserver._forkserver
        self._socket: int | None = None

    @property
    def pid(self) -> int | None:
        """The forkserver's process id; None before `start` and after `stop`."""
        pid: int | None = self._server._forkserver_pid
        return pid

    def start(self) -> None:
        """Start it, or start it again after its death, which it then also reaps."""
        if resource_tracker._resource_tracker._fd is None:
            resource_tracker._resource_tracker._fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        served = self.pid
        self._server.ensure_running()
        if self.pid != served:
            self._hide_socket()

    def fork(self, name: str, target: Target, payload: bytes) -> Birth:
        """Fork one child that runs `target(payload, lifeline, report)`; blocks until it has a pid.

        Args:
            target: an importable function; it is passed by name.

        Raises:
            OSError, EOFError: the zygote died meanwhile; `start` and try again.
        """
        lifeline_reader, lifeline_writer = self._context.Pipe(duplex=False)
        report_reader, report_writer = self._context.Pipe(duplex=False)
        arguments = (payload, lifeline_reader, report_writer)
        child = self._context.Process(target=target, args=arguments, name=name, daemon=False)
        try:
            child.start()
            # Its package would poll the status in every later start, from that thread, and wait for
            # every child at our exit. The status has one reader, `cluster.process`.
            process._children.discard(child)
            return Birth(child, os.dup(lifeline_writer.fileno()), os.dup(report_reader.fileno()))
        finally:
            for end in (lifeline_reader, lifeline_writer, report_reader, report_writer):
                end.close()

    def stop(self) -> None:
        """End it; waits for its exit. Children that still run are killed by it."""
        if self.pid is not None:
            # Its package would remove the name; one of the abstract kind has none on disk.
            self._server._forkserver_address = "\0"
            self._server._stop()
        self._close_socket()

    def _hide_socket(self) -> None:
        """Keep hold of the socket and remove its name, and the directory that was made for it."""
        self._close_socket()
        name = self._server._forkserver_address
        self._socket = os.open(name, os.O_PATH | os.O_CLOEXEC)
        shutil.rmtree(os.path.dirname(name))
        process.current_process()._config["tempdir"] = None
        self._server._forkserver_address = f"/proc/self/fd/{self._socket}"

    def _close_socket(self) -> None:
        if self._socket is not None:
            os.close(self._socket)
            self._socket = None


def become_subreaper() -> None:
    """Adopt the nodes should the zygote die, so that their ends can still be told.

    Raises:
        OSError: the kernel refused.
    """
    # Imported here: the zygote is already on its way while this loads.
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
