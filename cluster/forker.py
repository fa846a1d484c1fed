"""Asking the zygote without waiting for it: fork requests on a thread, and an eye on its life.

A zygote that dies takes no node along: they belong to us then (see `cluster.zygote`), and a new
one is started at once. A zygote that does not answer is killed and replaced, because it can be
stopped by a signal as any process can, and a request to it would wait for ever.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from cluster.errors import StartFailed
from cluster.process import readable
from cluster.zygote import Birth, Target, Zygote

PATIENCE_S = 10.0
"""Longer than any preload takes, even on a machine that swaps."""
ATTEMPTS = 2
Payload = Callable[[str], bytes]
"""What the process of the node of that name is told."""
Tell = Callable[[str, int | None], None]
"""Told of "zygote.started" and "zygote.exited", with the pid."""


class Forker:
    """One zygote, and the thread that speaks to it."""

    def __init__(self, zygote: Zygote, target: Target, payload: Payload, tell: Tell) -> None:
        self._zygote = zygote
        self._target = target
        self._payload = payload
        self._tell = tell
        self._thread = ThreadPoolExecutor(1, "zygote")
        self.warm_at: float | None = None
        """When the first fork came back, by the monotonic clock."""

    @property
    def pid(self) -> int | None:
        """The zygote's."""
        return self._zygote.pid

    def alive(self) -> bool:
        """The zygote's process is there."""
        return self._zygote.pid is not None and os.path.exists(f"/proc/{self._zygote.pid}")

    async def fork(self, name: str) -> Birth:
        """Fork one node.

        Raises:
            StartFailed: it did not work, and not with a new zygote either.
        """
        payload = self._payload(name)
        reason = "the zygote does not answer"
        for _ in range(ATTEMPTS):
            request = asyncio.get_running_loop().run_in_executor(
                self._thread, self._zygote.fork, name, self._target, payload
            )
            try:
                birth = await asyncio.wait_for(asyncio.shield(request), PATIENCE_S)
            except TimeoutError:
                self._kill_zygote()
                # Its death ends the request; its outcome no longer matters.
                await asyncio.gather(request, return_exceptions=True)
            except (OSError, EOFError) as error:
                reason = f"the zygote ended: {error or type(error).__name__}"
            else:
                self.warm_at = self.warm_at or time.monotonic()
                return birth
        raise StartFailed(f"{name} could not be forked: {reason}", hint="conclave doctor")

    async def watch(self) -> None:
        """Replace the zygote whenever it dies, until cancelled."""
        while True:
            pid = self._zygote.pid
            if pid is not None:
                await _death_of(pid)
                self._tell("zygote.exited", pid)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._zygote.start)
            self._tell("zygote.started", self._zygote.pid)

    def close(self) -> None:
        """End the zygote without waiting for a preload or a stop to be over."""
        self._kill_zygote()
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._zygote.stop()

    def _kill_zygote(self) -> None:
        if self._zygote.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._zygote.pid, signal.SIGKILL)


async def _death_of(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await readable(descriptor)
    finally:
        os.close(descriptor)
