"""Lies to clients: stale or wrong reads, lost, doubled or unasked writes, revisions in disorder."""

from __future__ import annotations

from random import Random

from msgspec.structs import replace

from tests.tools.check.surgery import (
    Mutation,
    Run,
    answer,
    ask,
    change_first,
    end_of,
    exchange,
    highest_before,
    reads,
    remove,
    watched,
)
from tools.check.history import (
    COMPACTED,
    Compact,
    DeleteRangeResponse,
    HashReport,
    History,
    KeyValue,
    Operation,
    Put,
    PutResponse,
    Range,
    RangeResponse,
    TxnResponse,
)


def _acknowledged_puts(run: Run) -> list[tuple[Operation, PutResponse]]:
    return [
        (each, each.response)
        for each in run.history.operations
        if isinstance(each.response, PutResponse)
    ]


def stale_read(random: Random, run: Run) -> History | None:
    """A linearizable read is answered with an older state than somebody had been shown."""
    for read, request, response in reads(run):
        older = random.randint(run.store.first, response.revision)
        if older < highest_before(run, read.start_ns):
            return answer(run.history, read, run.store.read_at(request, older))
    return None


def read_misses_write(random: Random, run: Run) -> History | None:
    """A read at the right revision does not show an acknowledged put."""
    told = {response.revision for _, response in _acknowledged_puts(run)}
    for read, request, response in reads(run):
        first = response.kvs[0]
        if first.mod_revision in told and not request.range_end:
            before = run.store.states[first.mod_revision - 1].get(first.key)
            kvs = () if before is None else (before,)
            return answer(run.history, read, replace(response, kvs=kvs, count=len(kvs)))
    return None


def phantom_value(random: Random, run: Run) -> History | None:
    """A read shows what nobody wrote."""
    for read, _, response in reads(run):
        return answer(
            run.history,
            read,
            change_first(response, replace(response.kvs[0], value=b"nobody's")),
        )
    return None


def wrong_version(random: Random, run: Run) -> History | None:
    """A read counts one put too many."""
    for read, _, response in reads(run):
        kv = replace(response.kvs[0], version=response.kvs[0].version + 1)
        return answer(run.history, read, change_first(response, kv))
    return None


def wrong_create_revision(random: Random, run: Run) -> History | None:
    """A read shows a key as older than it is."""
    for read, _, response in reads(run):
        kv = replace(response.kvs[0], create_revision=response.kvs[0].create_revision - 1)
        return answer(run.history, read, change_first(response, kv))
    return None


def wrong_mod_revision(random: Random, run: Run) -> History | None:
    """A read shows a change as older than it is."""
    for read, _, response in reads(run, latest=False):
        kv = replace(response.kvs[0], mod_revision=response.kvs[0].mod_revision - 1)
        return answer(run.history, read, change_first(response, kv))
    return None


def wrong_lease(random: Random, run: Run) -> History | None:
    """A read shows a key at a lease to which it was never attached."""
    for read, _, response in reads(run):
        kv = replace(response.kvs[0], lease=999)
        return answer(run.history, read, change_first(response, kv))
    return None


def wrong_count(random: Random, run: Run) -> History | None:
    """A count is one too high."""
    for read, _, response in reads(run):
        return answer(run.history, read, replace(response, count=response.count + 1))
    return None


def key_missing_in_list(random: Random, run: Run) -> History | None:
    """A list leaves a key out, consistently."""
    for read, _, response in reads(run):
        if len(response.kvs) > 1 and not response.more:
            fewer = replace(response, kvs=response.kvs[1:], count=response.count - 1)
            return answer(run.history, read, fewer)
    return None


def old_revision_changed(random: Random, run: Run) -> History | None:
    """A read of an old revision shows the state of another one."""
    for read, request, response in reads(run, latest=False):
        if not request.revision:
            continue
        for revision in range(run.store.first, run.store.revision + 1):
            other = run.store.read_at(replace(request, revision=0), revision)
            if other.kvs != response.kvs:
                changed = replace(response, kvs=other.kvs, count=other.count, more=other.more)
                return answer(run.history, read, changed)
    return None


def read_from_the_future(random: Random, run: Run) -> History | None:
    """A serializable read shows a write that starts after the read has ended."""
    for read in run.history.operations:
        if not isinstance(read.request, Range) or not read.request.serializable:
            continue
        for write, response in _acknowledged_puts(run):
            if read.response and read.end_ns is not None and write.start_ns > read.end_ns:
                shown = run.store.read_at(read.request, response.revision)
                return answer(run.history, read, shown)
    return None


def revision_told_twice(random: Random, run: Run) -> History | None:
    """Two puts are told the same revision."""
    puts = _acknowledged_puts(run)
    if len(puts) < 2:
        return None
    (_, first), (second, response) = random.sample(puts, 2)
    return answer(run.history, second, replace(response, revision=first.revision))


def revisions_swapped(random: Random, run: Run) -> History | None:
    """Of two puts in a row the first is told the later revision."""
    puts = _acknowledged_puts(run)
    for first, early in puts:
        for second, late in puts:
            if first.end_ns is not None and first.end_ns < second.start_ns:
                history = answer(run.history, first, replace(early, revision=late.revision))
                return answer(history, second, replace(late, revision=early.revision))
    return None


def revision_beyond_all(random: Random, run: Run) -> History | None:
    """A put is told a revision that the store never reached."""
    for put, response in _acknowledged_puts(run):
        beyond = replace(response, revision=run.store.revision + 3)
        return answer(run.history, put, beyond)
    return None


def failed_but_applied(random: Random, run: Run) -> History | None:
    """A put is refused, and watchers see it all the same."""
    for put, response in _acknowledged_puts(run):
        if response.revision in watched(run.history):
            return exchange(run.history, replace(put, outcome="failed", response=None))
    return None


def unasked_write(random: Random, run: Run) -> History | None:
    """Watchers see a put that nobody asked for."""
    for put, response in _acknowledged_puts(run):
        if response.revision in watched(run.history):
            return remove(run.history, put)
    return None


def acknowledged_but_lost(random: Random, run: Run) -> History | None:
    """A put is acknowledged with the revision that the store had anyway."""
    history = run.history
    put, at_ns = Put(b"k0", b"never stored"), end_of(history)
    history = ask(history, at_ns, put, PutResponse(run.store.revision + 1))
    shown = run.store.read_at(Range(b"k0"), run.store.revision)
    return ask(history, at_ns + 10, Range(b"k0"), replace(shown, revision=shown.revision + 1))


def wrong_branch(random: Random, run: Run) -> History | None:
    """A transaction says that it took the other branch."""
    for each in run.history.operations:
        if isinstance(each.response, TxnResponse):
            flipped = replace(each.response, succeeded=not each.response.succeeded)
            return answer(run.history, each, flipped)
    return None


def wrong_prev_kv(random: Random, run: Run) -> History | None:
    """A put returns a state before it that was not."""
    for put, response in _acknowledged_puts(run):
        if isinstance(put.request, Put) and put.request.prev_kv:
            wrong = (
                KeyValue(put.request.key, b"nobody's", 2, 2, 1) if not response.prev_kv else None
            )
            return answer(run.history, put, replace(response, prev_kv=wrong))
    return None


def wrong_deleted(random: Random, run: Run) -> History | None:
    """A delete counts one key too many."""
    for each in run.history.operations:
        deletion = each.response
        if isinstance(deletion, DeleteRangeResponse) and deletion.deleted:
            return answer(run.history, each, replace(deletion, deleted=deletion.deleted + 1))
    return None


def compacted_but_answered(random: Random, run: Run) -> History | None:
    """What is compacted is read after the compaction was acknowledged."""
    for each in run.history.operations:
        if isinstance(each.request, Compact) and each.response:
            revision = each.request.revision - 1
            if revision >= run.store.first:
                shown = run.store.read_at(Range(b"k0"), revision)
                told = replace(shown, revision=run.store.revision)
                return ask(run.history, end_of(run.history), Range(b"k0", revision=revision), told)
    return None


def refused_but_not_compacted(random: Random, run: Run) -> History | None:
    """A read is refused as compacted at a revision that nobody compacted."""
    request = Range(b"k0", revision=run.store.revision)
    return ask(run.history, end_of(run.history), request, None, COMPACTED)


def list_is_not_a_state(random: Random, run: Run) -> History | None:
    """A list is put together from two revisions."""
    for read, request, response in reads(run):
        if not request.range_end or response.more:
            continue
        for revision in range(run.store.first, response.revision):
            older = {kv.key: kv for kv in run.store.read_at(request, revision).kvs}
            mixed = (older.get(response.kvs[0].key), *response.kvs[1:])
            if mixed[0] is not None and mixed[0] != response.kvs[0]:
                kvs = tuple(kv for kv in mixed if kv is not None)
                return answer(
                    run.history, read, RangeResponse(response.revision, kvs, False, response.count)
                )
    return None


def hash_differs(random: Random, run: Run) -> History | None:
    """One member has another hash at the same revision."""
    report = random.choice(run.history.hashes)
    other = HashReport(
        "n9", report.at_ns, report.revision, report.hash ^ 1, report.compact_revision
    )
    return replace(run.history, hashes=(*run.history.hashes, other))


REVISION_MUTATIONS: tuple[tuple[str, Mutation], ...] = (
    ("real-time order", stale_read),
    ("state at revision", read_misses_write),
    ("state at revision", phantom_value),
    ("state at revision", wrong_version),
    ("state at revision", wrong_create_revision),
    ("state at revision", wrong_mod_revision),
    ("state at revision", wrong_lease),
    ("state at revision", wrong_count),
    ("state at revision", key_missing_in_list),
    ("state at revision", old_revision_changed),
    ("real-time order", read_from_the_future),
    ("unique revision", revision_told_twice),
    ("real-time order", revisions_swapped),
    ("explained revision", revision_beyond_all),
    ("explained revision", failed_but_applied),
    ("explained revision", unasked_write),
    ("state at revision", acknowledged_but_lost),
    ("state at revision", wrong_branch),
    ("state at revision", wrong_prev_kv),
    ("state at revision", wrong_deleted),
    ("answered though compacted", compacted_but_answered),
    ("refused without compaction", refused_but_not_compacted),
    ("state at revision", list_is_not_a_state),
)
AGREEMENT_MUTATIONS: tuple[tuple[str, Mutation], ...] = (("equal hash", hash_differs),)
