"""What a mirror has to do, without doing it. Pure.

    source at revision R ──pages─► difference to the destination ─► transactions: "R up to key K"
    events after R ──────────────► whole revisions in order ──────► transactions: "up to R2"

Each transaction also moves the *checkpoint*, a key in the destination that says how far the copy
is, and is made only if the checkpoint still says what the mirror believes. So a transaction whose
answer was lost can be sent again: if it had been made, the second one is refused, and the same
comparison keeps a late duplicate, or a second mirror, from setting the destination back.

    checkpoint     {"source": "<cluster id>", "prefix": "<hex>", "phase": "copy" | "follow",
                    "revision": R, "key": "<hex, copy: everything below is done>", "part": n}

Keys below RESERVED are nobody's data: they are neither copied nor deleted, so that mirrors can be
chained.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from node.proto import kv_pb2, rpc
from tools.mirror.errors import CheckpointConflict

RESERVED = b"conclave.mirror/"
TXN_BYTES_MAX = 1 << 20
"""Of keys and values in a transaction of several; below what any etcd takes by default."""
DELETE = kv_pb2.Event.EventType.DELETE
Phase = Literal["copy", "follow"]


@dataclass(frozen=True, slots=True)
class Names:
    """Which key of the source is which in the destination."""

    prefix: bytes
    """What is copied; b"" = everything."""
    dest_prefix: bytes
    """What takes the place of the prefix."""

    def mapped(self, key: bytes) -> bytes:
        """A key of the source as the destination has it."""
        return self.dest_prefix + key[len(self.prefix) :]

    @property
    def checkpoint(self) -> bytes:
        """Where the destination remembers how far it is; one mirror for each place."""
        return RESERVED + self.dest_prefix

    def copied(self, key: bytes) -> bool:
        """Whether a key of the source has a place in the destination."""
        return not key.startswith(RESERVED) and not self.mapped(key).startswith(RESERVED)

    def source_range(self, after: bytes = b"") -> tuple[bytes, bytes]:
        """What is left of the source behind a key; b"" = all of it."""
        return after + b"\0" if after else self.prefix or b"\0", prefix_end(self.prefix)

    def dest_window(self, after: bytes, last: bytes) -> tuple[bytes, bytes]:
        """The keys of the destination that lie where those of the source up to `last` do; b"" as
        `last` = to the end."""
        start = self.mapped(after) + b"\0" if after else self.dest_prefix or b"\0"
        return start, self.mapped(last) + b"\0" if last else prefix_end(self.dest_prefix)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a destination is."""

    source: int
    """Cluster id of the source."""
    prefix: bytes
    phase: Phase
    revision: int
    """copy: the one that is copied; follow: all up to it is in the destination."""
    key: bytes = b""
    """copy: all keys of the source up to this one are done; b"" = none."""
    part: int = 0
    """So many transactions of the next window or revision are made, which needs several."""

    def encode(self) -> bytes:
        """The value of the checkpoint's key."""
        document = {
            "source": f"{self.source:x}",
            "prefix": self.prefix.hex(),
            "phase": self.phase,
            "revision": self.revision,
            "key": self.key.hex(),
            "part": self.part,
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, value: bytes) -> Checkpoint:
        """Read one.

        Raises:
            CheckpointConflict: it is none.
        """
        try:
            document = json.loads(value)
            phase, revision, part = document["phase"], document["revision"], document["part"]
            if phase not in ("copy", "follow"):
                raise ValueError(f"phase {phase!r}")
            if not (type(revision) is int and revision >= 0 and type(part) is int and part >= 0):
                raise ValueError("no revision")
            return cls(
                int(document["source"], 16),
                bytes.fromhex(document["prefix"]),
                phase,
                revision,
                bytes.fromhex(document["key"]),
                part,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointConflict(f"the checkpoint cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class Change:
    """One key of the destination as it shall be; None = gone."""

    key: bytes
    value: bytes | None

    @property
    def size(self) -> int:
        """Bytes of it."""
        return len(self.key) + len(self.value or b"")


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction: its changes, and the checkpoint that goes with them."""

    changes: tuple[Change, ...]
    checkpoint: Checkpoint


def difference(
    names: Names,
    source: Iterable[kv_pb2.KeyValue],
    dest: Iterable[kv_pb2.KeyValue],
    *,
    delete_extras: bool,
) -> tuple[list[Change], int]:
    """What makes one window of the destination equal to the source's, in the order of keys; and how
    many keys the destination has that the source has not.

    A key with a lease is written anew even if its value is right: it would go with its lease.
    """
    wanted = {names.mapped(kv.key): kv.value for kv in source if names.copied(kv.key)}
    changes, extras = [], 0
    for kv in dest:
        if kv.key.startswith(RESERVED):
            continue
        if kv.key not in wanted:
            extras += 1
            if delete_extras:
                changes.append(Change(kv.key, None))
        elif kv.value == wanted[kv.key] and not kv.lease:
            del wanted[kv.key]
    changes += [Change(key, value) for key, value in wanted.items()]
    return sorted(changes, key=lambda change: change.key), extras


def copy_steps(
    changes: Sequence[Change], at: Checkpoint, last: bytes, operations_max: int
) -> list[Step]:
    """The transactions of one window of the copy, up to the key `last`; b"" = the window is the
    last one. Only the last part moves the checkpoint past the window: the difference of one that
    was half done is simply taken again."""
    parts = list(_split(changes, operations_max - 1)) or [()]
    done = replace(at, key=last, part=0) if last else replace(at, phase="follow", key=b"", part=0)
    return [
        Step(part, done if number == len(parts) else replace(at, part=at.part + number))
        for number, part in enumerate(parts, start=1)
    ]


def follow_steps(
    names: Names, events: Iterable[kv_pb2.Event], at: Checkpoint, revision: int, operations_max: int
) -> list[Step]:
    """The transactions for events in their order, up to a revision of the source that they all have
    been told of.

    Whole revisions share a transaction as long as they fit and change different keys, so that every
    version of a key appears. A revision that does not fit into one is split, and then only its last
    part moves the checkpoint past it: what was half done is done again, which changes nothing.
    """
    steps: list[Step] = []
    waiting: dict[bytes, Change] = {}
    upto = at.revision

    def flush() -> None:
        nonlocal at
        if waiting:
            at = replace(at, revision=upto, part=0)
            steps.append(Step(tuple(waiting.values()), at))
            waiting.clear()

    for number, changes in _revisions(names, events):
        parts = list(_split(changes, operations_max - 1))
        if len(parts) == 1:
            together = [*waiting.values(), *parts[0]]
            if waiting.keys() & {change.key for change in parts[0]} or not _fits(
                together, operations_max - 1
            ):
                flush()
            waiting.update((change.key, change) for change in parts[0])
            upto = number
            continue
        flush()
        for index, part in enumerate(parts, start=1):
            whole = index == len(parts)
            at = replace(at, revision=number if whole else number - 1, part=0 if whole else index)
            steps.append(Step(part, at))
        upto = number
    flush()
    if revision > at.revision:  # what came last is of no interest here
        changes = steps.pop().changes if steps else ()
        steps.append(Step(changes, replace(at, revision=revision, part=0)))
    return steps


def transaction(names: Names, step: Step, expected: bytes | None) -> rpc.TxnRequest:
    """The request for one step, which finds `expected` in the checkpoint; None = no such key."""
    key = names.checkpoint
    compare = rpc.Compare(key=key, result=rpc.Compare.EQUAL)
    if expected is None:
        compare.target, compare.create_revision = rpc.Compare.CREATE, 0
    else:
        compare.target, compare.value = rpc.Compare.VALUE, expected
    own = rpc.PutRequest(key=key, value=step.checkpoint.encode())
    look = rpc.RequestOp(request_range=rpc.RangeRequest(key=key))
    return rpc.TxnRequest(
        compare=[compare],
        success=[*map(_operation, step.changes), rpc.RequestOp(request_put=own)],
        failure=[look],
    )


def prefix_end(prefix: bytes) -> bytes:
    """Where the keys with a prefix end; b"\\0" (the end of all) for those without one."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else b"\0"


def _revisions(
    names: Names, events: Iterable[kv_pb2.Event]
) -> Iterator[tuple[int, Sequence[Change]]]:
    """Events by revision; a key changes once in each, and what was told twice counts once."""
    found: dict[int, dict[bytes, Change]] = {}
    for event in events:
        changes = found.setdefault(int(event.kv.mod_revision), {})
        if names.copied(event.kv.key):
            key = names.mapped(event.kv.key)
            changes[key] = Change(key, None if event.type == DELETE else event.kv.value)
    for revision, changes in sorted(found.items()):
        if changes:
            yield revision, list(changes.values())


def _split(changes: Sequence[Change], operations_max: int) -> Iterator[tuple[Change, ...]]:
    """Pieces that fit into one transaction each."""
    piece: list[Change] = []
    for change in changes:
        if piece and not _fits([*piece, change], operations_max):
            yield tuple(piece)
            piece = []
        piece.append(change)
    if piece:
        yield tuple(piece)


def _fits(changes: Sequence[Change], operations_max: int) -> bool:
    size = sum(change.size for change in changes)
    return len(changes) <= operations_max and size <= TXN_BYTES_MAX


def _operation(change: Change) -> rpc.RequestOp:
    if change.value is None:
        return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=change.key))
    return rpc.RequestOp(request_put=rpc.PutRequest(key=change.key, value=change.value))
