"""A change is a view: reads through it see the store as it will be."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from node.machine.change import Change
from node.machine.keyspace import Keyspace
from node.machine.view import MemoryView

keys = st.binary(max_size=2)
records = st.dictionaries(keys, st.binary(max_size=1), max_size=8)
effects = st.dictionaries(keys, st.none() | st.binary(max_size=1), max_size=8)


@settings(max_examples=200, deadline=None)
@given(below=records, above=effects, lo=keys, hi=keys, reverse=st.booleans())
def test_reads_see_effects_over_records(
    below: dict[bytes, bytes],
    above: dict[bytes, bytes | None],
    lo: bytes,
    hi: bytes,
    reverse: bool,
) -> None:
    view = MemoryView()
    change = Change(Keyspace(view))
    view.stage(below.items())
    change.effects.update(above)
    expected = {key: value for key, value in {**below, **above}.items() if value is not None}

    inside = [(key, expected[key]) for key in sorted(expected, reverse=reverse) if lo <= key < hi]
    assert list(change.scan(lo, hi, reverse=reverse)) == inside
    assert [change.get(key) for key in sorted({*below, *above})] == [
        expected.get(key) for key in sorted({*below, *above})
    ]


def test_scan_shows_the_moment_of_the_call() -> None:
    view = MemoryView()
    view.stage([(b"a", b"1"), (b"b", b"2")])
    scan = view.scan(b"", b"z")
    view.stage([(b"b", None), (b"c", b"3")])

    assert list(scan) == [(b"a", b"1"), (b"b", b"2")]
