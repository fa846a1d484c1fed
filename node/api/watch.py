"""etcdserverpb.Watch: one call is one watch stream of the hub.

All of watching (ids, order, catching up, progress) is the hub's; here are only the two ends of the
wire. A client that half-closes still gets its events: only cancelling ends a watch stream.
"""

from __future__ import annotations

from node.api.call import StreamCall
from node.api.member import Member
from node.proto import rpc


class Watch:
    """Watch."""

    def __init__(self, member: Member) -> None:
        """Serve `member`."""
        self._member = member

    def watch(self, call: StreamCall) -> WatchStream:
        """Open a stream of watchers."""
        return WatchStream(self._member, call)


class WatchStream:
    """One client's watchers; responses go straight from the hub into the call."""

    def __init__(self, member: Member, call: StreamCall) -> None:
        """Open a stream at the hub."""
        self._member = member
        self._id = member.open_watch(call.send)

    def received(self, message: bytes) -> None:
        """Create, cancel or ask for progress."""
        self._member.watch_request(self._id, rpc.WatchRequest.FromString(message))

    def half_closed(self) -> None:
        """Events keep flowing: the JSON gateway sends one request and listens for ever."""

    def pause(self) -> None:
        """The client does not read: its watchers fall behind and catch up later."""
        self._member.pause_watch(self._id)

    def resume(self) -> None:
        """The client reads again."""
        self._member.resume_watch(self._id)

    def closed(self) -> None:
        """Cancel every watcher of the stream."""
        self._member.close_watch(self._id)
