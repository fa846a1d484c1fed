"""Histories as JSON lines: a schema line, then one record a line, byte strings in base64.

A run may end at any moment, so a writer appends and flushes whole lines, and a reader accepts a
last line that was cut short. Anything else that is not the format is refused with its line number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Final

import msgspec

from tools.check.errors import HistoryInvalid
from tools.check.history import Baseline, HashReport, History, Operation, Record, WatchRecord

SCHEMA: Final = "conclave/history.v1"


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: str


_ENCODER: Final = msgspec.json.Encoder()
_HEADER_DECODER: Final = msgspec.json.Decoder(_Header)
_DECODER: Final[msgspec.json.Decoder[Record]] = msgspec.json.Decoder(Record)


class HistoryWriter:
    """Appends records to a binary file, which stays its owner's to close."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._file.write(_ENCODER.encode(_Header(SCHEMA)) + b"\n")

    def write(self, record: Record) -> None:
        """Append one record."""
        self._file.write(_ENCODER.encode(record) + b"\n")


def write_history(history: History, file: IO[bytes]) -> None:
    """Write a whole history to a binary file."""
    writer = HistoryWriter(file)
    for record in (history.baseline, *history.operations, *history.watches, *history.hashes):
        writer.write(record)
    file.flush()


def read_history(lines: Iterable[bytes]) -> History:
    """Read a history from a binary file, or from any lines with their line ends.

    Raises:
        HistoryInvalid: not a history, or a version of the format that is not known here.
    """
    return collect(_records(iter(lines)))


def collect(records: Iterable[Record]) -> History:
    """Sort records by kind.

    Raises:
        HistoryInvalid: two operations with one id, or an outcome that does not fit its response.
    """
    operations: dict[int, Operation] = {}
    watches: list[WatchRecord] = []
    hashes: list[HashReport] = []
    baseline = Baseline()
    for record in records:
        match record:
            case Operation():
                _validate(record, operations)
                operations[record.id] = record
            case HashReport():
                hashes.append(record)
            case Baseline():
                baseline = record
            case _:
                watches.append(record)
    return History(tuple(operations.values()), tuple(watches), tuple(hashes), baseline)


def _validate(operation: Operation, known: dict[int, Operation]) -> None:
    if operation.id in known:
        raise HistoryInvalid(f"two operations have the id {operation.id}")
    answered = operation.response is not None
    if answered != (operation.outcome == "ok") or (answered and operation.end_ns is None):
        raise HistoryInvalid(f"operation {operation.id}: outcome and response do not fit")
    if operation.end_ns is not None and operation.end_ns < operation.start_ns:
        raise HistoryInvalid(f"operation {operation.id} ends before it starts")


def _records(lines: Iterator[bytes]) -> Iterator[Record]:
    try:
        header = _HEADER_DECODER.decode(next(lines, b""))
    except msgspec.MsgspecError as error:
        raise HistoryInvalid(f"not a history: {error}", 1) from None
    if header.schema != SCHEMA:
        raise HistoryInvalid(f"schema {header.schema!r} is not {SCHEMA!r}", 1)
    for number, line in enumerate(lines, start=2):
        if not line.endswith(b"\n"):
            return  # the writer died inside its last line
        try:
            yield _DECODER.decode(line)
        except msgspec.MsgspecError as error:
            raise HistoryInvalid(str(error), number) from None
