"""grpc.health.v1.Health: the server as a whole serves until it stops, unless its state is corrupt;
services have no state."""

from __future__ import annotations

from node.api.call import Call, StreamCall
from node.api.errors import Fault
from node.api.member import Member
from node.proto import health
from transport.grpc import Status

_SERVING = health.HealthCheckResponse.ServingStatus.SERVING
_NOT_SERVING = health.HealthCheckResponse.ServingStatus.NOT_SERVING
_UNKNOWN = health.HealthCheckResponse.ServingStatus.SERVICE_UNKNOWN

UNKNOWN_SERVICE = Fault(Status.NOT_FOUND, "unknown service")


class Health:
    """Check, Watch. The only known service name is "", the server itself."""

    def __init__(self, member: Member) -> None:
        """Begin serving."""
        self._member = member
        self._watchers: set[HealthWatch] = set()
        self._stopped = False
        self._told = False

    def check(self, call: Call, message: bytes) -> None:
        """Tell whether the server serves."""
        if health.HealthCheckRequest.FromString(message).service:
            call.fail(UNKNOWN_SERVICE)
        else:
            call.reply(self.encoded(""))

    def watch(self, call: StreamCall) -> HealthWatch:
        """Tell now, and again when it stops."""
        return HealthWatch(self, call, self._watchers)

    def stop(self) -> None:
        """The server takes no more calls: tell those who watch."""
        self._stopped = True
        for watcher in list(self._watchers):
            watcher.tell()

    def poll(self) -> None:
        """Tell those who watch when the alarm is raised or disarmed."""
        if self._member.accused is not self._told:
            self._told = self._member.accused
            for watcher in list(self._watchers):
                watcher.tell()

    def encoded(self, service: str) -> bytes:
        """The state of a service as a response."""
        serves = not self._stopped and not self._member.accused
        status = _UNKNOWN if service else _SERVING if serves else _NOT_SERVING
        return health.HealthCheckResponse(status=status).SerializeToString()


class HealthWatch:
    """One client that watches one service name; it never half-ends by itself."""

    def __init__(self, owner: Health, call: StreamCall, watchers: set[HealthWatch]) -> None:
        """Wait for the one request."""
        self._owner = owner
        self._call = call
        self._watchers = watchers
        self._service = ""

    def received(self, message: bytes) -> None:
        """Begin to tell."""
        self._service = health.HealthCheckRequest.FromString(message).service
        self._watchers.add(self)
        self.tell()

    def tell(self) -> None:
        """Send the state of this moment."""
        self._call.send(self._owner.encoded(self._service))

    def half_closed(self) -> None:
        """A server stream's client says nothing after its request."""

    def pause(self) -> None:
        """Nothing to hold back: a message is some bytes, and alarms are rare."""

    def resume(self) -> None:
        """See `pause`."""

    def closed(self) -> None:
        """Stop telling."""
        self._watchers.discard(self)
