"""Operating errors of the supervisor: each carries facts and crosses the management socket.

An error has a stable `code` (what programs match on), the `exit_code` that a command ends with, a
message that says what failed, a hint that names the next command, and data. The daemon turns it
into a document once, at the socket; the client turns the document back into the same class.
"""

from __future__ import annotations

from typing import Any, ClassVar


class ClusterError(Exception):
    """Root of the tree; on its own it means: failed for a reason nobody foresaw."""

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.data = data or {}

    def document(self) -> dict[str, Any]:
        """The error as the management API answers it."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "data": self.data,
        }


class Forbidden(ClusterError):
    """The management socket serves the user who started the supervisor, and root."""

    code = "forbidden"


class StartFailed(ClusterError):
    """The daemon or a node ended before the cluster was ready."""

    code = "start-failed"


class BadRequest(ClusterError):
    """An unknown verb, an unknown parameter, a malformed selector or condition."""

    code = "bad-request"
    exit_code = 2


class NotRunning(ClusterError):
    """No supervisor answers for this cluster."""

    code = "not-running"
    exit_code = 3


class NoSuchNode(ClusterError):
    """A selector names or resolves to nothing; data: `selector`, `nodes`."""

    code = "no-such-node"
    exit_code = 3


class WaitTimeout(ClusterError):
    """A condition did not come true in time; data: `condition`, `status`."""

    code = "timeout"
    exit_code = 4


class PartlyDone(ClusterError):
    """Some of the nodes failed; data: `done` and `failed` (name → reason)."""

    code = "partly-done"
    exit_code = 5


class Degraded(ClusterError):
    """The cluster runs, but cannot do what was asked without a quorum or a leader."""

    code = "degraded"
    exit_code = 6


class NotReady(Degraded):
    """A learner has not caught up yet."""

    code = "not-ready"


class Conflict(ClusterError):
    """Something exists or runs already, or belongs to someone else."""

    code = "conflict"
    exit_code = 7


class Held(Conflict):
    """Another supervisor owns the directory; data: `directory`, `pid`."""

    code = "held"


class PortHeld(Conflict):
    """A remembered port belongs to a stranger; data: `port`, `pid`, `program` where known."""

    code = "port-held"


class Stopping(Conflict):
    """The cluster is on its way down: nothing is started in it any more."""

    code = "stopping"


class InvariantViolated(Exception):
    """Something that cannot happen has happened; the process must end."""


def check(condition: bool, message: str) -> None:
    """Die by an error that no `-O` flag removes.

    Raises:
        InvariantViolated: the condition does not hold.
    """
    if not condition:
        raise InvariantViolated(message)


def _tree(root: type[ClusterError]) -> dict[str, type[ClusterError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


def error_from(document: dict[str, Any]) -> ClusterError:
    """The error that a daemon's error document stands for; an unknown code keeps its text."""
    kind = _tree(ClusterError).get(str(document.get("code")), ClusterError)
    return kind(
        str(document.get("message", "the supervisor failed")),
        hint=str(document.get("hint", "")),
        data=dict(document.get("data") or {}),
    )
