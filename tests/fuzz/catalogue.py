"""All targets by name."""

from __future__ import annotations

from tests.fuzz import disk, http, supervisor
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target for target in (*http.TARGETS, *disk.TARGETS, *supervisor.TARGETS)
}
