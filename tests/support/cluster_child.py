"""A tiny program for the supervisor to supervise: the report protocol, and nothing behind it.

Its "leader" is whoever holds a lock in the run directory, its "write" is a byte echoed on the
client port. What a test wants of it lies in the file `orders` beside its data directory: "refuse"
(quarantined, exit 71), "crash" (exit 1), "stubborn" (ignores SIGTERM). SIGUSR1 makes it report that
it stepped down, and write no page any more.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import msgspec

from cluster.entry import Descriptor, leave_parents
from cluster.errors import ClusterError
from cluster.program import NODE, Program
from node.config import NodeConfig
from node.telemetry import RoleCode, Status, StatusPage

TURN_S = 0.005


class Child:
    """One tiny node."""

    def __init__(self, config: NodeConfig, lifeline: int, report: int) -> None:
        self.config = config
        self.lifeline = lifeline
        self.report_fd = report
        self.term = 0
        self.leads = False
        self.stopping = False
        self.silent = False
        self.lock = os.open(Path(config.run_directory, "lead"), os.O_RDWR | os.O_CREAT)
        self.page = StatusPage(config.page_path)
        self.port = socket.socket()
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            self.port.setsockopt(socket.SOL_SOCKET, option, 1)

    def run(self) -> None:
        """Serve until SIGTERM, SIGINT or the end of the lifeline."""
        self.port.bind((self.config.spec.client_host, self.config.spec.client_port))
        self.port.listen()
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        signal.signal(signal.SIGUSR1, self.step_down)
        self.report("serving", pid=os.getpid(), bootstrap=self.config.bootstrap)
        while not self.stopping:
            self.campaign()
            self.publish()
            port = self.port.fileno()
            ready, _, _ = select.select([self.lifeline, port], [], [], TURN_S)
            if self.lifeline in ready:
                os._exit(143)
            if port in ready:
                client, _ = self.port.accept()
                client.sendall(client.recv(1))
                client.close()

    def stop(self, *_: object) -> None:
        self.stopping = orders(self.config) != "stubborn"

    def step_down(self, *_: object) -> None:
        self.silent = True
        self.report("raft.stepdown", term=self.term)

    def campaign(self) -> None:
        if self.leads:
            return
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        self.term = int(os.pread(self.lock, 20, 0) or b"0") + 1
        os.pwrite(self.lock, b"%d" % self.term, 0)
        self.leads = True
        self.report("leader.elected", term=self.term)

    def publish(self) -> None:
        if self.silent:
            return
        now_ns = time.monotonic_ns()
        self.page.publish(
            Status(
                pid=os.getpid(),
                member_id=self.config.member_id,
                incarnation=1,
                started_at_ns=now_ns,
                updated_at_ns=now_ns,
                role=RoleCode.LEADER if self.leads else RoleCode.FOLLOWER,
                term=self.term,
                commit=7,
                applied=7,
            )
        )
        for peer in self.config.members:
            if peer.id != self.config.member_id and self.leads:
                self.page.answered(peer.id, now_ns, 300_000)

    def report(self, event: str, **facts: object) -> None:
        os.write(self.report_fd, json.dumps({"event": event, **facts}).encode() + b"\n")


def orders(config: NodeConfig) -> str:
    """What the test wants of this node."""
    path = Path(config.data_directory).with_name("orders")
    return path.read_text() if path.exists() else ""


def enter(payload: bytes, lifeline: Descriptor, report: Descriptor) -> NoReturn:
    """The forked child's main function."""
    config = msgspec.msgpack.decode(payload, type=NodeConfig)
    leave_parents(f"tiny-{config.spec.name}", config.log_path, lifeline, report)
    code = 0
    match orders(config):
        case "refuse":
            line = {"event": "quarantined", "reason": "the disk is behind its mark"}
            os.write(report.fileno(), json.dumps(line).encode() + b"\n")
            code = 71
        case "crash":
            code = 1
        case _:
            os.write(1, b"serves\n")
            Child(config, lifeline.fileno(), report.fileno()).run()
    os._exit(code)


def commit_write(endpoint: str) -> None:
    """Raises: ClusterError: nobody echoed."""
    host, _, port = endpoint.partition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1) as client:
            client.sendall(b"w")
            echoed = client.recv(1)
    except OSError as error:
        raise ClusterError(str(error)) from error
    if echoed != b"w":
        raise ClusterError("no echo")


def move_leader(endpoint: str, member_id: int, timeout_s: float) -> None:
    """This program has no way to hand over."""
    raise ClusterError(f"{endpoint} cannot hand over to {member_id:x} within {timeout_s:g} s")


def load() -> None:
    """Nothing to load."""


TINY: Program = replace(
    NODE,
    enter=enter,
    load=load,
    commit_write=commit_write,
    move_leader=move_leader,
    known=lambda tls, token: TINY,
)
