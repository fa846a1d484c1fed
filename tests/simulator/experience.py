"""What clients have been through in a run, as coverage marks: the workload is audited like the
faults, because what is never asked is never judged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.simulator.history import Asked, Recorder
from tests.simulator.ledger import LOGGED, Ledger
from tools.check.history import (
    COMPACTED,
    LEASE_NOT_FOUND,
    LeaseKeepAlive,
    LeaseResponse,
    Put,
    Range,
    Txn,
    TxnResponse,
    WatchCanceled,
    WatchCreated,
    WatchRecord,
    WatchResponse,
)


def experience(recorder: Recorder, ledger: Ledger) -> Iterator[str]:
    """Yield a mark for everything that happened; to be asked once the log was replayed."""
    for asked in recorder.asked:
        yield from _of_request(asked, ledger)
    streams: dict[str, list[WatchRecord]] = defaultdict(list)
    for record in recorder.watches:
        streams[record.stream].append(record)
    yield from _of_subscriptions(recorder)
    for records in streams.values():
        yield from _of_stream(records)


def _of_request(asked: Asked, ledger: Ledger) -> Iterator[str]:
    if asked.outcome == "unknown" and isinstance(asked.request, LOGGED):
        recorded = ledger.recorded.get(asked.id)
        happened = recorded is not None and not recorded.refused
        yield "client_unknown_happened" if happened else "client_unknown_did_not"
    match asked.request, asked.response:
        case Txn(compare=compare), TxnResponse(succeeded=succeeded) if compare:
            yield "client_compare_held" if succeeded else "client_compare_failed"
        case LeaseKeepAlive(), LeaseResponse(ttl=0):
            yield "client_lease_was_gone"
        case Range(revision=revision), None if revision and asked.error == COMPACTED:
            yield "client_past_compacted"
        case Range(revision=revision), response if revision and response:
            yield "client_past_read"
        case Put(), None if asked.error == LEASE_NOT_FOUND:
            yield "client_put_without_lease"
        case _:
            pass


def _of_subscriptions(recorder: Recorder) -> Iterator[str]:
    last: dict[str, WatchCreated] = {}
    for record in recorder.watches:
        if isinstance(record, WatchCreated):
            before = last.get(record.subscription)
            last[record.subscription] = record
            if before is not None and before.stream != record.stream:
                moved = before.endpoint != record.endpoint
                yield "client_watch_moved" if moved else "client_watch_resumed"


def _of_stream(records: list[WatchRecord]) -> Iterator[str]:
    for record in records:
        match record:
            case WatchCanceled(compact_revision=revision):
                yield "client_watch_compacted" if revision else "client_watch_cancelled"
            case WatchResponse(events=()):
                yield "client_stream_mark" if record.watch == -1 else "client_progress_note"
            case WatchResponse(events=events) if len({e.kv.mod_revision for e in events}) > 1:
                yield "client_events_of_many_revisions"
            case WatchResponse(events=events) if len(events) > 1:
                yield "client_events_of_one_txn"
            case _:
                pass
