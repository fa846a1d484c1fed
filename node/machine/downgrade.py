"""The downgrade that an operator has announced: a target, until it is cancelled.

etcd lets members be replaced by those of the minor release before, one by one, once a downgrade is
enabled, and then lowers the version of the cluster. Members here are of one version only, so that
nothing follows from the announcement: it stands, and is shown, until it is taken back.

Source: etcd server/etcdserver/version (manager.go, downgrade.go), cluster_util.go.
"""

from __future__ import annotations

import re

from node.machine.answer import Operation
from node.machine.errors import (
    DowngradeInProgress,
    InvalidDowngradeTarget,
    NoDowngrade,
    Refusal,
    WrongVersionFormat,
)
from node.machine.record import DOWNGRADE_TARGET
from node.machine.view import View
from node.proto import rpc

_NAMES = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = re.compile(rf"([0-9]+)\.([0-9]+)(?:\.[0-9]+(?:-{_NAMES})?(?:\+{_NAMES})?)?")


def parse_target(text: str) -> str | Refusal:
    """3.5.0 for 3.5 or 3.5.21: versions of clusters have no patches. Refuses by
    WrongVersionFormat."""
    match = _VERSION.fullmatch(text) if text.isascii() else None
    if match is None:
        return WrongVersionFormat()
    return f"{int(match[1])}.{int(match[2])}.0"


class Downgrade:
    """The announcement, in memory beside its record."""

    __slots__ = ("target",)

    def __init__(self, view: View) -> None:
        """Load."""
        self.target = (view.get(DOWNGRADE_TARGET) or b"").decode()
        """major.minor.0; "" = nothing is announced."""

    def check(self, target: str, cluster_version: str) -> Refusal | None:
        """Why a downgrade of a cluster of this version cannot be announced; both are major.minor.0.

        Refuses by InvalidDowngradeTarget, DowngradeInProgress.
        """
        major, minor, _ = cluster_version.split(".")
        if target != f"{major}.{int(minor) - 1}.0":
            return InvalidDowngradeTarget()
        return DowngradeInProgress() if self.target else None

    def apply(self, request: rpc.DowngradeRequest) -> list[Operation] | Refusal:
        """Announce (ENABLE) or take back (CANCEL); the effects. The target has been judged.

        Refuses by DowngradeInProgress, NoDowngrade: another request was first.
        """
        if request.action == rpc.DowngradeRequest.ENABLE:
            if self.target:
                return DowngradeInProgress()
            self.target = request.version
            return [(DOWNGRADE_TARGET, self.target.encode())]
        if not self.target:
            return NoDowngrade()
        self.target = ""
        return [(DOWNGRADE_TARGET, None)]
