"""Shared memory of the nodes: status pages and arenas, as memfds that only the supervisor owns.

A memfd has no name, so nothing stays in /dev/shm whatever dies in whatever order; nodes and readers
open it as /proc/<supervisor>/fd/<n>, which also works for a node that is forked much later. It is
reserved in full at creation, so that a full machine refuses here and not by a SIGBUS in a node.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from cluster.errors import StartFailed

Create = Callable[[int], None]
"""Lays a fresh memfd out, given its descriptor."""


class Pages:
    """Memfds by (node, kind); they live until `close` or the supervisor's end."""

    def __init__(self) -> None:
        self._descriptors: dict[tuple[str, str], int] = {}

    def create(self, node: str, kind: str, create: Create) -> str:
        """Make one memfd and return the path by which others open it.

        Raises:
            StartFailed: no memory for it.
        """
        descriptor = os.memfd_create(
            f"conclave-{node}-{kind}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        )
        try:
            create(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise StartFailed(f"no shared memory for {node}'s {kind}: {error.strerror}") from error
        self._descriptors[node, kind] = descriptor
        return self.path(node, kind)

    def drop(self, node: str) -> None:
        """Let go of all that a node had."""
        for key in [key for key in self._descriptors if key[0] == node]:
            os.close(self._descriptors.pop(key))

    def path(self, node: str, kind: str) -> str:
        """Where any process of this user can open it."""
        return f"/proc/{os.getpid()}/fd/{self._descriptors[node, kind]}"

    def close(self) -> None:
        """Let go; the memory is freed when the last process that maps it has ended."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()
