"""A cluster brought up by the command line, and everything a test wants to know about it.

The cluster is real: a supervisor, a zygote and nodes as processes, sockets in a runtime directory,
LevelDB in a data directory. Whoever makes one closes it; `close` ends every process that belongs
to it and fails if any of them had to be killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from time import monotonic

import psutil

from cluster.client import ClusterClient
from cluster.document import Event, NodeDocument, StatusDocument
from cluster.errors import ClusterError, WaitTimeout
from node.proto import rpc
from tests.support.api_client import ApiClient
from tests.support.conclave_process import ConclaveHome
from tools.cli.exit import Exit
from transport.tls import ClientFiles

DEADLINE_S = 60.0
"""Only ends a hang: no test looks at how long anything took."""
LOOK_MS = 50
PORTS = range(10_000, 20_000, 16)
"""Away from those that are taken by default, and from those that the kernel hands out."""
BLOCKS: Iterator[int] = cycle(
    [*PORTS[os.getpid() * 37 % len(PORTS) :], *PORTS[: os.getpid() * 37 % len(PORTS)]]
)
"""Each process begins elsewhere."""


@dataclass(frozen=True, order=True)
class Record:
    """All that a member knows about one key."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


class LiveCluster:
    """One cluster in a home of its own."""

    def __init__(self, directory: Path, name: str, size: int = 3) -> None:
        """Make the home; nothing runs yet."""
        directory.mkdir(parents=True, exist_ok=True)
        self.home = ConclaveHome(directory)
        self.name = name
        self.size = size
        self.runtime = self.home.runtime / "conclave" / name
        self.data = directory / "data" / "conclave" / name
        self.client = ClusterClient(name, socket=self.runtime / "ctl.sock")
        self.port_base = free_block(size)
        self._numbers = count(1)

    # Life.

    def up(self, *arguments: str) -> str:
        """Bring it up as a user does; returns what was printed.

        Ports that were free a moment ago may not be any more: the first time, others will do.
        """
        settled = (self.data / "ports.json").exists()
        ran = self.home(*self.up_command, *arguments)
        while not settled and ran.returncode == Exit.CONFLICT and "is held" in ran.stderr:
            self.port_base = free_block(self.size)
            ran = self.home(*self.up_command, *arguments)
        assert ran.returncode == Exit.DONE, f"{ran.stdout}{ran.stderr}"
        return ran.stdout

    @property
    def up_command(self) -> list[str]:
        """Ports are given, so that a cluster that is down for a moment finds its own free again."""
        return ["up", "-n", str(self.size), "-c", self.name, "--ports", str(self.port_base)]

    def down(self) -> None:
        """Take it down and look for what should be gone."""
        leaks = self.shared_memory_files()
        self.home.done("down", "-c", self.name)
        assert self.processes() == []
        assert not self.runtime.exists()
        assert leaks == []

    def close(self) -> None:
        """Leave nothing behind, whatever the test did.

        Raises:
            AssertionError: something was left behind and had to be removed by force.
        """
        try:
            if self.client_answers():
                self.down()
        finally:
            left = self.processes()
            end_all(left)
            shutil.rmtree(self.home.runtime, ignore_errors=True)
            shutil.rmtree(self.data, ignore_errors=True)
        assert left == [], f"left running: {left}"

    def heal(self) -> None:
        """Have all nodes run, agree and lead again."""
        self.client.resume(["all"])
        self.client.start(["all"])
        self.client.wait("ready")
        self.client.wait("converged")

    def client_answers(self) -> bool:
        """Whether a supervisor listens."""
        try:
            self.client.ping()
        except ClusterError:
            return False
        return True

    # Processes.

    def processes(self) -> list[psutil.Process]:
        """Every living process that was started in this home, children of children included."""
        mark = f"XDG_RUNTIME_DIR={self.home.runtime}".encode()
        return [process for process in psutil.process_iter() if mark in environment_of(process)]

    def pid(self, node: str) -> int:
        """Process id of a running node."""
        pid = self.node(node)["pid"]
        assert pid is not None, f"{node} does not run"
        return pid

    def shared_memory_files(self) -> list[str]:
        """What any process of the cluster has open or mapped under /dev/shm: it should be none."""
        found = []
        for process in self.processes():
            with suppress(FileNotFoundError, ProcessLookupError):
                maps = Path(f"/proc/{process.pid}/maps").read_text()
                found += [line for line in maps.splitlines() if "/dev/shm" in line]
                for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
                    with suppress(FileNotFoundError):
                        found += [t for t in [os.readlink(descriptor)] if "/dev/shm" in t]
        return found

    # The supervisor's word.

    def status(self) -> StatusDocument:
        """The status document."""
        return self.client.status()

    def node(self, name: str) -> NodeDocument:
        """One node of it."""
        return self.client.node(name)

    @property
    def names(self) -> list[str]:
        """n1 to nN."""
        return [f"n{number}" for number in range(1, self.size + 1)]

    @property
    def leader(self) -> str:
        """Who leads now."""
        leader = self.status()["leader"]
        assert leader is not None, "nobody leads"
        return leader

    @property
    def followers(self) -> list[str]:
        """All the others."""
        leader = self.leader
        return [name for name in self.names if name != leader]

    @property
    def endpoints(self) -> list[str]:
        """host:port of every node, in node order."""
        return self.status()["endpoints"]

    def endpoint(self, node: str) -> str:
        """host:port of one node."""
        return self.endpoints[self.names.index(node)]

    def port(self, node: str) -> int:
        """Client port of one node."""
        return int(self.endpoint(node).rpartition(":")[2])

    def last_event(self) -> int:
        """`seq` of the newest event, to be given to `await_event`."""
        return max((event["seq"] for event in self.client.events()), default=0)

    def events(self, since: int, kind: str, node: str | None = None) -> list[Event]:
        """Events of a kind after `since`."""
        return [
            event
            for event in self.client.events(since=since)
            if event["type"] == kind and node in (None, event.get("node"))
        ]

    def await_event(self, since: int, kind: str, node: str | None = None) -> Event:
        """The first such event after `since`, as soon as there is one."""
        found: list[Event] = []

        def happened() -> bool:
            found.extend(self.events(since, kind, node))
            return bool(found)

        self.await_true(happened, f"{kind} {node or ''}")
        return found[0]

    def await_true(self, holds: Callable[[], bool], what: str) -> None:
        """Look after every event of the cluster, and often, until something holds."""
        deadline = monotonic() + DEADLINE_S
        while not holds():
            assert monotonic() < deadline, f"did not come about: {what}\n{self.status()}"
            with suppress(WaitTimeout):
                self.client.wait("event *", timeout_ms=LOOK_MS)

    def new_leader(self, old: str) -> str:
        """Wait until somebody else leads and has committed a write."""
        self.await_true(
            lambda: (
                self.status()["leader"] not in (None, old) and self.status()["state"] == "READY"
            ),
            f"a leader after {old}",
        )
        return self.leader

    @property
    def tls(self) -> ClientFiles | None:
        """What a client has to be told; None = the cluster speaks plain text."""
        told = self.status()["tls"]
        if told is None:
            return None
        return ClientFiles(cacert=told["cacert"], cert=told["cert"] or "", key=told["key"] or "")

    # The nodes' word.

    def api(self, node: str) -> ApiClient:
        """A grpcio client of one node."""
        return self.api_at(self.endpoint(node))

    def api_at(self, endpoint: str) -> ApiClient:
        """A grpcio client of whoever answers there."""
        return ApiClient(endpoint.removeprefix("https://"), self.tls)

    def assert_serves(self, node: str) -> None:
        """A put and a get through one node, with the right result."""
        value = str(next(self._numbers)).encode()
        with self.api(node) as api:
            put = api.put(b"serves/" + node.encode(), value)
            (kv,) = api.get(b"serves/" + node.encode()).kvs
        assert (kv.value, kv.mod_revision) == (value, put.header.revision)

    def contents(self, node: str) -> list[Record]:
        """Every key as this node itself has it: a serializable read of its own state.

        A linearizable read before it makes sure that the node has applied all that was
        acknowledged.
        """
        return self.contents_at(self.endpoint(node))

    def contents_at(self, endpoint: str) -> list[Record]:
        """The same of whoever answers there."""
        everything = rpc.RangeRequest(key=b"\0", range_end=b"\0", serializable=True)
        with self.api_at(endpoint) as api:
            api.range(rpc.RangeRequest(key=b"barrier", count_only=True))
            return [
                Record(
                    kv.key,
                    kv.value,
                    kv.create_revision,
                    kv.mod_revision,
                    kv.version,
                    kv.lease,
                )
                for kv in api.range(everything).kvs
            ]

    def assert_equal_contents(self) -> list[Record]:
        """All nodes hold the same; returns it."""
        first, *others = self.names
        expected = self.contents(first)
        for name in others:
            assert self.contents(name) == expected, f"{name} differs from {first}"
        return expected


@contextmanager
def running_cluster(
    directory: Path, name: str, size: int = 3, *arguments: str
) -> Iterator[LiveCluster]:
    """A cluster that is up, and gone afterwards."""
    cluster = LiveCluster(directory, name, size)
    try:
        cluster.up(*arguments)
        yield cluster
    finally:
        cluster.close()


def free_block(size: int) -> int:
    """The first of consecutive ports that nobody has, and that no other cluster here was given."""
    for base in BLOCKS:
        with ExitStack() as stack, suppress(OSError):
            for port in range(base, base + size):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            break
    return base


def environment_of(process: psutil.Process) -> list[bytes]:
    """What a process was started with; nothing of one that has ended or is another user's."""
    try:
        return Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def end_all(processes: list[psutil.Process]) -> None:
    """SIGKILL all at once, and wait until they are gone."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    await_end(processes)


def await_end(processes: list[psutil.Process]) -> None:
    """Wait until processes have ended."""
    _, alive = psutil.wait_procs(processes, timeout=DEADLINE_S)
    assert alive == [], f"still running: {alive}"
