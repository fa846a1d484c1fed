"""Answers of the key-value verbs as lines and as JSON; ranges and leases as they are typed.

Pure. Keys and values are bytes. In JSON they are text where they are UTF-8, else base64 under the
same name with `_base64` added, so that no byte is lost and text stays readable. Lines carry the
bytes as they are, as etcdctl does, because people pipe them into files; only a terminal gets them
made printable.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from tools.cli.table import printable

if TYPE_CHECKING:
    # Only for types: protobuf must not load with the module, the help of every verb imports it.
    from node.proto.kv_pb2 import Event, KeyValue
    from node.proto.rpc_pb2 import ResponseHeader

FROM_KEY_END = b"\x00"
"""etcd's range end for "every key from here on"."""
Record = dict[str, object]


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all keys that start with `prefix`; FROM_KEY_END when there is none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else FROM_KEY_END


def key_range(key: bytes, end: bytes | None, prefix: bool, from_key: bool) -> tuple[bytes, bytes]:
    """The `key` and `range_end` fields for what was typed; at most one of the last three is given.

    An empty key stands for the whole keyspace with `prefix` or `from_key`; etcd itself wants a zero
    byte there.
    """
    if prefix:
        return (key or b"\x00"), (prefix_end(key) if key else FROM_KEY_END)
    if from_key:
        return (key or b"\x00"), FROM_KEY_END
    return key, end or b""


def parse_lease(text: str) -> int:
    """A lease id as etcdctl prints it: hexadecimal digits.

    Raises:
        ValueError: not hexadecimal, or outside a signed 64-bit number.
    """
    try:
        lease = int(text, 16)
    except ValueError:
        raise ValueError(f"{text!r} is not a lease id: write the hexadecimal digits") from None
    if not 0 <= lease < 1 << 63:
        raise ValueError(f"{text!r} is outside the range of lease ids")
    return lease


def text_or_base64(name: str, data: bytes) -> Record:
    """`{name: text}`, or `{name_base64: …}` for bytes that are no UTF-8."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def key_value_record(pair: KeyValue, with_value: bool = True) -> Record:
    """One key with its revisions."""
    record = text_or_base64("key", pair.key)
    if with_value:
        record |= text_or_base64("value", pair.value)
    return record | {
        "create_revision": pair.create_revision,
        "mod_revision": pair.mod_revision,
        "version": pair.version,
        "lease": f"{pair.lease:x}" if pair.lease else None,
    }


def event_record(event: Event) -> Record:
    """One watch event, schema `conclave/kv.watch.v1`; one line each."""
    deleted = event.type == 1
    record: Record = {
        "schema": "conclave/kv.watch.v1",
        "type": "delete" if deleted else "put",
        "revision": event.kv.mod_revision,
        "kv": key_value_record(event.kv, not deleted),
    }
    if event.HasField("prev_kv"):
        record["prev_kv"] = key_value_record(event.prev_kv)
    return record


def kv_document(verb: str, header: ResponseHeader, facts: Mapping[str, object]) -> Record:
    """The frame of every key-value answer, schema `conclave/kv.VERB.v1`."""
    return {
        "schema": f"conclave/kv.{verb}.v1",
        "header": {
            "cluster_id": f"{header.cluster_id:x}",
            "member_id": f"{header.member_id:x}",
            "revision": header.revision,
            "raft_term": header.raft_term,
        },
        **facts,
    }


def pair_chunks(
    pairs: Iterable[KeyValue], *, keys: bool = True, values: bool = True
) -> Iterable[bytes]:
    """Key and value, a line each."""
    for pair in pairs:
        if keys:
            yield pair.key
        if values:
            yield pair.value


def event_chunks(event: Event) -> Iterable[bytes]:
    """`PUT` or `DELETE`, the previous pair when it was asked for, then key and value."""
    deleted = event.type == 1
    yield b"DELETE" if deleted else b"PUT"
    if event.HasField("prev_kv"):
        yield from (event.prev_kv.key, event.prev_kv.value)
    yield from (event.kv.key, event.kv.value)


def for_terminal(chunk: bytes) -> bytes:
    """Bytes that cannot steer a terminal."""
    return printable(chunk.decode(errors="replace")).encode()
