"""Lies to watchers: events lost, doubled, split, out of order, and marks that promise too much."""

from __future__ import annotations

from random import Random

from msgspec.structs import replace

from tests.tools.check.surgery import Mutation, Run, creation_of, deliveries, follows, rewatch
from tools.check.history import (
    Event,
    History,
    KeyValue,
    WatchCanceled,
    WatchCreated,
    WatchEnded,
    WatchResponse,
)


def _pairs(history: History) -> list[tuple[WatchResponse, WatchResponse]]:
    told = deliveries(history)
    return [(first, second) for first in told for second in told if follows(first, second)]


def _first(response: WatchResponse) -> int:
    return response.events[0].kv.mod_revision


def _last(response: WatchResponse) -> int:
    return response.events[-1].kv.mod_revision


def _whole(history: History) -> list[WatchResponse]:
    """Give deliveries that show several keys at one revision."""
    return [
        each for each in deliveries(history) if len(each.events) > 1 and _first(each) == _last(each)
    ]


def event_lost(random: Random, run: Run) -> History | None:
    """A response in the midst of others never came."""
    pairs = _pairs(run.history)
    return rewatch(run.history, random.choice(pairs)[0]) if pairs else None


def last_event_lost(random: Random, run: Run) -> History | None:
    """The last response never came, however long the harness waited."""
    for end in run.history.watches:
        if isinstance(end, WatchEnded) and end.due_revision:
            told = [each for each in deliveries(run.history) if follows(each, end)]
            if told:
                return rewatch(run.history, told[-1])
    return None


def event_twice(random: Random, run: Run) -> History | None:
    """A response comes a second time."""
    told = deliveries(run.history)
    if not told:
        return None
    again = random.choice(told)
    return rewatch(run.history, again, again, again)


def events_reordered(random: Random, run: Run) -> History | None:
    """Two responses change places."""
    for first, second in _pairs(run.history):
        history = rewatch(run.history, first, replace(first, events=second.events))
        place = run.history.watches.index(second)
        return rewatch(history, history.watches[place], replace(second, events=first.events))
    return None


def revision_split(random: Random, run: Run) -> History | None:
    """The events of one revision come in two responses."""
    for each in _whole(run.history):
        parts = (replace(each, events=each.events[:1]), replace(each, events=each.events[1:]))
        return rewatch(run.history, each, *parts)
    return None


def revision_halved(random: Random, run: Run) -> History | None:
    """Of the events of one revision the first is missing."""
    for each in _whole(run.history):
        return rewatch(run.history, each, replace(each, events=each.events[1:]))
    return None


def revision_turned(random: Random, run: Run) -> History | None:
    """The events of one revision come in the wrong order."""
    for each in _whole(run.history):
        return rewatch(run.history, each, replace(each, events=each.events[::-1]))
    return None


def _with_first_event(history: History, response: WatchResponse, event: Event) -> History:
    return rewatch(history, response, replace(response, events=(event, *response.events[1:])))


def wrong_event_value(random: Random, run: Run) -> History | None:
    """An event shows a value that was not written."""
    for each in deliveries(run.history):
        event = each.events[0]
        if event.kind == "put":
            wrong = replace(event, kv=replace(event.kv, value=b"nobody's"))
            return _with_first_event(run.history, each, wrong)
    return None


def wrong_event_kind(random: Random, run: Run) -> History | None:
    """A put is shown as a deletion."""
    for each in deliveries(run.history):
        event = each.events[0]
        if event.kind == "put":
            gone = Event("delete", KeyValue(event.kv.key, mod_revision=event.kv.mod_revision))
            return _with_first_event(run.history, each, gone)
    return None


def wrong_event_prev_kv(random: Random, run: Run) -> History | None:
    """An event shows a state before it that was not."""
    for each in deliveries(run.history):
        event = each.events[0]
        if event.prev_kv is not None:
            wrong = replace(event, prev_kv=replace(event.prev_kv, value=b"nobody's"))
            return _with_first_event(run.history, each, wrong)
    return None


def event_out_of_range(random: Random, run: Run) -> History | None:
    """A watch shows a key that is not in its range."""
    for each in deliveries(run.history):
        created = creation_of(run.history, each)
        if each.watch == 1 and any(event.kv.key == b"k3" for event in each.events):
            return rewatch(run.history, created, replace(created, range_end=b"k3"))
    return None


def event_filtered_away(random: Random, run: Run) -> History | None:
    """A watch shows a kind of event that its filter excludes."""
    for each in deliveries(run.history):
        if any(event.kind == "delete" for event in each.events):
            created = creation_of(run.history, each)
            return rewatch(run.history, created, replace(created, no_delete=True))
    return None


def event_before_start(random: Random, run: Run) -> History | None:
    """A resumed watch goes back in time."""
    for each in deliveries(run.history):
        created = creation_of(run.history, each)
        older = run.store.events.get(created.start_revision - 1)
        if created.watch == 0 and created.start_revision and older:
            earlier = replace(each, revision=created.start_revision - 1, events=tuple(older))
            return rewatch(run.history, created, created, earlier)
    return None


def progress_too_far(random: Random, run: Run) -> History | None:
    """A progress mark promises what has not come yet."""
    told = deliveries(run.history)
    if not told:
        return None
    each = random.choice(told)
    return rewatch(run.history, each, replace(each, revision=_first(each), events=()), each)


def progress_goes_back(random: Random, run: Run) -> History | None:
    """A progress mark is below what has come already."""
    told = deliveries(run.history)
    if not told:
        return None
    each = random.choice(told)
    return rewatch(run.history, each, each, replace(each, revision=_last(each) - 1, events=()))


def progress_instead_of_event(random: Random, run: Run) -> History | None:
    """An event is lost and a progress mark covers it."""
    told = deliveries(run.history)
    if not told:
        return None
    each = random.choice(told)
    return rewatch(run.history, each, replace(each, revision=_last(each), events=()))


def resumed_with_gap(random: Random, run: Run) -> History | None:
    """A watch goes on one revision after the one that it should begin with."""
    for each in deliveries(run.history):
        created = creation_of(run.history, each)
        if created.start_revision and created.start_revision < _first(each):
            later = replace(created, start_revision=created.start_revision + 1)
            return rewatch(run.history, created, later)
    return None


def canceled_without_compaction(random: Random, run: Run) -> History | None:
    """A watch is canceled for a compaction that nobody asked for."""
    for each in run.history.watches:
        if isinstance(each, WatchEnded):
            place = (each.stream, each.position, each.watch, each.at_ns)
            return rewatch(run.history, each, WatchCanceled(*place, run.store.revision + 7))
    return None


def event_after_cancellation(random: Random, run: Run) -> History | None:
    """A canceled watch goes on."""
    for each in deliveries(run.history):
        canceled = WatchCanceled(each.stream, each.position, each.watch, each.at_ns)
        return rewatch(run.history, each, canceled, each)
    return None


def never_created(random: Random, run: Run) -> History | None:
    """Events come for a watch that was not announced."""
    for each in deliveries(run.history):
        created = creation_of(run.history, each)
        if isinstance(created, WatchCreated):
            return rewatch(run.history, created)
    return None


WATCH_MUTATIONS: tuple[tuple[str, Mutation], ...] = (
    ("reliable", event_lost),
    ("reliable", last_event_lost),
    ("unique", event_twice),
    ("ordered", events_reordered),
    ("atomic", revision_split),
    ("reliable", revision_halved),
    ("reliable", revision_turned),
    ("reliable", wrong_event_value),
    ("reliable", wrong_event_kind),
    ("reliable", wrong_event_prev_kv),
    ("filtered", event_out_of_range),
    ("filtered", event_filtered_away),
    ("filtered", event_before_start),
    ("bookmarkable", progress_too_far),
    ("bookmarkable", progress_goes_back),
    ("reliable", progress_instead_of_event),
    ("resumable", resumed_with_gap),
    ("compacted", canceled_without_compaction),
    ("announced", event_after_cancellation),
    ("announced", never_created),
)
