"""Stabbing queries against looking at every interval."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from node.machine.interval import contains
from node.watch.interval_map import IntervalMap

bounds = st.binary(max_size=2)
intervals = st.tuples(bounds, st.none() | bounds)
actions = st.lists(st.tuples(st.booleans(), intervals, st.integers(0, 3)), max_size=120)


@settings(max_examples=150, deadline=None)
@given(actions, st.lists(bounds, min_size=3, max_size=3))
def test_at_finds_what_contains_the_key(
    actions: list[tuple[bool, tuple[bytes, bytes | None], int]], keys: list[bytes]
) -> None:
    found: IntervalMap[int] = IntervalMap()
    everything: set[tuple[tuple[bytes, bytes | None], int]] = set()
    for adds, interval, thing in actions:
        if adds:
            found.add(interval, thing)
            everything.add((interval, thing))
        elif (interval, thing) in everything:
            found.discard(interval, thing)
            everything.discard((interval, thing))

    for key in keys:
        expected = sorted(thing for (lo, hi), thing in everything if contains(lo, hi, key))
        assert sorted(found.at(key)) == expected


def test_at_survives_many_intervals_coming_and_going() -> None:
    found: IntervalMap[int] = IntervalMap()
    spans = [(b"%04d" % lo, b"%04d" % (lo + 10)) for lo in range(1000)]
    for number, span in enumerate(spans):
        found.add(span, number)
    for number, span in enumerate(spans):
        if number % 3:
            found.discard(span, number)

    assert sorted(found.at(b"0500")) == [492, 495, 498]
    for number, span in enumerate(spans):
        if not number % 3:
            found.discard(span, number)
    assert list(found.at(b"0500")) == []
