"""The watch check: each watch shows exactly the changes that it asked for, each once, in order.

    announced      no record of a watch before its created response, none after its cancellation
    filtered       only events of its range and kinds, none older than its start
    ordered        revisions ascend over all responses
    unique         no key twice at one revision
    atomic         the events of one revision come in one response
    bookmarkable   a progress mark is not below what came before, and nothing at or below it follows
    reliable       from its start to its horizon exactly the changes of the timeline, with the right
                   state before each where that was asked
    resumable      the next watch of a subscription leaves no revision out
    compacted      a cancellation for compaction names a revision that somebody compacted to, and
                   only hits a watch that still needed older ones

What did not come after the last event or mark is late rather than lost, unless the harness says
with `due_revision` that it had waited. All but "reliable" are judged without a timeline too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from tools.check.history import (
    Compact,
    Event,
    History,
    KeyValue,
    WatchCanceled,
    WatchResponse,
)
from tools.check.keyspace import Change
from tools.check.text import describe_bytes, describe_interval, describe_kv, describe_time
from tools.check.timeline import Moment, Timeline
from tools.check.verdict import Finding, Verdict, judge
from tools.check.watch_span import WatchSpan, orphans, watch_spans

CHECK = "watch"


def check_watches(history: History, timeline: Timeline | None) -> Verdict:
    """Judge all watches; without a timeline, what they should have shown is not known."""
    spans = watch_spans(history.watches)
    findings = [
        Finding("announced", f"watch {each.watch} of stream {each.stream} was never created")
        for each in orphans(history.watches)
    ]
    for span in spans:
        findings += [*_shape(span), *_marks(span), *_cancellation(span, history)]
    findings += _resumption(spans)
    if timeline is None:
        return judge(CHECK, findings, "the order of writes is not known" if spans else "")
    for span in spans:
        findings += _reliability(span, timeline, history)
    return judge(CHECK, findings)


def _finding(span: WatchSpan, rule: str, text: str, *moments: Moment | None) -> Finding:
    created = span.created
    where = describe_interval(created.key, created.range_end)
    subject = f"watch {created.watch} of stream {created.stream} at {created.endpoint} on {where}"
    causes = (moment.operation for moment in moments if moment is not None)
    ids = tuple(operation.id for operation in causes if operation is not None)
    return Finding(rule, f"{subject} from revision {span.start}: {text}", ids)


def _shape(span: WatchSpan) -> Iterator[Finding]:
    """Judge the events one after the other."""
    seen: set[tuple[bytes, int]] = set()
    last, canceled = 0, False
    for record in span.records:
        if canceled:
            yield _finding(span, "announced", f"a record after its end, {_when(record.at_ns)}")
        canceled = canceled or isinstance(record, WatchCanceled)
        if not isinstance(record, WatchResponse) or not record.events:
            continue
        first = record.events[0].kv.mod_revision
        if first == last:
            yield _finding(span, "atomic", f"revision {last} came in two responses")
        for event in record.events:
            yield from _event_shape(span, event, last, seen)
            last = max(last, event.kv.mod_revision)
        if record.revision < last:
            text = f"header revision {record.revision} below its event of revision {last}"
            yield _finding(span, "ordered", text)


def _event_shape(
    span: WatchSpan, event: Event, last: int, seen: set[tuple[bytes, int]]
) -> Iterator[Finding]:
    revision = event.kv.mod_revision
    if revision < span.start:
        yield _finding(span, "filtered", f"{_describe(event)} is older than its start")
    if not span.wants(event.kv.key, _state(event)):
        yield _finding(span, "filtered", f"{_describe(event)} is not what it asked for")
    if (event.kv.key, revision) in seen:
        yield _finding(span, "unique", f"{_describe(event)} came twice")
    elif revision < last:
        yield _finding(span, "ordered", f"{_describe(event)} came after revision {last}")
    seen.add((event.kv.key, revision))


def _marks(span: WatchSpan) -> Iterator[Finding]:
    delivered = marked = 0
    for record in span.records:
        if not isinstance(record, WatchResponse):
            continue
        revisions = [event.kv.mod_revision for event in record.events]
        if not revisions:
            if record.revision < delivered:
                text = f"progress to {record.revision} after an event of revision {delivered}"
                yield _finding(span, "bookmarkable", text)
            marked = max(marked, record.revision)
        elif min(revisions) <= marked:
            text = f"an event of revision {min(revisions)} after progress to {marked}"
            yield _finding(span, "bookmarkable", text)
        delivered = max([delivered, *revisions])


def _cancellation(span: WatchSpan, history: History) -> Iterator[Finding]:
    for record in span.records:
        if not isinstance(record, WatchCanceled) or not record.compact_revision:
            continue
        compacted = any(
            isinstance(each.request, Compact)
            and each.request.revision == record.compact_revision
            and each.outcome != "failed"
            and each.start_ns <= record.at_ns
            for each in history.operations
        )
        if not compacted:
            text = f"canceled for revision {record.compact_revision}, which nobody compacted to"
            yield _finding(span, "compacted", text)
        elif record.compact_revision <= span.start:
            text = f"canceled for compaction to {record.compact_revision}, which it did not need"
            yield _finding(span, "compacted", text)


def _resumption(spans: list[WatchSpan]) -> Iterator[Finding]:
    subscriptions: dict[str, list[WatchSpan]] = defaultdict(list)
    for span in sorted(spans, key=lambda each: each.created.at_ns):
        subscriptions[span.created.subscription].append(span)
    for sequence in subscriptions.values():
        for earlier, later in pairwise(sequence):
            # What was compacted meanwhile is gone; a client goes on from there.
            if later.start > max(earlier.delivered + 1, earlier.compacted):
                text = f"the watch before it had shown only what is up to {earlier.delivered}"
                yield _finding(later, "resumable", text)


def _reliability(span: WatchSpan, timeline: Timeline, history: History) -> Iterator[Finding]:
    shown: dict[int, list[Event]] = defaultdict(list)
    for event in span.events():
        shown[event.kv.mod_revision].append(event)
    baseline = history.baseline.revision
    for revision in sorted({*shown, *range(span.start, span.horizon + 1)}):
        moment = timeline.moments.get(revision)
        if moment is None:
            if revision > baseline:
                yield _finding(span, "reliable", f"revision {revision} never happened")
            continue
        wanted = [change for change in moment.changes if span.wants(*change)]
        yield from _compare(span, moment, wanted, shown[revision])
        for event in shown[revision]:
            yield from _compare_previous(span, moment, event, timeline, history)


def _compare(
    span: WatchSpan, moment: Moment, wanted: list[Change], events: list[Event]
) -> Iterator[Finding]:
    # The same event twice is told by "unique".
    got = list(dict.fromkeys((event.kv.key, _state(event)) for event in events))
    if got == wanted:
        return
    missing = [_describe_change(each) for each in wanted if each not in got]
    extra = [_describe_change(each) for each in got if each not in wanted]
    text = f"at revision {moment.revision} "
    if missing or extra:
        text += f"missing: {', '.join(missing) or 'none'}; wrong: {', '.join(extra) or 'none'}"
    else:
        text += "the events came in another order than the changes"
    yield _finding(span, "reliable", text, moment)


def _compare_previous(
    span: WatchSpan, moment: Moment, event: Event, timeline: Timeline, history: History
) -> Iterator[Finding]:
    previous = moment.revision - 1
    right = timeline.space.at(event.kv.key, previous) if span.created.prev_kv else None
    if event.prev_kv == right or previous < history.baseline.revision:
        return
    if event.prev_kv is None and _may_be_compacted(previous, history):
        return
    before = f"{describe_kv(event.prev_kv)} before it, not {describe_kv(right)}"
    text = f"{_describe(event)} with {before}"
    yield _finding(span, "reliable", text, moment)


def _may_be_compacted(revision: int, history: History) -> bool:
    return any(
        isinstance(each.request, Compact)
        and each.request.revision > revision
        and each.outcome != "failed"
        for each in history.operations
    )


def _state(event: Event) -> KeyValue | None:
    return event.kv if event.kind == "put" else None


def _describe(event: Event) -> str:
    if event.kind == "put":
        return f"put {describe_kv(event.kv)}"
    return f"delete {describe_bytes(event.kv.key)} at revision {event.kv.mod_revision}"


def _describe_change(change: Change) -> str:
    key, state = change
    return describe_kv(state) if state else f"{describe_bytes(key)} deleted"


def _when(at_ns: int) -> str:
    return f"at {describe_time(at_ns)}"
