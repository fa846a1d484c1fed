"""One child process as the supervisor holds it: pidfd, lifeline, reports, exit status.

Signals go through the pidfd, so they never hit a stranger with a recycled pid. The pidfd also tells
the death, within a millisecond and whatever state the zygote is in; the status follows from the
zygote, or from our own wait when the zygote is gone and the child became ours.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.config import parse_json
from cluster.policy import UNKNOWN_STATUS
from cluster.zygote import Birth

REPORT_BYTES_MAX = 64 * 1024
"""A line longer than this is not a report of ours; it is dropped."""
STOP_LOOKS = 100
STOP_PAUSE_S = 0.001
ADOPTION_LOOKS = 50
ADOPTION_PAUSE_S = 0.001
STATUS_PATIENCE_S = 1.0
"""How long a dead child's status may take before it is unknown: a stopped zygote reaps nobody."""


class ChildProcess:
    """One running or just ended process."""

    def __init__(self, birth: Birth) -> None:
        self._forked = birth.forked
        self._lifeline = birth.lifeline
        self._report = birth.report
        self._rest = b""
        self.pid = birth.forked.pid or 0
        os.set_blocking(birth.report, False)
        self._pidfd: int | None = None
        # It may have ended and been reaped already: then the status alone tells.
        with suppress(ProcessLookupError):
            self._pidfd = os.pidfd_open(self.pid)

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal; False when the process has ended."""
        if self._pidfd is None:
            return False
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return False
        return True

    async def stopped(self) -> None:
        """Wait until the process stands still; SIGSTOP takes effect a moment after it is sent."""
        for _ in range(STOP_LOOKS):
            with suppress(OSError):
                state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
                if state in "TtZX":
                    return
            await asyncio.sleep(STOP_PAUSE_S)

    async def ended(self) -> None:
        """Wait for the death itself; the status may come a moment later."""
        await readable(self._pidfd if self._pidfd is not None else self._forked.sentinel)

    async def status(self) -> int:
        """The exit status after `ended`: code, or minus the signal; 255 when nobody knows it."""
        if (status := self._reap()) is not None:
            return status
        with suppress(TimeoutError):
            async with asyncio.timeout(STATUS_PATIENCE_S):
                await readable(self._forked.sentinel)
        known = self._forked.exitcode
        if known not in (None, UNKNOWN_STATUS):
            return int(known)
        # The zygote died too. Its descriptors closed a moment before its children became ours.
        for _ in range(ADOPTION_LOOKS):
            if (status := self._reap()) is not None:
                return status
            await asyncio.sleep(ADOPTION_PAUSE_S)
        return UNKNOWN_STATUS

    async def report_ready(self) -> None:
        """Wait until `read_reports` has something to read."""
        await readable(self._report)

    def read_reports(self) -> list[dict[str, Any]] | None:
        """The complete JSON lines that have come; None at the end. Foreign lines are dropped."""
        try:
            content = os.read(self._report, REPORT_BYTES_MAX)
        except BlockingIOError:
            return []
        if not content:
            return None
        *lines, self._rest = (self._rest + content).split(b"\n")
        if len(self._rest) > REPORT_BYTES_MAX:
            self._rest = b""
        return [report for line in lines if (report := _parse(line)) is not None]

    def close(self) -> None:
        """Let go of all descriptors; a child that still runs takes it as the order to leave."""
        os.close(self._lifeline)
        os.close(self._report)
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _reap(self) -> int | None:
        """Our own wait: only an orphan of a dead zygote is our child."""
        if self._pidfd is None:
            return None
        try:
            ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return None
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        report = parse_json(line)
    except ValueError:
        return None
    return report if isinstance(report, dict) and isinstance(report.get("event"), str) else None


async def readable(descriptor: int) -> None:
    """Wait until a descriptor can be read without blocking, or has ended."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
