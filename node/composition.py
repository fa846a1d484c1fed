"""Everything that one member's loop orders, made and joined.

Only this module and `node.__main__` construct concrete parts; all others are given what they use.
Disk, mesh, page, clock and chance are given to this one too, so that a test can give others.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from math import inf
from typing import BinaryIO, Protocol

from node.addresses import AddressBook
from node.applier import Applier
from node.auto_compaction import AutoCompaction, schedule_of
from node.backup import backup_of
from node.chain import Chain
from node.config import ETCD_VERSION, Limits, NodeConfig, minor_version
from node.connections import Addresses, Connections
from node.consistency import Consistency
from node.defragmentation import Defragmentation
from node.disk import Disk
from node.housekeeping import HOUSEKEEPING_MS
from node.lease_call import LeaseCalls
from node.lease_expiry import LeaseExpiry
from node.machine.envelope import RequestKind
from node.machine.machine import Machine
from node.member import Sinks
from node.membership import Membership
from node.parts import Parts
from node.parts import Reporter as LoopReporter
from node.passwords import Passwords
from node.peers import Peers, RoundTrips
from node.proposals import Proposals
from node.quota import OnOutcome, Quota
from node.raft.config import RaftConfig
from node.raft.core import Core
from node.raft.message import ConfChange, ConfChangeKind, ConfState
from node.reads import Reads
from node.report import change_event
from node.snapshots import Snapshots
from node.tally import Tally
from node.token_option import SIMPLE, parse
from node.tokens import Keeper, SimpleTokens, Tokens
from node.transfers import Transfers
from node.watch import WatchHub
from store.boot import MemoryStore, Store
from store.installer import Installer
from transport.mesh import Channel, MeshPort


class Page(RoundTrips, Protocol):
    """The part of a status page that is about links."""

    def drop_link(self, peer: int) -> None:
        """Free the place of a member that has left."""


def draw(bits: int) -> int:
    """A random positive number; never what another life or member of this cluster has drawn."""
    return int.from_bytes(os.urandom(8), "big") >> (64 - bits) or 1


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
    addresses: Addresses | None = None,
) -> Parts:
    """Everything that the loop orders, joined.

    `clock` and `draw` are all that a member knows of time and chance, so that a test can give it
    others; `spool` opens an empty file for something that is too large to keep in memory;
    `addresses` are of members that have some of their own.
    """
    limits, ticks = config.limits, config.ticks
    election_seconds = ticks.election * ticks.tick_ms / 1000
    patience = limits.request_timeout_ms / 1000 + 2 * election_seconds
    disk = Disk(store.image, store.log, store.writer, store.view, store.engine)
    tally = Tally()
    machine = Machine(store.view, disk.applied.index, config.member_id, tally)
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
    leases = LeaseExpiry(election_seconds, limits.lease_checkpoint_ms / 1000)
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
        period_seconds=limits.state_check_ms / 1000 or inf,
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
        addresses or AddressBook(config.cluster_id, config.members),
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
        if core.leads and term == core.term:
            # Not at the election: a note in the state may be older than its removal in the log.
            leases.promote(parts.machine.leases(), clock())

    tokens = Keeper(make_tokens(limits, clock), config.own_token)
    applier = Applier(
        machine,
        store.view,
        hub,
        chain,
        complete=proposals.complete,
        leases=lambda changes: leases.note(changes, clock()),
        tokens=tokens.kind.note,
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

    def propose(kind: RequestKind, request: bytes, done: OnOutcome) -> None:
        proposals.add(kind, request, done, clock())

    quota = Quota(
        config.member_id, limits.quota_bytes, disk.state_size, lambda: parts.machine, propose
    )
    auto_compaction = AutoCompaction(
        schedule_of(limits.auto_compaction_mode, limits.auto_compaction_retention),
        lambda: parts.machine.revision,
        propose,
        clock,
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
        defragmentation=Defragmentation(disk, store.rewriter, lambda: parts.machine),
        quota=quota,
        auto_compaction=auto_compaction,
        hub=hub,
        tokens=tokens,
        passwords=Passwords(limits.bcrypt_cost),
        machine=machine,
        new_backup=lambda: backup_of(
            store.view.read_snapshot(), spool(), minor_version(ETCD_VERSION)
        ),
        new_machine=lambda index: Machine(store.view, index, config.member_id, tally),
        adopt_conf=adopt_conf,
        reporter=reporter,
        member_id=config.member_id,
        conf=disk.initial_state()[1],
    )
    return parts


def make_tokens(limits: Limits, clock: Callable[[], float]) -> Tokens:
    """What gives clients their tokens.

    Raises:
        ConfigError: the option, or a key that it names, cannot be used.
    """
    option = parse(limits.auth_token)
    if option.kind == SIMPLE:
        return SimpleTokens(limits.auth_token_ttl_ms / 1000, clock)
    from node.jwt_tokens import JwtTokens  # as large as the rest of a member

    return JwtTokens(option)


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
