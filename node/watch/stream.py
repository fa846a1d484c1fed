"""One client's watch stream: its watchers, their ids, and how much it has been given."""

from __future__ import annotations

from node.proto import rpc
from node.watch import response
from node.watch.watcher import Watcher, watched_interval

TURN_BYTES_MAX = 4 << 20
"""What one stream may get in one turn; more makes its watchers catch up later."""
FRAGMENT_BYTES_MAX = 1_572_864 + 512 * 1024
"""Where etcd splits the response of a watcher that allows it: its largest message."""


class Stream:
    """One client's watchers."""

    __slots__ = ("fragment_bytes_max", "id", "next_id", "parked", "paused", "queued", "watchers")

    def __init__(self, stream_id: int, fragment_bytes_max: int) -> None:
        """Begin without watchers."""
        self.id = stream_id
        self.fragment_bytes_max = fragment_bytes_max
        self.watchers: dict[int, Watcher] = {}
        self.next_id = 0
        self.paused = False
        self.queued = 0
        """Bytes of output that have not been taken."""
        self.parked: dict[Watcher, None] = {}
        """Watchers that are behind and wait for the stream to be resumed."""

    @property
    def lagging(self) -> bool:
        """Whether nothing that can wait may be added to the output."""
        return self.paused or self.queued > TURN_BYTES_MAX

    def objection(self, request: rpc.WatchCreateRequest) -> str:
        """Why a create request cannot be accepted; "" = it can."""
        lo, hi = watched_interval(request)
        if hi is not None and hi <= lo:
            return response.EMPTY_INTERVAL
        if request.watch_id and request.watch_id in self.watchers:
            return response.DUPLICATE_ID
        if request.start_revision < 0:
            return response.COMPACTED
        return ""

    def free_id(self) -> int:
        """The next id that the client has not taken itself; counts from 0."""
        while self.next_id in self.watchers:
            self.next_id += 1
        self.next_id += 1
        return self.next_id - 1
