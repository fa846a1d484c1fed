"""Taking and leaving a cluster's directories: who may, what a dead supervisor left, what goes.

Two locks, both dropped by the kernel however their holder ends: one in the data directory, because
two supervisors on the same data would be two clusters with one memory; one in the runtime
directory, because the name and the sockets belong to one cluster at a time.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster.config import ClusterConfig, ClusterPaths, read_json, write_json
from cluster.errors import ClusterError, Conflict, Held, StartFailed
from cluster.launch import holder, remove_data
from transport.claim import Claim, Claimed

CLAIM_LOOKS = 5
CLAIM_PAUSE_S = 0.01


class Occupation:
    """Both directories, held until `leave`."""

    def __init__(self, config: ClusterConfig, paths: ClusterPaths) -> None:
        """Take them; sweep what dead supervisors left in the runtime root.

        Raises:
            Held: another supervisor has one of them; data: `pid`, `directory`.
            StartFailed: one cannot be made or written.
            Conflict: a directory belongs to another user, or others may look into it.
        """
        self._paths = paths
        with _told(paths.data):
            paths.data.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._data_claim = _claim(paths.lock, paths.data)
        try:
            with _told(paths.runtime):
                private_directory(paths.runtime.parent)
                private_directory(paths.runtime)
                self._runtime_claim = _claim(paths.pid, paths.runtime)
        except ClusterError:
            self._data_claim.close()
            raise
        sweep(paths.runtime.parent)
        _empty(paths.runtime, keep=paths.pid.name)
        pointer = {"directory": str(paths.data), "ephemeral": config.ephemeral}
        write_json(paths.pointer, {"name": config.name, **pointer})

    def leave(self, *, wipe: bool) -> None:
        """Remove the runtime directory, and with `wipe` the data too, then let go."""
        if wipe:
            remove_data(self._paths.data)
        shutil.rmtree(self._paths.runtime, ignore_errors=True)
        self._runtime_claim.close()
        self._data_claim.close()


def private_directory(path: Path) -> None:
    """Make sure that a directory is there, is ours, and is closed to others.

    /tmp is open to everybody: whoever made the directory first would own our sockets.

    Raises:
        Conflict: it is not so.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Conflict(f"{path} is not a directory of this user", hint=f"remove {path}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)


def sweep(root: Path) -> list[str]:
    """Remove the runtime directories of dead supervisors, and what was ephemeral; their names."""
    swept = []
    for pointer in sorted(root.glob("*/cluster.json")):
        if holder(pointer.parent / "pid") is not None:
            continue
        with suppress(OSError, ValueError, KeyError):
            document = read_json(pointer)
            if document["ephemeral"]:
                remove_data(Path(document["directory"]))
        shutil.rmtree(pointer.parent, ignore_errors=True)
        swept.append(pointer.parent.name)
    return swept


@contextmanager
def _told(directory: Path) -> Iterator[None]:
    """Turn the system's refusal of a directory into one that says which."""
    try:
        yield
    except OSError as error:
        raise StartFailed(
            f"cannot use {directory}: {error.strerror}",
            hint="conclave doctor; XDG_RUNTIME_DIR and --data say where the directories are",
        ) from error


def _claim(path: Path, directory: Path) -> Claim:
    """Take a lock.

    Whoever asks who holds it (`holder`: `conclave ls`, a completion) shares it for a moment, which
    must not look like another supervisor.
    """
    for _ in range(CLAIM_LOOKS - 1):
        with suppress(Claimed):
            return Claim(str(path))
        time.sleep(CLAIM_PAUSE_S)
    try:
        return Claim(str(path))
    except Claimed as error:
        pid = int(error.holder) if error.holder.isdigit() else None
        raise Held(
            f"{directory} is in use by supervisor {pid or 'unknown'}",
            hint="conclave status, or choose another name (-c) or directory (--data)",
            data={"directory": str(directory), "pid": pid},
        ) from error


def _empty(directory: Path, keep: str) -> None:
    for path in directory.iterdir():
        if path.name != keep:
            path.unlink()
