"""Composition root of one member: builds every part, joins them, and runs the process.

    zygote fork ──► run(config, lifeline_fd, report_fd) ──► live(config, surroundings)
      open store (verified, or exit 71) ─► mesh, page ─► core, machine, hub ─► loop ─► client port

A member can live without a supervisor: what that gives is its `Surroundings`, and all but the
reporter may be absent. Only this module and `node.composition` construct concrete parts. Exit
codes: 0 stopped, 64 unusable configuration, 70 a write failed, 71 the disk cannot be trusted, 72 a
broken invariant, 75 the data directory is held by another process, 76 removed from the cluster.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, NoReturn, cast

import uvloop

from node.addresses import AddressBook
from node.api.handshake import Papers
from node.api.server import ClientPort
from node.composition import compose, draw
from node.config import ETCD_VERSION, NodeConfig
from node.disk import decode_conf, encode_conf
from node.errors import ConfigError, InvariantViolated, Removed
from node.loop import Loop
from node.member import Member, Sinks
from node.parts import Reporter
from node.peers import PARCEL_BYTES_MAX
from node.process import Fatal, Process, guarded
from node.publisher import Publisher
from node.raft.message import ConfState
from node.raft.storage import FOUNDING_INDEX, FOUNDING_TERM
from node.report import Reporter as FileReporter
from node.seed import seed
from node.status import Identity
from node.telemetry import Status, StatusPage
from store import errors as store_errors
from store.boot import BEGINNING, Store, open_store
from store.config import StoreConfig
from store.directory import DataDirectory
from store.engine import Engine
from store.errors import DirectoryHeld, DiskFailed, FormatTooNew, Quarantined
from store.fatal import EXIT_INVARIANT, EXIT_QUARANTINE, EXIT_STORAGE, FOUND_DAMAGE
from store.leveldb import REFUSED, describe_failure
from store.record import Position
from transport import errors as transport_errors
from transport.claim import Claimed
from transport.errors import TransportError
from transport.mesh import FRAME_BYTES_MAX, Mesh, MeshConfig
from transport.route import TcpRoutes

EXIT_CONFIG = 64
EXIT_HELD = 75
EXIT_REMOVED = 76
REMOVED_REASON = "it has been removed from the cluster, and its id is never used again"
HELD_SECONDS_MAX = 5.0
"""How long a start waits for a killed predecessor to leave the data directory."""


def temporary_file(directory: Path) -> BinaryIO:
    """An empty file without a name, gone when it is closed."""
    return cast(BinaryIO, TemporaryFile(dir=directory))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a member finds around it at its start."""

    reporter: Reporter
    lifeline_fd: int | None = None
    """A pipe whose end means that the supervisor is gone; None = there is no supervisor."""
    listeners: tuple[socket.socket, ...] = ()
    """Sockets that listen for clients already; () = the address of the member's own row."""


@dataclass(frozen=True, slots=True)
class End:
    """How a life ended."""

    code: int
    """The exit code of a supervised node."""
    signal: int = 0
    """What asked for it; 0 = no signal."""


def run(config: NodeConfig, lifeline_fd: int, report_fd: int) -> NoReturn:
    """Be this member until told to stop. Never returns: nothing of the parent's may run after."""
    code = EXIT_INVARIANT
    try:
        code = live(config, Surroundings(FileReporter(2, report_fd), lifeline_fd)).code
    finally:
        sys.stderr.flush()
        os._exit(code)


def live(config: NodeConfig, surroundings: Surroundings) -> End:
    """Be this member until told to stop, or until it cannot go on: the reporter is told why."""
    reporter = surroundings.reporter
    try:
        return End(0, serve(config, surroundings))
    except Quarantined as error:
        reporter.report("quarantined", reason=str(error))
        return End(EXIT_QUARANTINE)
    except FOUND_DAMAGE as error:  # read after boot, before the first turn
        reason = f"found while starting: {describe_failure(error)}"
        reporter.report("quarantined", reason=reason)
        return End(EXIT_QUARANTINE)
    except REFUSED as error:
        reason = f"the disk refused a read: {describe_failure(error)}"
        reporter.report("storage_failed", reason=reason)
        return End(EXIT_STORAGE)
    except Removed as error:
        reporter.report("removed", reason=str(error))
        return End(EXIT_REMOVED)
    except (DirectoryHeld, Claimed) as error:
        reporter.report("refused", reason=str(error))
        return End(EXIT_HELD)
    except DiskFailed as error:
        reporter.report("refused", reason=str(error))
        return End(EXIT_STORAGE)
    except (ConfigError, FormatTooNew, TransportError, OSError) as error:
        reporter.report("refused", reason=f"{type(error).__name__}: {error}")
        return End(EXIT_CONFIG)
    except BaseException as error:
        traceback.print_exc()
        reporter.report("invariant", reason=f"{type(error).__name__}: {error}")
        return End(EXIT_INVARIANT)


def serve(config: NodeConfig, surroundings: Surroundings) -> int:
    """Build the member, run it until it is stopped, and close it in the order that is safe.

    Returns the signal that stopped it, 0 = none did.

    Raises:
        Quarantined, FormatTooNew, DirectoryHeld: the store must not or cannot be used.
        OSError: an address or a file cannot be used.
        BadCertificate: TLS was asked for, and its files are no use.
        Removed: this member has been removed, now or before it was started.
    """
    reporter = surroundings.reporter
    incarnation = draw(64)
    papers = Papers(config.tls, time.monotonic, reporter.log) if config.tls is not None else None
    raise_descriptor_limit()
    store = open_patiently(config, reporter)
    refuse_removed(store, config.member_id)
    book = AddressBook(config.cluster_id, config.members)
    routes = TcpRoutes(config.peer_address, book.address) if config.peer_address else None
    mesh = Mesh(
        MeshConfig(
            cluster_id=config.cluster_id,
            member_id=config.member_id,
            incarnation=incarnation,
            directory=config.run_directory,
            arena_paths={spec.id: spec.arena_path for spec in config.members if spec.arena_path},
            frame_bytes_max=max(
                FRAME_BYTES_MAX, config.limits.request_bytes_max + 2 * PARCEL_BYTES_MAX
            ),
        ),
        routes,
        introduce=book.introduction if routes is not None else None,
    )
    page = StatusPage(config.page_path) if config.page_path else StatusPage.private()
    events = uvloop.new_event_loop()
    asyncio.set_event_loop(events)
    sinks = Sinks()
    spool = partial(temporary_file, Path(config.data_directory).parent)
    parts = compose(config, store, mesh, page, reporter, sinks, spool=spool, addresses=book)
    loop = Loop(parts, config.ticks, config.limits, time.monotonic, events.call_soon, sinks)
    fatal = fatal_errors(store.engine)
    loop.turn = guarded(loop.turn, reporter, fatal)  # type: ignore[method-assign]
    spec = config.spec
    identity = Identity(config.cluster_id, config.member_id, spec.name, ETCD_VERSION)
    member = Member(loop, parts, sinks, identity, config.ticks, config.limits, time.monotonic)
    sinks.header = member.header
    book.members = member.members
    port = ClientPort(member, papers=papers, log=reporter.log)
    sinks.flush = port.flush
    own = Status(
        pid=os.getpid(),
        member_id=config.member_id,
        incarnation=incarnation,
        started_at_ns=time.monotonic_ns(),
        updated_at_ns=0,
    )
    publisher = Publisher(member, loop, parts, page, spec, own, reporter.report)
    parts.connections.adopt(parts.conf)
    stopped_by = Process(events, loop, parts, port, publisher, reporter, fatal).serve(
        spec.client_host,
        spec.client_port,
        [*mesh.filenos(), store.writer.fileno()],
        surroundings.lifeline_fd,
        listeners=surroundings.listeners,
        tick_seconds=config.ticks.tick_ms / 1000,
        # As in etcd, whoever votes alone need not wait for anybody else's heartbeat.
        campaign_first=config.campaign_first or parts.conf.voters == (config.member_id,),
    )
    mesh.close()
    store.close()
    if parts.membership.removed:
        raise Removed(REMOVED_REASON)
    return stopped_by


def raise_descriptor_limit() -> None:
    """Take as many descriptors as the system lets this process have: shells give few by default."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def refuse_removed(store: Store, member_id: int) -> None:
    """A member that had applied its own removal before it ended does not come back.

    Raises:
        Removed: its own disk says that it is none. Who joins has no configuration yet.
    """
    conf = decode_conf(store.image.conf)
    if conf.voters and member_id not in {*conf.voters, *conf.learners}:
        store.close()
        raise Removed(REMOVED_REASON)


def fatal_errors(engine: Engine) -> Fatal:
    """Broken invariants of every folder, and whatever the disk raises when it is read.

    Not OSError, which is what sockets raise every day.
    """
    disk = [kind for kind in engine.failures if kind is not OSError]
    return Fatal(
        broken=(
            InvariantViolated,
            store_errors.InvariantViolated,
            transport_errors.InvariantViolated,
        ),
        damaged=(store_errors.Damaged, *disk),
        refused=REFUSED,
    )


def open_patiently(config: NodeConfig, reporter: Reporter) -> Store:
    """Open the store; a killed predecessor may need a moment to leave the directory."""
    founders = () if config.join else tuple(sorted(spec.id for spec in config.members))
    first_conf = encode_conf(ConfState(voters=founders)) if config.bootstrap else None
    founding = Position(FOUNDING_INDEX, FOUNDING_TERM)
    first_state = None
    if config.seed_path and not config.join:
        first_state = partial(seed, Path(config.seed_path), config.seed_digest)
    limits = config.limits
    store_config = StoreConfig(
        queue_batches_max=limits.writer_batches_max, queue_bytes_max=limits.writer_bytes_max
    )
    until = time.monotonic() + HELD_SECONDS_MAX
    while True:
        try:
            return open_store(
                DataDirectory(Path(config.data_directory)),
                config.cluster_id,
                config.member_id,
                store_config,
                first_conf=first_conf,
                first_position=BEGINNING if config.join else founding,
                first_state=first_state,
                last_words=partial(report_failure, reporter),
            )
        except DirectoryHeld:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def report_failure(reporter: Reporter, code: int, reason: str) -> None:
    """Tell why the writer is about to end this process."""
    kind = {EXIT_QUARANTINE: "quarantined", EXIT_INVARIANT: "invariant"}.get(code, "storage_failed")
    reporter.report(kind, reason=reason)
