"""etcdserverpb.Watch: one call is one watch stream of the hub.

All of watching (ids, order, catching up, progress) is the hub's; here are only the two ends of the
wire. A client that half-closes still gets its events: only cancelling ends a watch stream.
"""

from __future__ import annotations

from node.api.call import StreamCall
from node.api.errors import Fault, fault_of
from node.api.identity import identity
from node.api.member import Member
from node.machine.envelope import Credential
from node.machine.errors import Refusal
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
        self._call = call
        self._id = member.open_watch(call.send)

    def received(self, message: bytes) -> None:
        """Create, cancel or ask for progress."""
        request = rpc.WatchRequest.FromString(message)
        if self._member.machine.auth.enabled and request.HasField("create_request"):
            identity(self._call, lambda found: self._judge(request, found))
        else:
            self._member.watch_request(self._id, request)

    def _judge(self, request: rpc.WatchRequest, found: Credential | Refusal | None) -> None:
        """Make a watcher if its client may read the keys now; later changes do not end it. The
        stream goes on in any case."""
        if self._call.over:
            return
        create = request.create_request
        if isinstance(found, Refusal):
            refusal: Refusal | None = found
        else:
            refusal = self._member.machine.access.watch(found, create)
        if refusal is None or create.start_revision < 0:  # etcd refuses that first
            self._member.watch_request(self._id, request)
        else:
            self._member.reject_watch(self._id, go_text(fault_of(refusal)))

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


def go_text(fault: Fault) -> str:
    """An error as Go's clients print it, which is what etcd puts into a watch's cancel reason."""
    code = "".join(word.capitalize() for word in fault.status.name.split("_"))
    return f"rpc error: code = {code} desc = {fault.text}"
