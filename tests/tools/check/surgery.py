"""Cuts into histories: one operation or watch record exchanged, added or taken out."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from tests.tools.check.naive_store import NaiveStore
from tools.check.history import (
    History,
    KeyValue,
    Operation,
    Range,
    RangeResponse,
    Request,
    Response,
    WatchCreated,
    WatchRecord,
    WatchResponse,
)
from tools.check.sighting import Sightings


class Run(NamedTuple):
    """A good history and the truth behind it."""

    history: History
    store: NaiveStore


Mutation: TypeAlias = Callable[[Random, Run], History | None]
"""Gives the broken history, or None where this one offers no place to break it so."""


def exchange(history: History, operation: Operation) -> History:
    """Put an operation in the place of the one with its id."""
    kept = (each if each.id != operation.id else operation for each in history.operations)
    return replace(history, operations=tuple(kept))


def answer(history: History, operation: Operation, response: Response) -> History:
    """Let an operation have been answered otherwise."""
    return exchange(history, replace(operation, response=response))


def remove(history: History, operation: Operation) -> History:
    """Let an operation never have been asked for."""
    return replace(
        history, operations=tuple(each for each in history.operations if each is not operation)
    )


def ask(
    history: History, start_ns: int, request: Request, response: Response | None, error: str = ""
) -> History:
    """Add an operation of a client of its own that takes a nanosecond."""
    operation = Operation(
        id=1 + max(each.id for each in history.operations),
        client="late",
        endpoint="n1",
        intended_ns=start_ns,
        start_ns=start_ns,
        end_ns=start_ns + 1,
        outcome="ok" if response is not None else "failed",
        request=request,
        response=response,
        error=error,
    )
    return replace(history, operations=(*history.operations, operation))


def end_of(history: History) -> int:
    """Give a time after everything, the last lease included."""
    return 10**10 + max(each.end_ns or each.start_ns for each in history.operations)


def reads(run: Run, *, latest: bool = True) -> list[tuple[Operation, Range, RangeResponse]]:
    """Give the answered reads that show keys: linearizable and latest ones, or all others."""
    return [
        (each, each.request, each.response)
        for each in run.history.operations
        if isinstance(each.request, Range)
        and isinstance(each.response, RangeResponse)
        and each.response.kvs
        and (not each.request.serializable and not each.request.revision) == latest
    ]


def change_first(response: RangeResponse, kv: KeyValue) -> RangeResponse:
    """Show another first key."""
    return replace(response, kvs=(kv, *response.kvs[1:]))


def highest_before(run: Run, at_ns: int) -> int:
    """Give the highest revision that anybody had been shown before a time."""
    sighting = Sightings(run.history).highest_before(at_ns)
    return sighting.revision if sighting else 0


def watched(history: History) -> set[int]:
    """Give the revisions whose events the widest watches showed."""
    return {
        event.kv.mod_revision
        for record in history.watches
        if isinstance(record, WatchResponse) and record.watch == 0
        for event in record.events
    }


def deliveries(history: History) -> list[WatchResponse]:
    """Give the watch responses with events."""
    return [each for each in history.watches if isinstance(each, WatchResponse) and each.events]


def rewatch(history: History, old: WatchRecord, *new: WatchRecord) -> History:
    """Put records in the place of one; positions on its stream are counted anew."""
    records: list[WatchRecord] = []
    for each in history.watches:
        records += new if each is old else [each]
    numbered = (replace(each, position=place) for place, each in enumerate(records))
    return replace(history, watches=tuple(numbered))


def follows(first: WatchRecord, second: WatchRecord) -> bool:
    """Tell whether two records are of one watch, the second later."""
    same = (first.stream, first.watch) == (second.stream, second.watch)
    return same and first.position < second.position


def creation_of(history: History, record: WatchRecord) -> WatchCreated:
    """Give the created response of a record's watch."""
    for each in history.watches:
        if isinstance(each, WatchCreated) and follows(each, record):
            return each
    raise LookupError(record)
