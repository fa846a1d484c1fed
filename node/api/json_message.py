"""Messages as JSON in the dialect of etcd's gateway.

Out: field names as in the .proto files, 64-bit numbers as decimal strings, bytes as base64, enums
by name, nothing that is zero. In: either spelling of a name, numbers as numbers or strings, enums
by name or number; unknown fields are ignored. Unlike protobuf's own JSON parser this one refuses
what is not base64: a key that was sent as it is would otherwise silently become another one.

Source: grpc-gateway's marshaler with OrigName and without EmitDefaults, as etcd configures it.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from node.api.errors import Fault
from transport.grpc.status import Status

DEPTH_MAX = 50
"""Of nested txns; the encoding as protobuf has a bound of its own."""

_INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(1 << 31), 1 << 31),
    FieldDescriptor.TYPE_UINT32: (0, 1 << 32),
    FieldDescriptor.TYPE_INT64: (-(1 << 63), 1 << 63),
    FieldDescriptor.TYPE_UINT64: (0, 1 << 64),
}
_WIDE = {FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64}
_decoder = json.JSONDecoder()

Field = Any
"""A FieldDescriptor: of one class or another, as protobuf is implemented."""


class BadRequest(Exception):
    """A body that is no message, or a header that is no timeout; the text is for the client."""

    @property
    def fault(self) -> Fault:
        """How the call ends."""
        return Fault(Status.INVALID_ARGUMENT, str(self))


def documents(body: bytes) -> Iterator[Any]:
    """The JSON values that a body consists of, one after the other; none of an empty one.

    Raises:
        BadRequest: what follows is none.
    """
    try:
        text = body.decode().strip()
        while text:
            value, end = _decoder.raw_decode(text)
            yield value
            text = text[end:].lstrip()
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"invalid JSON: {error}") from None


def fill(message: Message, document: Any, depth: int = 0) -> None:
    """Set the fields of an empty message.

    Raises:
        BadRequest: a value does not fit its field.
    """
    if document is None:
        return
    if not isinstance(document, dict):
        raise BadRequest(f"{message.DESCRIPTOR.name} must be an object")
    if depth > DEPTH_MAX:
        raise BadRequest("nested too deeply")
    for name, value in document.items():
        field = message.DESCRIPTOR.fields_by_name.get(name)
        field = field or message.DESCRIPTOR.fields_by_camelcase_name.get(name)
        if field is None or value is None:
            continue
        if field.is_repeated:
            _extend(message, field, value, depth)
        elif field.message_type is not None:
            nested = getattr(message, field.name)
            nested.SetInParent()
            fill(nested, value, depth + 1)
        else:
            setattr(message, field.name, _scalar(field, value))


def encode(message: Message) -> bytes:
    """A message as one JSON object."""
    return msgspec.json.encode(document_of(message))


def document_of(message: Message) -> dict[str, Any]:
    """A message as plain values."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        show = _shown(field)
        found[field.name] = [show(each) for each in value] if field.is_repeated else show(value)
    return found


def _extend(message: Message, field: Field, values: Any, depth: int) -> None:
    if not isinstance(values, list):
        raise BadRequest(f"{field.name} must be a list")
    target = getattr(message, field.name)
    for value in values:
        if field.message_type is not None:
            fill(target.add(), value, depth + 1)
        else:
            target.append(_scalar(field, value))


def _scalar(field: Field, value: Any) -> Any:
    if field.type in _INTEGERS:
        return _integer(field, value)
    if field.type == FieldDescriptor.TYPE_ENUM:
        return _enum(field, value)
    if field.type == FieldDescriptor.TYPE_BOOL:
        if not isinstance(value, bool):
            raise BadRequest(f"{field.name} must be true or false")
        return value
    if not isinstance(value, str):
        raise BadRequest(f"{field.name} must be a string")
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes(field, value)
    if not value.isprintable() and any(0xD800 <= ord(sign) < 0xE000 for sign in value):
        raise BadRequest(f"{field.name} is no Unicode text")
    return value


def _integer(field: Field, value: Any) -> int:
    lo, end = _INTEGERS[field.type]
    try:
        number = value if type(value) is int else int(value) if isinstance(value, str) else None
    except ValueError:
        number = None
    if number is None or not lo <= number < end:
        raise BadRequest(f"{field.name} must be a number of its type, not {value!r}")
    return number


def _enum(field: Field, value: Any) -> int:
    kind = field.enum_type
    lo, end = _INTEGERS[FieldDescriptor.TYPE_INT32]
    if type(value) is int and lo <= value < end:
        return value
    found = kind.values_by_name.get(value) if isinstance(value, str) else None
    if found is None:
        raise BadRequest(f"{field.name} must be one of {', '.join(kind.values_by_name)}")
    return int(found.number)


def _bytes(field: Field, value: str) -> bytes:
    try:
        return binascii.a2b_base64(value.translate(_URL_SAFE), strict_mode=bool(value))
    except (ValueError, binascii.Error) as error:
        raise BadRequest(f"{field.name} is no base64: {error}") from None


_URL_SAFE = str.maketrans("-_", "+/")


def _shown(field: Field) -> Callable[[Any], Any]:
    if field.message_type is not None:
        return document_of
    if field.type in _WIDE:
        return str
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: b64encode(value).decode()
    if field.type == FieldDescriptor.TYPE_ENUM:
        names = field.enum_type.values_by_number
        return lambda value: names[value].name if value in names else value
    return lambda value: value
