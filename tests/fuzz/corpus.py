"""Inputs of a target: seeds made by code, and regressions kept as files.

A regression is an input that once failed. It lies in `regressions/<target>/`, named after its
content, and every short run replays it, so that what was fixed stays fixed.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from tests.fuzz.target import Target

REGRESSIONS = Path(__file__).with_name("regressions")


def seeds(target: Target) -> list[bytes]:
    """What mutations start from: seeds, the empty input, and what failed once."""
    return [*target.seeds(), b"", *regressions(target)]


def regressions(target: Target) -> list[bytes]:
    """Inputs that failed once."""
    return [path.read_bytes() for path in sorted((REGRESSIONS / target.name).glob("*"))]


def keep(target: Target, data: bytes) -> Path:
    """Save an input that fails."""
    path = REGRESSIONS / target.name / sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
