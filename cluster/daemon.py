"""The daemon: takes the directories, builds every part, runs until it is told to stop, cleans up.

The composition root of the supervisor's process; `__main__` calls it once the zygote is on its
way. Its order matters: locks before anything is read, ports before anybody can be told of them,
the management socket before the nodes (a launch that fails can then be asked why), and at the end
nodes, socket, zygote, directories, so that whoever sees the locks free finds nothing of us left.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import SystemRandom
from typing import Any

from cluster import config as configuration
from cluster.config import ClusterConfig, ClusterPaths, Identity
from cluster.directory import Occupation
from cluster.document import HISTORY_SCHEMA, HistoryDocument, StatusDocument
from cluster.errors import BadRequest, ClusterError, WaitTimeout
from cluster.event import EventLog, read_events
from cluster.forker import Forker
from cluster.leadership import reigns
from cluster.management import Management
from cluster.membership import Membership
from cluster.ports import Reservation, choose
from cluster.program import NODE, Program
from cluster.record import ServiceRecord
from cluster.roll import Roll
from cluster.startup import ProgressPipe, Startup
from cluster.state import LIVE
from cluster.status import status_document
from cluster.supervisor import Supervisor
from cluster.table import Node
from cluster.tls import Credentials, prepare
from cluster.usage import Meter, Usage
from cluster.verbs import Verbs
from cluster.zygote import Zygote, become_subreaper
from node.errors import ConfigError

EXIT_INVARIANT = 72
KILL_PATIENCE_MS = 5_000
PROBE_PAUSE_S = 0.02
TOKEN_BYTES = 32
"""Of the token by which nodes know their supervisor; drawn anew each time, and written nowhere."""


class Daemon:
    """One supervisor's process. Satisfies `management.Answers` and `verbs.Surroundings`."""

    def __init__(
        self,
        config: ClusterConfig,
        identity: Identity,
        paths: ClusterPaths,
        reservation: Reservation,
        zygote: Zygote,
        program: Program,
        credentials: Credentials | None,
    ) -> None:
        own_token = secrets.token_urlsafe(TOKEN_BYTES)
        files = credentials.client if credentials is not None else None
        program = program.known(files, own_token)
        self._config = config
        self._tls = credentials.document() if credentials is not None else None
        self._program = program
        self._paths = paths
        self.events = EventLog(paths.events, time.time, time.monotonic)
        record = ServiceRecord(paths.started, self.events)
        server = credentials.server if credentials is not None else None
        self._roll = Roll(config, identity, paths, reservation, record, server, own_token)
        self._forker = Forker(zygote, program.enter, self._payload, self._tell)
        self.supervisor = Supervisor(
            config, self._roll.rows(), self.events, self._forker.fork, self._probe
        )
        self._verbs = Verbs(self.supervisor, self, SystemRandom())
        Membership(self.supervisor, self._roll, program, self._verbs)
        self._meter = Meter()
        self._stopping: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()
        self.wipe = config.ephemeral

    # Life.

    async def run(self, progress: ProgressPipe, launched_at: float) -> None:
        """Bring the cluster up, serve the management socket, return when all is stopped."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._escaped)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._order_stop, KILL_PATIENCE_MS)
        management = Management(self)
        await management.listen(self._paths.socket)
        self.events.append("cluster.starting", nodes=len(self.supervisor.nodes))
        helpers = [
            asyncio.create_task(self.supervisor.tick()),
            asyncio.create_task(self._forker.watch()),
            asyncio.create_task(self._start(progress, launched_at)),
        ]
        for helper in helpers:
            helper.add_done_callback(_raise)
        await self._stopped.wait()
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        self.events.append("cluster.stopped")
        await management.close()
        self._forker.close()
        self._roll.close()
        self.events.close()

    async def _start(self, progress: ProgressPipe, launched_at: float) -> None:
        startup = Startup(self.supervisor, progress, self._paths.log, launched_at)
        # The messages of the first write load while the zygote does, instead of after it.
        loading = asyncio.create_task(asyncio.to_thread(self._program.load))
        try:
            await startup.run(self.status)
            await loading
        except ClusterError as error:
            progress.fail(error)
            self.events.append("cluster.start_failed", reason=error.message)
        finally:
            progress.close()

    def _escaped(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody expected.

        On a connection it costs that connection. Anywhere else the process table may be wrong, and
        a supervisor that acts on it could do harm: it ends, and takes the nodes along.
        """
        loop.default_exception_handler(context)
        if "protocol" in context or "transport" in context or "exception" not in context:
            return
        traceback.print_exception(context["exception"])
        self.events.append("supervisor.failed", reason=repr(context["exception"]))
        os._exit(EXIT_INVARIANT)

    async def shut_down(self, *, wipe: bool, timeout_ms: int) -> None:
        """Stop all nodes: drain, then force. The daemon ends when this has returned."""
        self.wipe = self.wipe or wipe
        await asyncio.shield(self._order_stop(timeout_ms))

    def _order_stop(self, timeout_ms: int) -> asyncio.Task[None]:
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop_all(timeout_ms))
        return self._stopping

    async def _stop_all(self, timeout_ms: int) -> None:
        self.events.append("cluster.stopping")
        self.supervisor.closing = True
        nodes = self.supervisor.nodes
        for node in nodes:
            self.supervisor.stop(node, hand_over=False)
        try:
            await self.supervisor.until(self._all_down, timeout_ms, "stop of all nodes")
        except WaitTimeout:
            for node in nodes:
                node.send(signal.SIGKILL)
            with suppress(WaitTimeout):
                await self.supervisor.until(self._all_down, KILL_PATIENCE_MS, "death of all nodes")
        self._stopped.set()

    def _all_down(self) -> bool:
        return all(node.state not in LIVE for node in self.supervisor.nodes)

    # What the management socket asks.

    def status(self) -> StatusDocument:
        """The status document at this moment."""
        nodes = self.supervisor.nodes
        usage: dict[str, Usage] = {
            node.name: self._meter.sample(node.child.pid) for node in nodes if node.child
        }
        self._meter.keep([node.child.pid for node in nodes if node.child])
        now_ns = time.monotonic_ns()
        return status_document(
            self.supervisor, self._paths, self._forker.pid, usage, now_ns, self._tls
        )

    def history(self) -> HistoryDocument:
        """The leaders of all runs that the event file knows."""
        rows = reigns(read_events(self._paths.events))
        return {"schema": HISTORY_SCHEMA, "cluster": self._config.name, "reigns": rows}

    def metrics(self) -> bytes:
        """Prometheus text."""
        # Imported here: it costs a quarter of a start, and most clusters are never scraped.
        from cluster.metrics import exposition

        return exposition(self.status())

    def ready(self) -> bool:
        """As `up` means it."""
        return self.supervisor.readiness.ready

    def alive(self) -> bool:
        """That this runs shows that the loop turns."""
        return self._forker.alive()

    async def call(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run a verb.

        Raises:
            ClusterError: as the verb says.
        """
        if method == "history":
            return self.history()
        return await self._verbs.call(method, params)

    def log_path(self, node: str) -> str:
        """Where a node logs."""
        return str(self._paths.log(node))

    async def move_leader(self, leader: Node, to: Node, timeout_ms: int) -> None:
        """Ask the leading member to hand over.

        Raises:
            ClusterError: it refused or did not answer.
        """
        request = self._program.move_leader
        await asyncio.to_thread(request, leader.endpoint, to.member_id, timeout_ms / 1e3)

    # Parts.

    def _payload(self, name: str) -> bytes:
        return self._roll.payload(name, anybody_serves=bool(self.supervisor.nodes.serving))

    def _tell(self, kind: str, pid: int | None) -> None:
        self.events.append(kind, pid=pid)

    async def _probe(self, endpoint: str) -> float:
        """Commit a write through a member, however long it takes; milliseconds."""
        began = time.monotonic()
        while True:
            try:
                await asyncio.to_thread(self._program.commit_write, endpoint)
            except ClusterError:
                await asyncio.sleep(PROBE_PAUSE_S)
            else:
                return (time.monotonic() - began) * 1e3


def run(
    wanted: ClusterConfig,
    zygote: Zygote,
    progress_fd: int | None,
    launched_at: float,
    program: Program = NODE,
) -> int:
    """Be the supervisor of one cluster; returns the exit code of the process.

    Args:
        zygote: started already, and preloaded for `program`.
        progress_fd: the launcher's pipe, if there is a launcher.
        launched_at: when this process was started, by the monotonic clock.
    """
    progress = ProgressPipe(progress_fd)
    become_subreaper()
    paths = configuration.paths_of(wanted)
    try:
        _occupied(wanted, paths, zygote, progress, launched_at, program)
    except ClusterError as error:
        # Told last: whoever hears of the refusal finds nothing of us left.
        progress.fail(error)
        return error.exit_code
    finally:
        progress.close()
    return 0


def _occupied(
    wanted: ClusterConfig,
    paths: ClusterPaths,
    zygote: Zygote,
    progress: ProgressPipe,
    launched_at: float,
    program: Program,
) -> None:
    """Run with both directories held, and leave them however the run ends."""
    occupation = Occupation(wanted, paths)
    wipe = wanted.ephemeral
    try:
        config, identity = _settle(wanted, paths)
        credentials = prepare(config.tls, paths.data, config.name, config.host)
        configuration.save(paths.config, config, identity)
        reservation = choose(paths.ports, config.host, config.nodes, config.port_base)
        daemon = Daemon(config, identity, paths, reservation, zygote, program, credentials)
        asyncio.run(daemon.run(progress, launched_at))
        reservation.close()
        wipe = daemon.wipe
    finally:
        occupation.leave(wipe=wipe)


def _settle(wanted: ClusterConfig, paths: ClusterPaths) -> tuple[ClusterConfig, Identity]:
    """The stored identity, or a fresh one, which is to be stored before anybody can use it."""
    stored = configuration.load(paths.config)
    if stored is None and wanted.seed_path:
        wanted = replace(wanted, seed_digest=_digest_of(wanted.seed_path))
    config = configuration.settle(wanted, stored[0] if stored else None)
    identity = stored[1] if stored else Identity.draw(config.names)
    return config, identity


def _digest_of(path: str) -> str:
    """Of the snapshot that a new cluster begins with; from now on it must stay as it is.

    Raises:
        BadRequest: it is none.
    """
    from node.seed import digest_of  # loads the messages of the API, which no other start needs

    try:
        return digest_of(Path(path))
    except ConfigError as error:
        raise BadRequest(str(error), hint="save it again: etcdctl snapshot save FILE") from error


def _raise(task: asyncio.Task[None]) -> None:
    """Let an unexpected end of a task reach the loop's exception handler."""
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
