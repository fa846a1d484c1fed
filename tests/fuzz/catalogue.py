"""All targets by name."""

from __future__ import annotations

from tests.fuzz import disk, http, peer, request, supervisor, tls
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for part in (http, tls, request, peer, disk, supervisor)
    for target in part.TARGETS
}
