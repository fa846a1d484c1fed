"""The few protobuf encodings that the hot paths write by hand.

A stored KeyValue is spliced into answers without being decoded. That works because it is stored as
a whole field with tag 2, which is its number in RangeResponse (kvs), PutResponse (prev_kv) and
Event (kv); where the number is 3 only the first byte changes.
"""

from __future__ import annotations

_SMALL = tuple(bytes((number,)) for number in range(128))
_MASK = (1 << 64) - 1


def varint(number: int) -> bytes:
    """An int64 or uint64 as protobuf writes it: negative numbers take ten bytes."""
    if 0 <= number < 0x80:
        return _SMALL[number]
    if 0 < number < 0x4000:  # lengths and revisions mostly end here or below
        return bytes((number & 127 | 128, number >> 7))
    if 0 < number < 0x20_0000:
        return bytes((number & 127 | 128, number >> 7 & 127 | 128, number >> 14))
    number &= _MASK
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def field(tag: int, payload: bytes) -> bytes:
    """A length-delimited field; `tag` below 16."""
    return _SMALL[tag << 3 | 2] + varint(len(payload)) + payload


def revision_header(revision: int) -> bytes:
    """A ResponseHeader that carries nothing but a revision, as field 1."""
    return field(1, b"\x18" + varint(revision))


def key_value_field(
    key: bytes, create: int, mod: bytes, version: int, value: bytes, lease: int
) -> bytes:
    """A KeyValue as field 2. `mod` is the mod revision already encoded: it serves a whole txn."""
    head = b"\x0a%b%b\x10%b\x18%b\x20%b" % (
        varint(len(key)),
        key,
        varint(create),
        mod,
        varint(version),
    )
    body = b"%b\x2a%b%b" % (head, varint(len(value)), value) if value else head
    if lease:
        body += b"\x30" + varint(lease)
    return b"\x12" + varint(len(body)) + body


def tombstone_field(key: bytes, mod: bytes) -> bytes:
    """The KeyValue of a delete event as field 2: key and mod revision only."""
    return field(2, b"\x0a" + varint(len(key)) + key + b"\x18" + mod)


def as_field_3(key_value: bytes) -> bytes:
    """The same KeyValue as field 3: prev_kv of an event, prev_kvs of a delete."""
    return b"\x1a" + key_value[1:]
