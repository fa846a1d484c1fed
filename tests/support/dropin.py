"""Members that are started one by one: `conclave-etcd`, and the real etcd with the same flags."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from node.client import ClientError, EtcdClient
from node.proto import rpc
from tests.support.etcd_process import BINARY, free_ports
from tests.support.etcdctl import Etcdctl

CONCLAVE = (sys.executable, "-P", "-m", "tools.etcd")
ETCD = (str(BINARY),)
READY = "ready to serve client requests"
DEADLINE_S = 60.0
"""Only ends a hang: no test looks at how long anything took."""
PAUSE_S = 0.01
Found = TypeVar("Found")


class Started:
    """One process; its log is a file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def lines(self) -> list[dict[str, Any]]:
        """What has been logged, as far as it is JSON."""
        complete = self._log.read_text().rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in complete if line.startswith("{")]

    def line(self, message: str) -> dict[str, Any]:
        """The first line with this message, waited for."""

        def logged() -> dict[str, Any] | None:
            return next((line for line in self.lines() if line["msg"] == message), None)

        until(lambda: logged() is not None or self.process.poll() is not None)
        found = logged()  # once more: it may have been the last word
        assert found is not None, f"no {message!r}: {self._log.read_text()[-2000:]}"
        return found

    def ready(self) -> Started:
        """Wait until it serves."""
        self.line(READY)
        return self

    def terminate(self) -> int:
        """Ask it to end; returns what its parent sees."""
        self.process.terminate()
        return self.ended()

    def kill(self) -> None:
        """End it without notice."""
        self.process.kill()
        self.ended()

    def ended(self) -> int:
        """Wait for its end."""
        return self.process.wait(DEADLINE_S)


class Fixture:
    """What starts etcd itself, as test fixtures do. Close it."""

    def __init__(self, directory: Path, program: Sequence[str] = CONCLAVE) -> None:
        self.directory = directory
        self._program = program
        self._started: list[Started] = []

    def start(self, *flags: str, **environment: str) -> Started:
        """Start the program in the directory; does not wait."""
        log = self.directory / f"{len(self._started)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*self._program, *flags],
                cwd=self.directory,
                env=clean() | environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self._started.append(Started(process, log))
        return self._started[-1]

    def run(self, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the program to its end."""
        return subprocess.run(
            [*self._program, *flags],
            cwd=self.directory,
            env=clean() | environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )

    def close(self) -> None:
        for started in self._started:
            started.process.kill()
            started.process.wait()


class Seat:
    """The flags of one member that keeps its ports."""

    def __init__(self, name: str) -> None:
        self.name = name
        client, peer = free_ports(2)
        self.endpoint = f"127.0.0.1:{client}"
        self.client_url, self.peer_url = f"http://{self.endpoint}", f"http://127.0.0.1:{peer}"

    def flags(self, *seats: Seat, existing: bool = False) -> list[str]:
        """In a cluster of these; alone unless any are named."""
        listed = ",".join(f"{seat.name}={seat.peer_url}" for seat in seats or (self,))
        return [
            f"--name={self.name}",
            f"--listen-client-urls={self.client_url}",
            f"--advertise-client-urls={self.client_url}",
            f"--listen-peer-urls={self.peer_url}",
            f"--initial-advertise-peer-urls={self.peer_url}",
            f"--initial-cluster={listed}",
            *(["--initial-cluster-state=existing"] if existing else []),
        ]

    @property
    def etcdctl(self) -> Etcdctl:
        """The command line of users, at this member."""
        return Etcdctl([self.endpoint])

    def client(self) -> EtcdClient:
        return EtcdClient([self.endpoint], timeout_s=DEADLINE_S)

    def members(self) -> dict[str, dict[str, Any]]:
        """MemberList by name, as etcdctl shows it; "" = not started."""
        document = json.loads(self.etcdctl.done("member", "list", "-w", "json"))
        return {member.get("name", ""): member for member in document["members"]}

    def known(self, *names: str) -> dict[str, dict[str, Any]]:
        """MemberList once it has these names, which a member publishes after its start."""

        def looked() -> dict[str, dict[str, Any]]:
            rows = self.members()
            return rows if {*names} <= {*rows} else {}

        return until(looked)


class Trio:
    """Three members, up."""

    def __init__(self, fixture: Fixture, *flags: str) -> None:
        self.fixture = fixture
        self.flags = flags
        self.seats = [Seat(name) for name in ("m1", "m2", "m3")]
        self.started = [self.start(seat) for seat in self.seats]
        for started in self.started:
            started.ready()

    def start(self, seat: Seat) -> Started:
        return self.fixture.start(*seat.flags(*self.seats), *self.flags)

    def client(self) -> EtcdClient:
        """At whoever is reachable."""
        return EtcdClient([seat.endpoint for seat in self.seats], timeout_s=60)

    def leader(self) -> int:
        """The position of the member that leads, waited for."""

        def looked() -> int | None:
            for at, seat in enumerate(self.seats):
                if self.started[at].process.poll() is None:
                    with seat.client() as client:
                        status = client.status()
                    if status.leader == status.header.member_id:
                        return at + 1
            return None

        return (until(looked) or 0) - 1


def clean() -> dict[str, str]:
    """The environment without what would be taken for flags."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ETCD")}


def until(look: Callable[[], Found]) -> Found:
    """Look until there is something, and return it."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := look()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(PAUSE_S)
    return found


def put(client: EtcdClient, key: str, value: str) -> None:
    client.put(rpc.PutRequest(key=key.encode(), value=value.encode()))


def get(client: EtcdClient, key: str) -> str:
    found = client.range(rpc.RangeRequest(key=key.encode())).kvs
    return bytes(found[0].value).decode() if found else ""


def written(client: EtcdClient, key: str, value: str) -> None:
    """Write until it is answered: a leader may be on its way."""

    def attempt() -> bool:
        try:
            put(client, key, value)
        except ClientError:
            return False
        return True

    until(attempt)


INTERRUPTED = -signal.SIGINT
TERMINATED = -signal.SIGTERM
