"""Calls that are measured, for `--metrics extensive`: how long each took to its end.

A class of their own, chosen once for the whole port, so that calls which nobody measures have no
clock to read and nothing to ask. Deadlines, refusals and clients that leave end a call as well.
Source: grpc-ecosystem/go-grpc-prometheus, EnableHandlingTimeHistogram.
"""

from __future__ import annotations

from node.api.call import Call, Link, Method, StreamCall
from node.api.errors import Fault
from transport.grpc import Metadata


class TimedCall(Call):
    """A unary call that notes how long it took."""

    __slots__ = ("_began",)

    def __init__(self, link: Link, call_id: int, method: Method) -> None:
        """Begin now."""
        super().__init__(link, call_id, method)
        self._began = link.member.now()

    def reply(self, message: bytes) -> None:
        """See `Call.reply`."""
        self._note()
        super().reply(message)

    def fail(self, fault: Fault) -> None:
        """See `Call.fail`."""
        self._note()
        super().fail(fault)

    def abandon(self, status: int) -> None:
        """See `Call.abandon`."""
        self._note()
        super().abandon(status)

    def _note(self) -> None:
        if not self.over:
            self.method.durations.add(self.link.member.now() - self._began)


class TimedStreamCall(StreamCall):
    """A streaming call that notes how long it was open."""

    __slots__ = ("_began",)

    def __init__(self, link: Link, call_id: int, method: Method, metadata: Metadata) -> None:
        """Begin now."""
        super().__init__(link, call_id, method, metadata)
        self._began = link.member.now()

    def abandon(self, status: int) -> None:
        """See `StreamCall.abandon`, by which every stream ends."""
        if not self.over:
            self.method.durations.add(self.link.member.now() - self._began)
        super().abandon(status)
