"""What a user may choose about a cluster, what was drawn at its creation, and where its files are.

`ClusterConfig` is chosen, `Identity` is drawn once (cluster id, member ids) and then read from the
data directory for ever, `ClusterPaths` names every file. Standard library only: the command line
reads this on its fast path.

    data directory                         runtime directory (0700, short: ipc paths end at 107)
      cluster.json   config and identity     cluster.json   where the data directory is
      ports.json     the client ports        ctl.sock       management socket
      supervisor.lock  flock, holder's pid   pid            flock, the supervisor's pid
      events.jsonl   supervisor.log          <member>.<n>   peer sockets
      started.json   who has ever served
      tls/           certificates of its own
      n1/db n1/log …
      removed/n2-<id>/  what a removed node left
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal, get_args

from cluster.errors import BadRequest, Conflict
from cluster.limits import ClusterLimits
from cluster.limits import require as _require
from cluster.tls import PLAIN, ClusterTls

FORMAT_VERSION = 1
NODES_MAX = 16
"""Slots of a status page; also far beyond what one host can use."""
SOCKET_PATH_MAX = 107
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
NODE_NAME = re.compile(r"n[1-9][0-9]{0,3}")
RestartPolicy = Literal["never", "on-failure", "always"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig(ClusterLimits):
    """One cluster as its user asked for it.

    Raises:
        BadRequest: a value is out of range.
    """

    name: str = "default"
    nodes: int = 3
    directory: str = ""
    """Data directory; "" = $XDG_DATA_HOME/conclave/NAME, or a temporary one when ephemeral."""
    ephemeral: bool = False
    """The data directory goes when the cluster does."""
    host: str = "127.0.0.1"
    port_base: int = 0
    """First client port of a consecutive block; 0 = etcd's own 2379, 22379, 32379, … where free."""
    restart_policy: RestartPolicy = "never"
    """Default never: a drill tool must not hide deaths."""
    first_leader: str = "n1"
    """Campaigns at once at the very first start, so that start-up pays no election timeout."""
    seed_path: str = ""
    """An etcd snapshot that the cluster begins with; "" = an empty keyspace."""
    seed_digest: str = ""
    """SHA-256 of that file, noted when the cluster is created."""
    tls: ClusterTls = PLAIN
    """How clients are spoken with; plain text by default."""
    tick_ms: int = 10
    heartbeat_ticks: int = 5
    election_ticks: int = 50

    def __post_init__(self) -> None:
        """Refuse what could not run."""
        _require(bool(NAME.fullmatch(self.name)), f"cluster name {self.name!r}: use a-z 0-9 - _")
        _require(1 <= self.nodes <= NODES_MAX, f"nodes must be 1 to {NODES_MAX}, not {self.nodes}")
        _require(
            self.restart_policy in get_args(RestartPolicy),
            f"restart policy {self.restart_policy!r}: use never, on-failure or always",
        )
        _require(
            self.port_base == 0 or 1024 <= self.port_base <= 65_536 - self.nodes,
            f"port base {self.port_base} leaves no room for {self.nodes} ports",
        )
        _require(
            not (self.ephemeral and self.directory),
            "an ephemeral cluster chooses its own directory: give --data or --ephemeral, not both",
        )
        _require(self.first_leader in self.names, f"no node {self.first_leader!r} to lead first")
        _require(
            self.tick_ms >= 1 and self.election_ticks >= 3 * self.heartbeat_ticks >= 3,
            "three heartbeats must fit into an election timeout",
        )
        self.check_limits()

    @property
    def names(self) -> tuple[str, ...]:
        """n1 to nN."""
        return tuple(f"n{number}" for number in range(1, self.nodes + 1))

    def document(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ClusterConfig:
        """The config that `document()` gave.

        Raises:
            BadRequest: a field is unknown, or a value is of another type or refused.
        """
        if "tls" in document:
            document = {**document, "tls": ClusterTls.from_document(document["tls"])}
        unknown = set(document) - {field.name for field in fields(cls)}
        _require(not unknown, f"unknown settings: {', '.join(sorted(unknown))}")
        for field in fields(cls):
            kind = type(field.default)
            value = document.get(field.name, field.default)
            _require(type(value) is kind, f"{field.name} is {value!r} and no {kind.__name__}")
        return cls(**document)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the nodes are: drawn when a data directory is created, then changed one by one."""

    cluster_id: int
    members: tuple[tuple[str, int], ...]
    """(name, member id) in node order; ids are uint64 > 0 and never used again."""
    changed: bool = False
    """The members are not the founding ones any more: who starts for the first time joins."""

    @classmethod
    def draw(cls, names: tuple[str, ...]) -> Identity:
        """A fresh identity from the kernel's randomness."""
        return cls(_random_id(), tuple((name, _random_id()) for name in names))

    def member_id(self, name: str) -> int:
        """The id of a node that exists."""
        return dict(self.members)[name]

    def enlist(self, name: str, member_id: int) -> Identity:
        """With one more member, which the cluster has given this id."""
        rows = sorted([*self.members, (name, member_id)], key=lambda row: node_number(row[0]))
        return Identity(self.cluster_id, tuple(rows), changed=True)

    def strike(self, name: str) -> Identity:
        """Without a member."""
        rows = tuple(row for row in self.members if row[0] != name)
        return Identity(self.cluster_id, rows, changed=True)

    def free_name(self) -> str:
        """The first of n1, n2, … that no node has."""
        taken = {name for name, _ in self.members}
        return next(name for number in count(1) if (name := f"n{number}") not in taken)


@dataclass(frozen=True, slots=True)
class ClusterPaths:
    """Every path of one cluster. Pure: nothing is created or looked at."""

    data: Path
    runtime: Path

    @property
    def config(self) -> Path:
        return self.data / "cluster.json"

    @property
    def ports(self) -> Path:
        return self.data / "ports.json"

    @property
    def lock(self) -> Path:
        return self.data / "supervisor.lock"

    @property
    def events(self) -> Path:
        return self.data / "events.jsonl"

    @property
    def supervisor_log(self) -> Path:
        return self.data / "supervisor.log"

    @property
    def socket(self) -> Path:
        return self.runtime / "ctl.sock"

    @property
    def pid(self) -> Path:
        return self.runtime / "pid"

    @property
    def pointer(self) -> Path:
        return self.runtime / "cluster.json"

    def database(self, node: str) -> Path:
        return self.data / node / "db"

    def log(self, node: str) -> Path:
        return self.data / node / "log"

    @property
    def started(self) -> Path:
        return self.data / "started.json"

    def removed(self, node: str, member_id: int) -> Path:
        """Where the files of a node are kept once it is none any more."""
        return self.data / "removed" / f"{node}-{member_id:016x}"


def node_number(name: str) -> int:
    """3 for n3."""
    return int(name.removeprefix("n"))


def data_root(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder that holds one data directory per cluster."""
    home = environment.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(home, "conclave")


def runtime_root(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder that holds one runtime directory per cluster.

    A long $XDG_RUNTIME_DIR is passed over: the peer socket of the longest cluster name must fit
    into a socket address.
    """
    longest = "/conclave/" + "n" * 32 + "/" + "f" * 16 + ".2"
    directory = environment.get("XDG_RUNTIME_DIR", "")
    if directory and len(directory) + len(longest) <= SOCKET_PATH_MAX:
        return Path(directory, "conclave")
    return Path("/tmp", f"conclave-{os.getuid()}")  # noqa: S108  mode and owner are checked on use


def paths_of(config: ClusterConfig, environment: Mapping[str, str] = os.environ) -> ClusterPaths:
    """Where this cluster's files are."""
    if config.directory:
        data = Path(config.directory).absolute()
    elif config.ephemeral:
        temporary = environment.get("TMPDIR") or "/tmp"  # noqa: S108
        data = Path(temporary, f"conclave-{os.getuid()}-ephemeral", config.name)
    else:
        data = data_root(environment) / config.name
    return ClusterPaths(data, runtime_root(environment) / config.name)


def save(path: Path, config: ClusterConfig, identity: Identity) -> None:
    """Write `cluster.json` whole or not at all."""
    document = {
        "format": FORMAT_VERSION,
        "config": config.document(),
        "cluster_id": f"{identity.cluster_id:x}",
        "members": {name: f"{member:x}" for name, member in identity.members},
        "changed": identity.changed,
    }
    write_json(path, document)


def load(path: Path) -> tuple[ClusterConfig, Identity] | None:
    """Read `cluster.json`; None when there is no such file.

    Raises:
        Conflict: the file is damaged or was written by a newer release.
    """
    try:
        document = read_json(path)
        if document["format"] > FORMAT_VERSION:
            raise Conflict(f"{path} was written by a newer release (format {document['format']})")
        config = ClusterConfig.from_document(document["config"])
        return config, _identity(document, config.names)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, BadRequest) as error:
        raise Conflict(
            f"{path} is damaged: {error}",
            hint="restore the file, or remove the directory if its data may go",
        ) from error


def _identity(document: Mapping[str, Any], names: tuple[str, ...]) -> Identity:
    """The ids in a document; they must be usable, or a member would die of them much later.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: they are not.
    """
    members = tuple((name, int(text, 16)) for name, text in document["members"].items())
    cluster_id = int(document["cluster_id"], 16)
    ids = [member for _, member in members]
    changed = document.get("changed", False)
    if type(changed) is not bool:
        raise TypeError(f"changed is {changed!r}")
    found = tuple(name for name, _ in members)
    good = all(map(NODE_NAME.fullmatch, found)) and len(found) == len(names)
    if not (good if changed else found == names) or len(set(ids)) != len(ids):
        raise ValueError(f"members are not {', '.join(names)} with an id each")
    if not all(0 < number < 1 << 64 for number in (cluster_id, *ids)):
        raise ValueError("an id is no uint64 above 0")
    return Identity(cluster_id, members, changed)


def settle(wanted: ClusterConfig, stored: ClusterConfig | None) -> ClusterConfig:
    """The config to run: what was stored decides who the nodes are, the rest may change.

    Raises:
        Conflict: the directory holds a cluster of another size, or with another beginning.
    """
    if stored is None:
        return wanted
    check_beginning(wanted, stored)
    if wanted.nodes != stored.nodes:
        raise Conflict(
            f"cluster {stored.name!r} has {stored.nodes} nodes, not {wanted.nodes}",
            hint="take the same number, another name (-c), or remove it first: conclave rm",
            data={"nodes": stored.nodes},
        )
    return replace(wanted, first_leader=stored.first_leader, seed_digest=stored.seed_digest)


def check_beginning(wanted: ClusterConfig, stored: ClusterConfig) -> None:
    """Refuse to give a cluster that exists another beginning.

    Raises:
        Conflict: a snapshot was asked for, and it did not begin with this one.
    """
    if wanted.seed_path != stored.seed_path:
        raise Conflict(
            f"cluster {stored.name!r} exists, and a snapshot is what a new one begins with",
            hint="take another name (-c), or remove it first: conclave rm",
        )


def read_json(path: Path) -> Any:
    """Read a small JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, or nested too deep.
    """
    return parse_json(path.read_bytes())


def parse_json(content: bytes) -> Any:
    """Read JSON that may be anything.

    Raises:
        ValueError: it is no JSON, or nested too deep. The parser recurses, and says so by an error
            that no reader of a damaged file expects.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deep") from None


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a small JSON file atomically and durably: it is the new one, also after a power cut."""
    temporary = path.with_suffix(".new")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _random_id() -> int:
    return int.from_bytes(os.urandom(8), "big") or 1
