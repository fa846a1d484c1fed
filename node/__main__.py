"""Composition root of one member: builds every part, joins them, and runs the process.

    zygote fork ──► run(config, lifeline_fd, report_fd)
      open store (verified, or exit 71) ─► mesh, page ─► core, machine, hub ─► loop ─► client port

Only this module constructs concrete parts; all others are given what they use. Exit codes: 0
stopped, 64 unusable configuration, 70 a write failed, 71 the disk cannot be trusted, 72 a broken
invariant, 75 the data directory is held by another process, 76 removed from the cluster.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, NoReturn, Protocol, cast

import uvloop

from node.api.server import ClientPort
from node.applier import Applier
from node.backup import backup_of
from node.chain import Chain
from node.config import ETCD_VERSION, NodeConfig
from node.connections import Connections
from node.consistency import Consistency
from node.disk import Disk, decode_conf, encode_conf
from node.errors import ConfigError, InvariantViolated, Removed
from node.housekeeping import HOUSEKEEPING_MS
from node.lease_call import LeaseCalls
from node.lease_expiry import LeaseExpiry
from node.loop import Loop
from node.machine.machine import Machine
from node.member import Member, Sinks
from node.membership import Membership
from node.parts import Parts
from node.parts import Reporter as LoopReporter
from node.peers import Peers, RoundTrips
from node.process import Fatal, Process, guarded
from node.proposals import Proposals
from node.publisher import Publisher
from node.raft.config import RaftConfig
from node.raft.core import Core
from node.raft.message import ConfChange, ConfChangeKind, ConfState
from node.raft.storage import FOUNDING_INDEX, FOUNDING_TERM
from node.reads import Reads
from node.report import Reporter, change_event
from node.seed import seed
from node.snapshots import Snapshots
from node.status import Identity
from node.telemetry import Status, StatusPage
from node.transfers import Transfers
from node.watch import WatchHub
from store import errors as store_errors
from store.boot import BEGINNING, MemoryStore, Store, open_store
from store.config import StoreConfig
from store.directory import DataDirectory
from store.engine import Engine
from store.errors import DirectoryHeld, DiskFailed, FormatTooNew, Quarantined
from store.fatal import EXIT_INVARIANT, EXIT_QUARANTINE, EXIT_STORAGE, FOUND_DAMAGE
from store.installer import Installer
from store.leveldb import describe_failure
from store.record import Position
from transport import errors as transport_errors
from transport.claim import Claimed
from transport.errors import TransportError
from transport.mesh import Channel, Mesh, MeshConfig, MeshPort

EXIT_CONFIG = 64
EXIT_HELD = 75
EXIT_REMOVED = 76
REMOVED_REASON = "it has been removed from the cluster, and its id is never used again"
HELD_SECONDS_MAX = 5.0
"""How long a start waits for a killed predecessor to leave the data directory."""


class Page(RoundTrips, Protocol):
    """The part of a status page that is about links."""

    def drop_link(self, peer: int) -> None:
        """Free the place of a member that has left."""


def draw(bits: int) -> int:
    """A random positive number; never what another life or member of this cluster has drawn."""
    return int.from_bytes(os.urandom(8), "big") >> (64 - bits) or 1


def temporary_file(directory: Path) -> BinaryIO:
    """An empty file without a name, gone when it is closed."""
    return cast(BinaryIO, TemporaryFile(dir=directory))


def run(config: NodeConfig, lifeline_fd: int, report_fd: int) -> NoReturn:
    """Be this member until told to stop. Never returns: nothing of the parent's may run after."""
    reporter = Reporter(2, report_fd)
    code = EXIT_INVARIANT
    try:
        serve(config, reporter, lifeline_fd)
        code = 0
    except Quarantined as error:
        reporter.report("quarantined", reason=str(error))
        code = EXIT_QUARANTINE
    except FOUND_DAMAGE as error:  # read after boot, before the first turn
        reason = f"found while starting: {describe_failure(error)}"
        reporter.report("quarantined", reason=reason)
        code = EXIT_QUARANTINE
    except Removed as error:
        reporter.report("removed", reason=str(error))
        code = EXIT_REMOVED
    except (DirectoryHeld, Claimed) as error:
        reporter.report("refused", reason=str(error))
        code = EXIT_HELD
    except DiskFailed as error:
        reporter.report("refused", reason=str(error))
        code = EXIT_STORAGE
    except (ConfigError, FormatTooNew, TransportError, OSError) as error:
        reporter.report("refused", reason=f"{type(error).__name__}: {error}")
        code = EXIT_CONFIG
    except BaseException as error:
        traceback.print_exc()
        reporter.report("invariant", reason=f"{type(error).__name__}: {error}")
    finally:
        sys.stderr.flush()
        os._exit(code)


def serve(config: NodeConfig, reporter: Reporter, lifeline_fd: int) -> None:
    """Build the member, run it until it is stopped, and close it in the order that is safe.

    Raises:
        Quarantined, FormatTooNew, DirectoryHeld: the store must not or cannot be used.
        OSError: an address or a file cannot be used.
        Removed: this member has been removed, now or before it was started.
    """
    incarnation = draw(64)
    store = open_patiently(config, reporter)
    refuse_removed(store, config.member_id)
    mesh = Mesh(
        MeshConfig(
            cluster_id=config.cluster_id,
            member_id=config.member_id,
            incarnation=incarnation,
            directory=config.run_directory,
            arena_paths={spec.id: spec.arena_path for spec in config.members if spec.arena_path},
        )
    )
    page = StatusPage(config.page_path)
    events = uvloop.new_event_loop()
    asyncio.set_event_loop(events)
    sinks = Sinks()
    spool = partial(temporary_file, Path(config.data_directory).parent)
    parts = compose(config, store, mesh, page, reporter, sinks, spool=spool)
    loop = Loop(parts, config.ticks, config.limits, time.monotonic, events.call_soon, sinks)
    fatal = fatal_errors(store.engine)
    loop.turn = guarded(loop.turn, reporter, fatal)  # type: ignore[method-assign]
    spec = config.spec
    identity = Identity(config.cluster_id, config.member_id, spec.name, ETCD_VERSION)
    member = Member(loop, parts, sinks, identity, config.ticks, config.limits, time.monotonic)
    sinks.header = member.header
    port = ClientPort(member)
    sinks.flush = port.flush
    own = Status(
        pid=os.getpid(),
        member_id=config.member_id,
        incarnation=incarnation,
        started_at_ns=time.monotonic_ns(),
        updated_at_ns=0,
    )
    publisher = Publisher(member, loop, parts, page, spec, own)
    parts.connections.adopt(parts.conf)
    Process(events, loop, parts, port, publisher, reporter, fatal).serve(
        spec.client_host,
        spec.client_port,
        [*mesh.filenos(), store.writer.fileno()],
        lifeline_fd,
        tick_seconds=config.ticks.tick_ms / 1000,
        campaign_first=config.campaign_first,
    )
    mesh.close()
    store.close()
    if parts.membership.removed:
        raise Removed(REMOVED_REASON)


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
    )


def compose(
    config: NodeConfig,
    store: Store | MemoryStore,
    mesh: MeshPort,
    page: Page,
    reporter: LoopReporter,
    sinks: Sinks,
    clock: Callable[[], float] = time.monotonic,
    draw: Callable[[int], int] = draw,
    spool: Callable[[], BinaryIO] = BytesIO,
) -> Parts:
    """Everything that the loop orders, joined.

    `clock` and `draw` are all that a member knows of time and chance, so that a test can give it
    others; `spool` opens an empty file for something that is too large to keep in memory.
    """
    limits, ticks = config.limits, config.ticks
    election_seconds = ticks.election * ticks.tick_ms / 1000
    patience = limits.request_timeout_ms / 1000 + 2 * election_seconds
    disk = Disk(store.image, store.log, store.writer, store.view, store.engine)
    machine = Machine(store.view, disk.applied.index, config.member_id)
    hub = WatchHub(
        machine,
        sinks.response_header,
        progress_notify_ticks=max(1, limits.watch_progress_notify_ms // HOUSEKEEPING_MS),
    )
    proposals = Proposals(
        config.member_id,
        draw(62),
        pending_max=limits.pending_proposals_max,
        pending_bytes_max=limits.pending_bytes_max,
        request_bytes_max=limits.request_bytes_max,
        timeout_seconds=patience,
    )
    leases = LeaseExpiry(election_seconds)
    reads = Reads(draw(62), limits.pending_reads_max, patience)
    core = Core(raft_config(config), disk, random.Random(draw(64)), disk.applied.index)  # noqa: S311

    chain = Chain(disk.digest, disk.applied.index)
    consistency = Consistency(
        config.member_id,
        chain,
        core,
        lambda: parts.machine,
        lambda: parts.conf,
        proposals.unasked,
        reporter,
        clock,
        applied=disk.applied.index,
        period_seconds=limits.state_check_ms / 1000,
    )
    peers = Peers(mesh, page, consistency, int(election_seconds * 1e9))

    def adopt_conf(conf: ConfState) -> None:
        parts.conf = conf
        connections.adopt(conf)

    def change_conf(change: ConfChange | None, index: int) -> ConfState:
        """A committed change takes effect in the core, on disk, and in who is connected."""
        before = parts.conf
        conf = core.apply_conf_change(change)
        if change is not None:
            disk.conf_changed(conf)
            parts.conf = conf
            connections.change(conf)
            event, facts = change_event(change, before, index)
            reporter.report(event, **facts)
            if change.kind == ConfChangeKind.REMOVE and change.member == config.member_id:
                membership.leave()
        return conf

    connections = Connections(
        config.member_id,
        (spec.id for spec in config.members),
        mesh,
        page,
        peers.call,
        clock,
        2 * election_seconds,
    )
    membership = Membership(
        config.member_id,
        core,
        lambda: parts.machine,
        lambda: parts.conf,
        peers.call,
        draw(62),
        patience,
    )

    def term_applied(term: int) -> None:
        proposals.term_applied(term)
        membership.term_applied(term)

    applier = Applier(
        machine,
        store.view,
        hub,
        chain,
        complete=proposals.complete,
        leases=lambda changes: leases.note(changes, clock()),
        conf=lambda: parts.conf,
        change_conf=change_conf,
        changed=membership.complete,
        checked=consistency.marked,
        term_applied=term_applied,
    )
    calls = LeaseCalls(
        leases,
        lambda done: reads.add(done, clock()),
        peers.call,
        clock,
        patience,
        limits.pending_reads_max,
        draw(62),
    )
    snapshots = Snapshots(
        read=store.view.read_snapshot,
        installer=partial(Installer, store.engine, store.writer),
        send=lambda to, payload: mesh.send(to, Channel.BULK, payload),
        first_stream=draw(62),
        chunk_bytes=limits.snapshot_chunk_bytes,
        streams_max=limits.snapshot_streams_max,
    )
    parts = Parts(
        core=core,
        disk=disk,
        mesh=mesh,
        peers=peers,
        applier=applier,
        chain=chain,
        consistency=consistency,
        reads=reads,
        proposals=proposals,
        leases=leases,
        calls=calls,
        membership=membership,
        connections=connections,
        snapshots=snapshots,
        transfers=Transfers(election_seconds),
        hub=hub,
        machine=machine,
        new_backup=lambda: backup_of(store.view.read_snapshot(), spool(), ETCD_VERSION),
        new_machine=lambda: Machine(store.view, disk.applied.index, config.member_id),
        adopt_conf=adopt_conf,
        reporter=reporter,
        member_id=config.member_id,
        conf=disk.initial_state()[1],
    )
    return parts


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


def raft_config(config: NodeConfig) -> RaftConfig:
    """The core's share of the limits."""
    limits, ticks = config.limits, config.ticks
    return RaftConfig(
        id=config.member_id,
        election_ticks=ticks.election,
        heartbeat_ticks=ticks.heartbeat,
        append_bytes_max=limits.append_bytes_max,
        inflight_messages_max=limits.inflight_messages_max,
        inflight_bytes_max=limits.inflight_bytes_max,
        uncommitted_bytes_max=limits.uncommitted_bytes_max,
        apply_bytes_max=limits.apply_bytes_max,
        pending_reads_max=limits.pending_reads_max,
    )
