"""Clients that write without a pause and remember what was acknowledged.

Each write has a key of its own, so that what is found later tells everything: an acknowledged key
must be there with its value and at its revision, an unknown one may be there, and a key that nobody
wrote must not.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import monotonic
from types import TracebackType
from typing import Self

from node.client import ClientError, EtcdClient
from node.proto import rpc
from tests.support.live_cluster import DEADLINE_S, Record

CALL_S = 3.0
"""Patience with one write, so that a writer whose endpoint hangs goes on with another."""


class Writers:
    """Threads with one client each; every client prefers another endpoint."""

    def __init__(
        self,
        endpoints: Sequence[str],
        count: int = 3,
        prefix: str = "w",
        *,
        patience_s: float = CALL_S,
    ) -> None:
        """Write below `prefix`/, with so much patience for each write."""
        self.prefix = prefix
        self.failures: list[ClientError] = []
        """Of writes whose outcome is not known."""
        self.slowest_s = 0.0
        """What the slowest acknowledged write took."""
        self._patience_s = patience_s
        self.acknowledged: dict[bytes, int] = {}
        """Key → revision."""
        self.tried: dict[bytes, bytes] = {}
        self._news = threading.Condition()
        self._stopping = False
        turned = [[*endpoints[n:], *endpoints[:n]] for n in range(len(endpoints))]
        self._threads = [
            threading.Thread(target=self._run, args=(n, turned[n % len(turned)]), daemon=True)
            for n in range(count)
        ]

    def __enter__(self) -> Self:
        """Start to write."""
        for thread in self._threads:
            thread.start()
        self.more(len(self._threads))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; every write has an outcome, or none for ever, when this returns."""
        self._stopping = True
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()

    def more(self, count: int = 20) -> None:
        """Wait until so many further writes were acknowledged."""
        deadline = monotonic() + DEADLINE_S
        with self._news:
            wanted = len(self.acknowledged) + count
            while len(self.acknowledged) < wanted:
                assert self._news.wait(deadline - monotonic()), "writes are not acknowledged"

    def assert_nothing_lost(self, contents: Sequence[Record]) -> None:
        """Compare what was acknowledged with what is there."""
        prefix = f"{self.prefix}/".encode()
        found = {record.key: record for record in contents if record.key.startswith(prefix)}
        lost = sorted(set(self.acknowledged) - set(found))
        assert lost == [], f"lost {len(lost)} of {len(self.acknowledged)}: {lost[:5]}"
        for key, revision in self.acknowledged.items():
            assert found[key].mod_revision == revision
        for key, record in found.items():
            assert record.value == self.tried[key]
            assert record.version == 1, f"{key!r} was written twice"

    def _run(self, writer: int, endpoints: Sequence[str]) -> None:
        with EtcdClient(endpoints, timeout_s=self._patience_s) as client:
            number = 0
            while not self._stopping:
                number += 1
                self._write(client, f"{self.prefix}/{writer}/{number:06}".encode())

    def _write(self, client: EtcdClient, key: bytes) -> None:
        value = b"of " + key
        self.tried[key] = value
        began = monotonic()
        try:
            answer = client.put(rpc.PutRequest(key=key, value=value))
        except ClientError as error:
            self.failures.append(error)
            return  # nobody knows: it may be found later, and may not
        with self._news:
            self.slowest_s = max(self.slowest_s, monotonic() - began)
            self.acknowledged[key] = answer.header.revision
            self._news.notify_all()
