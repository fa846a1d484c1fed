"""StateView against a plain dict, and snapshots of the durable state."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.boot import MemoryStore, open_memory_store
from store.config import StoreConfig
from store.engine import Engine, Operation
from store.errors import InvariantViolated
from store.leveldb import LevelDBEngine
from store.log import Batch, HardState, Position
from store.memory import MemoryEngine
from store.overlay import StateView
from tests.support.store_parts import MEMBER, appended, entries


def fresh() -> MemoryStore:
    store = open_memory_store(MemoryEngine(), 1, 1, StoreConfig())
    store.writer.submit(Batch(entries=entries(1, 2), hard_state=HardState(1, MEMBER, 1)))
    store.writer.step()
    return store


def seal_and_submit(store: MemoryStore) -> int:
    effects = store.view.seal(store.writer.next_seq)
    return store.writer.submit(Batch(effects=effects, applied=Position(1, 1)))


def durable_with(records: list[Operation]) -> MemoryStore:
    store = fresh()
    store.view.stage(records)
    seal_and_submit(store)
    store.writer.step()
    store.view.retire(store.writer.take_durable())
    return store


def test_get_prefers_staged_over_sealed_over_engine() -> None:
    store = durable_with([(b"k", b"engine")])
    view = store.view
    seen = [view.get(b"k")]
    view.stage([(b"k", b"sealed")])
    seal_and_submit(store)
    seen.append(view.get(b"k"))
    view.stage([(b"k", b"staged")])
    seen.append(view.get(b"k"))

    assert seen == [b"engine", b"sealed", b"staged"]


def test_get_of_a_staged_deletion_hides_the_engine() -> None:
    view = durable_with([(b"k", b"engine")]).view
    view.stage([(b"k", None)])

    assert view.get(b"k") is None
    assert list(view.scan(b"", b"")) == []


def test_retire_keeps_what_a_newer_batch_overwrote() -> None:
    store = fresh()
    for value in (b"1", b"2", b"1"):
        store.view.stage([(b"k", value)])
        seal_and_submit(store)
    store.writer.step(1)
    store.view.retire(store.writer.take_durable())
    store.writer.step(1)

    assert store.engine.prefixed(b"s\x01").get(b"k") == b"2"
    assert store.view.get(b"k") == b"1"


def test_retire_of_everything_leaves_nothing_staged() -> None:
    store = durable_with([(b"a", b"1"), (b"b", None)])

    assert store.view.staged_records == 0


def test_seal_of_nothing_is_empty() -> None:
    assert fresh().view.seal(5) == []


def test_unsealed_until_sealed() -> None:
    view = fresh().view
    seen = [view.unsealed]
    view.stage([(b"k", None)])
    seen.append(view.unsealed)
    view.seal(5)
    seen.append(view.unsealed)

    assert seen == [False, True, False]


def test_seal_out_of_order_is_a_bug() -> None:
    view = fresh().view
    view.stage([(b"a", b"1")])
    view.seal(5)
    view.stage([(b"a", b"2")])

    with pytest.raises(InvariantViolated, match="out of order"):
        view.seal(5)


def test_scan_does_not_show_what_is_staged_after_it_began() -> None:
    store = durable_with([(b"a", b"1"), (b"c", b"3")])
    store.view.stage([(b"b", b"2")])
    scan = store.view.scan(b"", b"")
    first = next(scan)
    store.view.stage([(b"b", b"late"), (b"bb", b"late"), (b"c", None)])
    seal_and_submit(store)
    store.writer.step()
    store.view.retire(store.writer.take_durable())

    assert [first, *scan] == [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]


def test_names_of_retired_keys_do_not_pile_up() -> None:
    store = fresh()
    view = store.view
    for round_number in range(40):
        view.stage([(b"%d/%d" % (round_number, number), b"x") for number in range(100)])
        seal_and_submit(store)
        assert next(view.scan(b"", b"")) is not None
        store.writer.step()
        view.stage([(b"open", b"always one")])
        view.retire(store.writer.take_durable())

    assert len(view._order) + len(view._arrived) < 2 * len(view._latest) + 1300


def test_adopt_shows_the_other_generation() -> None:
    store = durable_with([(b"k", b"old")])
    store.engine.write([(b"s\x07k", b"new")])
    store.view.adopt(7)

    assert store.view.generation == 7
    assert store.view.get(b"k") == b"new"


def test_adopt_with_effects_under_way_is_a_bug() -> None:
    view = fresh().view
    view.stage([(b"k", b"1")])

    with pytest.raises(InvariantViolated):
        view.adopt(7)


def test_read_snapshot_is_the_durable_state_at_its_applied_position() -> None:
    store = durable_with([(b"k", b"durable")])
    store.view.stage([(b"k", b"staged")])
    with store.view.read_snapshot() as snapshot:
        store.writer.submit(appended(2, 3, effects=store.view.seal(store.writer.next_seq)))
        store.writer.step()

        assert snapshot.position == Position(1, 1)
        assert snapshot.get(b"k") == b"durable"
        assert list(snapshot.scan(b"", b"")) == [(b"k", b"durable")]
    with store.view.read_snapshot() as later:
        assert later.position == Position(2, 1)
        assert later.get(b"k") == b"staged"


@pytest.mark.parametrize("bytes_max", [1, 10, 25, 1000])
def test_snapshot_chunks_cover_everything_once(bytes_max: int) -> None:
    records = [(b"%02d" % number, b"value %02d" % number) for number in range(20)]
    store = durable_with([*records])
    collected: list[tuple[bytes, bytes]] = []
    lo: bytes | None = b""
    with store.view.read_snapshot() as snapshot:
        while lo is not None:
            chunk, lo = snapshot.chunk(lo, bytes_max)
            assert chunk
            assert sum(len(key) + len(value) for key, value in chunk[:-1]) < bytes_max
            collected += chunk

    assert collected == records


@dataclass
class Pair:
    """A view, its engine, and what both should amount to."""

    view: StateView
    engine: Engine
    model: dict[bytes, bytes] = field(default_factory=dict)
    waiting: list[tuple[int, list[Operation]]] = field(default_factory=list)
    sealed: int = 0
    written: int = 0

    def stage(self, operations: list[Operation]) -> None:
        self.view.stage(operations)
        for key, value in operations:
            if value is None:
                self.model.pop(key, None)
            else:
                self.model[key] = value

    def seal(self) -> None:
        self.sealed += 1
        self.waiting.append((self.sealed, self.view.seal(self.sealed)))

    def write(self) -> None:
        if self.waiting:
            self.written, operations = self.waiting.pop(0)
            self.engine.write(operations)

    def expected(self, lo: bytes, hi: bytes, reverse: bool) -> list[tuple[bytes, bytes]]:
        inside = [item for item in self.model.items() if lo <= item[0] and (not hi or item[0] < hi)]
        return sorted(inside, reverse=reverse)


keys = st.tuples(st.sampled_from(b"\x00ab\xff"), st.sampled_from([b"", b"\x00", b"b"])).map(
    lambda parts: bytes((parts[0],)) + parts[1]
)
bounds = st.just(b"") | keys
operations = st.lists(st.tuples(keys, st.none() | st.binary(max_size=2)), max_size=6)
actions = st.one_of(
    st.tuples(st.just("stage"), operations),
    st.tuples(st.sampled_from(["seal", "write", "retire"]), st.none()),
    st.tuples(st.just("scan"), st.tuples(bounds, bounds, st.booleans())),
)


def play(pair: Pair, steps: list[tuple[str, object]]) -> None:
    """Run the steps; every scan is consumed only at the end and must still show its own moment."""
    scans: list[tuple[Iterator[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]] = []
    for step in steps:
        match step:
            case ("stage", list(staged)):
                pair.stage(staged)
            case ("seal", None):
                pair.seal()
            case ("write", None):
                pair.write()
            case ("retire", None):
                pair.view.retire(pair.written)
            case ("scan", (bytes(lo), bytes(hi), bool(reverse))):
                scan = pair.view.scan(lo, hi, reverse=reverse)
                scans.append((scan, pair.expected(lo, hi, reverse)))
        for key in (b"a", b"a\x00", b"\xffb"):
            assert pair.view.get(key) == pair.model.get(key)
    assert list(pair.view.scan(b"", b"")) == pair.expected(b"", b"", False)
    for scan, expected in scans:
        assert list(scan) == expected


@settings(deadline=None, max_examples=150)
@given(st.lists(actions, max_size=30))
def test_view_agrees_with_a_dict(steps: list[tuple[str, object]]) -> None:
    engine = MemoryEngine()
    play(Pair(StateView(engine, 3), engine), steps)


@settings(deadline=None, max_examples=25)
@given(st.lists(actions, max_size=20))
def test_view_over_leveldb_agrees_with_a_dict(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]]
) -> None:
    path: Path = tmp_path_factory.mktemp("db") / "db"
    engine = LevelDBEngine(path, StoreConfig(), create=True)
    play(Pair(StateView(engine, 255), engine), steps)
    engine.close()
