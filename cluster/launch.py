"""Starting a daemon and watching it become ready; finding and removing clusters of this user.

The launcher does as little as it can: it spawns `python -m cluster` with a pipe to report its
progress through, and hands on what comes. The daemon owns every decision (locks, ports, layout),
because only it holds the locks. A launch that does not reach "ready" is undone unless the caller
retains it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from cluster.config import (
    ClusterConfig,
    ClusterPaths,
    check_beginning,
    data_root,
    load,
    paths_of,
    read_json,
    runtime_root,
)
from cluster.document import Progress
from cluster.errors import (
    Conflict,
    Held,
    NotRunning,
    StartFailed,
    Stopping,
    WaitTimeout,
    error_from,
)
from cluster.exchange import request_json

LOG_TAIL_LINES = 8
UNDO_TIMEOUT_S = 10.0
JOIN_PAUSE_S = 0.02
OWN_DIRECTORIES = re.compile(r"n\d+|removed|drills|tls|tls\.new")
SIGNS = ("cluster.json", "supervisor.lock", "supervisor.log")
OWN_FILES = frozenset(
    {
        "cluster.json",
        "ports.json",
        "started.json",
        "supervisor.lock",
        "supervisor.log",
        "events.jsonl",
        "events.1.jsonl",
    }
)


@dataclass(frozen=True, slots=True)
class KnownCluster:
    """A cluster that this user has on this host."""

    name: str
    state: Literal["running", "stopped", "stale"]
    """Stale: its runtime directory outlived its supervisor; the next `up` sweeps it."""
    directory: Path
    socket: Path
    pid: int | None
    """The supervisor's, while it runs."""


def launch(
    config: ClusterConfig, *, timeout_s: float = 30.0, retain: bool = False
) -> Iterator[Progress]:
    """Start a cluster, or find it running; yields until a leader has committed a write.

    The last value's phase is "ready" or "already-up".

    Args:
        retain: keep a cluster that does not become ready, to look at it.

    Raises:
        Held: another supervisor owns the data directory.
        PortHeld: a remembered port belongs to a stranger.
        StartFailed: the daemon ended, or too few nodes came up for a quorum.
        WaitTimeout: not ready in time.
    """
    paths = paths_of(config)
    deadline = time.monotonic() + timeout_s
    while (running := _already_up(config, paths, deadline)) is None:
        try:
            yield from _launch(config, paths, deadline, retain=retain)
        except Held as error:
            if not _others_turn(error, paths):
                raise
            _await_other(paths, deadline)
        else:
            return
    yield running


def _launch(
    config: ClusterConfig, paths: ClusterPaths, deadline: float, *, retain: bool
) -> Iterator[Progress]:
    reader, child = _spawn(config, paths)
    daemon: int | None = None
    ready = False
    try:
        for line in _lines(reader, deadline):
            if "pid" in line:
                daemon = os.pidfd_open(line["pid"])
                continue
            if "error" in line:
                raise error_from(line["error"])
            ready = line["phase"] == "ready"
            yield cast(Progress, line)
            if ready:
                return
        raise StartFailed(
            "the supervisor ended before the cluster was ready",
            hint=f"see {paths.supervisor_log}",
            data={"log": _tail(paths.supervisor_log)},
        )
    finally:
        if not (ready or retain):
            daemon = _introduced(reader) if daemon is None else daemon
            _undo(daemon)
            if config.ephemeral and holder(paths.lock) is None:
                # Killed before it took the directory, which so far holds only its log.
                remove_data(paths.data)
        if daemon is not None:
            os.close(daemon)
        os.close(reader)
        os.waitpid(child, 0)


def known_clusters() -> list[KnownCluster]:
    """All clusters of this user, by name: from runtime directories and the default data root."""
    names = {path.parent.name for path in data_root().glob("*/cluster.json")}
    names |= {path.name for path in runtime_root().glob("*") if path.is_dir()}
    return [describe(name) for name in sorted(names)]


def describe(name: str) -> KnownCluster:
    """What is known about one name, without asking the daemon."""
    runtime = runtime_root() / name
    data = data_root() / name
    with suppress(OSError, ValueError, KeyError):
        data = Path(read_json(runtime / "cluster.json")["directory"])
    pid = holder(runtime / "pid")
    state: Literal["running", "stopped", "stale"] = "stale" if runtime.is_dir() else "stopped"
    return KnownCluster(name, "running" if pid else state, data, runtime / "ctl.sock", pid)


def remove(name: str) -> bool:
    """Delete a stopped cluster's directories; False when there was nothing.

    Raises:
        Conflict: it runs.
    """
    known = describe(name)
    if known.state == "running":
        raise Conflict(f"cluster {name!r} runs (supervisor {known.pid})", hint="conclave down")
    shutil.rmtree(known.socket.parent, ignore_errors=True)
    return remove_data(known.directory)


def remove_data(directory: Path) -> bool:
    """Delete what a cluster has written; False when `directory` holds no cluster.

    Only what is ours: the directory may be one that the user had before.
    """
    if not any((directory / name).exists() for name in SIGNS):
        return False
    for path in directory.iterdir():
        if path.is_dir() and OWN_DIRECTORIES.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
        elif path.name in OWN_FILES:
            path.unlink(missing_ok=True)
    with suppress(OSError):  # not empty: the rest is the user's
        directory.rmdir()
    return True


def holder(path: Path) -> int | None:
    """The pid that holds the flock of a lock file; None when nobody does."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(path.read_bytes() or b"0") or None
    except OSError:
        return None  # absent, or a place that no supervisor of ours could use either
    return None


def _already_up(config: ClusterConfig, paths: ClusterPaths, deadline: float) -> Progress | None:
    """Find the cluster running; one that is not ready is helped up, since that was asked for."""
    began = time.monotonic()
    try:
        status = _status(paths.socket)
    except NotRunning:
        return None
    if config.directory and status["directory"] != str(paths.data):
        raise Conflict(
            f"cluster {config.name!r} runs already, on {status['directory']}",
            hint="choose another name (-c)",
        )
    stored = load(paths.config)
    if stored is not None:
        check_beginning(config, stored[0])
        _check_tls(config, stored[0])
    if config.nodes != len(status["nodes"]):
        raise Conflict(
            f"cluster {config.name!r} runs with {len(status['nodes'])} nodes, not {config.nodes}",
            hint="take the same number, or another name (-c)",
        )
    if status["state"] != "READY":
        left_s = max(0.0, deadline - began)
        wait = {"condition": "ready", "timeout_ms": int(left_s * 1e3)}
        try:
            _call(paths.socket, "start", {"nodes": ["down"]}, left_s)
            _call(paths.socket, "wait", wait, left_s)
            status = _status(paths.socket)
        except (NotRunning, Stopping):
            _await_end(paths, status["supervisor"]["pid"], deadline)
            return None
    ms = (time.monotonic() - began) * 1e3
    return cast(Progress, {"phase": "already-up", "ms": ms, "status": status})


def _check_tls(wanted: ClusterConfig, stored: ClusterConfig) -> None:
    """Refuse to call a cluster "already up" that speaks otherwise with its clients."""
    if wanted.tls != stored.tls:
        how = "with TLS" if stored.tls.on else "without TLS"
        raise Conflict(
            f"cluster {stored.name!r} runs {how}, and not as was asked for now",
            hint="conclave down first: its members take up another way only when they start",
        )


def _others_turn(error: Held, paths: ClusterPaths) -> bool:
    """Whether it is this very cluster that holds the directory: somebody starts or stops it now."""
    return error.data.get("pid") == holder(paths.pid) or holder(paths.lock) is None


def _await_other(paths: ClusterPaths, deadline: float) -> None:
    """Wait until the other supervisor answers, or has left."""
    while holder(paths.pid) is not None or holder(paths.lock) is not None:
        with suppress(NotRunning):
            _status(paths.socket)
            return
        if time.monotonic() >= deadline:
            raise WaitTimeout("the cluster, started by somebody else, was not ready in time")
        time.sleep(JOIN_PAUSE_S)


def _await_end(paths: ClusterPaths, pid: int, deadline: float) -> None:
    """Wait until a supervisor that is on its way down has left."""
    while holder(paths.pid) == pid:
        if time.monotonic() >= deadline:
            raise WaitTimeout(f"supervisor {pid} was stopping, and did not end in time")
        time.sleep(JOIN_PAUSE_S)


def _spawn(config: ClusterConfig, paths: ClusterPaths) -> tuple[int, int]:
    """Start the daemon's first process; returns the progress pipe and the pid to reap."""
    try:
        paths.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = os.open(paths.supervisor_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise StartFailed(f"cannot use {paths.data}: {error.strerror}") from error
    reader, writer = os.pipe()
    # -P: a folder of the caller's named `cluster` or `node` must not be taken for ours.
    program = [sys.executable, "-P", "-m", "cluster"]
    arguments = [*program, "--progress-fd", "3", json.dumps(config.document())]
    actions: Sequence[tuple[Any, ...]] = (
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, log, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
        (os.POSIX_SPAWN_DUP2, writer, 3),
    )
    try:
        child = os.posix_spawn(sys.executable, arguments, os.environ, file_actions=actions)
    finally:
        os.close(writer)
        os.close(log)
    return reader, child


def _lines(reader: int, deadline: float) -> Iterator[dict[str, Any]]:
    rest = b""
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise WaitTimeout("the cluster was not ready in time", hint="conclave up --timeout 60s")
        content = os.read(reader, 65_536)
        if not content:
            return
        *complete, rest = (rest + content).split(b"\n")
        for line in complete:
            yield json.loads(line)


def _introduced(reader: int) -> int | None:
    """The daemon that has not told its pid yet: an impatient launcher waits for that at least."""
    with suppress(WaitTimeout):
        for line in _lines(reader, time.monotonic() + UNDO_TIMEOUT_S):
            if "pid" in line:
                return os.pidfd_open(line["pid"])
    return None


def _undo(daemon: int | None) -> None:
    """End our own daemon in good order. By descriptor: its name may be another's by now."""
    if daemon is None:
        return
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(daemon, signal.SIGTERM)
        select.select([daemon], [], [], UNDO_TIMEOUT_S)


def _status(socket: Path) -> dict[str, Any]:
    return request_json(socket, "GET", "/v1/status", timeout_s=UNDO_TIMEOUT_S)


def _call(socket: Path, method: str, params: dict[str, Any], timeout_s: float) -> None:
    deadline_ms = int(timeout_s * 1e3)
    call = {"id": 1, "method": method, "params": params, "deadline_ms": deadline_ms}
    content = json.dumps(call).encode()
    request_json(socket, "POST", "/v1/rpc", content, timeout_s=timeout_s + UNDO_TIMEOUT_S)


def _tail(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    except OSError:
        return []
