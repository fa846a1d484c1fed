"""A snapshot of an etcd as the first state of a cluster.

All founding members begin with the same file. Its digest is noted when the cluster is created, so
that a member which comes to its first start later cannot begin with another one.

Source: etcdctl/snapshot/v3_snapshot.go: a saved snapshot ends with its SHA-256.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from node.errors import ConfigError
from node.machine.answer import Operation
from node.machine.restore import SnapshotUnusable, records
from store.bolt import BoltReader
from store.engine import Reader
from store.errors import Damaged

PAGE_BYTES_MIN = 512
DIGEST_BYTES = 32


def digest_of(path: Path) -> str:
    """The SHA-256 of a snapshot file, once the one that it ends with has been compared, as hex.

    A file without one is taken as it is: a copy of the database of an etcd that did not run.

    Raises:
        ConfigError: it cannot be read, or is not what was saved.
    """
    content = _opened(path)
    body = len(content)
    if body % PAGE_BYTES_MIN == DIGEST_BYTES:
        body -= DIGEST_BYTES
    digest, ending = sha256(content[:body]), content[body:]
    if ending and digest.digest() != ending:
        raise ConfigError(f"{path} is damaged: its SHA-256 does not match")
    try:
        if b"key" not in BoltReader(content).buckets():
            raise ConfigError(f"{path} is no snapshot of an etcd")
    except Damaged as damage:
        raise ConfigError(f"{path} is no snapshot of an etcd: {damage.what}") from damage
    digest.update(ending)
    return digest.hexdigest()


def seed(path: Path, digest: str, state: Reader) -> Iterable[list[Operation]]:
    """The first state in batches; `state` shows those that were taken before.

    Raises:
        ConfigError: the file is not the one with this digest, or cannot be used.
    """
    if digest_of(path) != digest:
        raise ConfigError(f"{path} is not the file that the cluster began with")
    try:
        yield from records(BoltReader(_opened(path)).items, state.get)
    except (Damaged, SnapshotUnusable) as error:
        raise ConfigError(f"{path} cannot be used: {error}") from error


def _opened(path: Path) -> memoryview:
    """The file's content, mapped for as long as somebody looks at it."""
    try:
        with open(path, "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise ConfigError(f"{path} cannot be read: {error}") from error
