"""Arena: what a reader gets is what was put, or nothing."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport.arena import PAGE_BYTES, Arena, ArenaReader, Descriptor, create_arena
from transport.region import RegionUnusable

SLOTS = 8
AGE_NS = 1_000


@dataclass
class Clock:
    now: int = 0

    def __call__(self) -> int:
        return self.now


class Bench:
    """An arena of eight one-page slots, its reader, and a clock that the test moves."""

    def __init__(self, directory: Path, generation: int = 1) -> None:
        self.path = str(directory / "arena")
        create_arena(self.path, (SLOTS + 1) * PAGE_BYTES)
        self.clock = Clock()
        self.arena = self.open_arena(generation)
        self.reader = ArenaReader(self.path)

    def open_arena(self, generation: int) -> Arena:
        return Arena(self.path, generation, age_ns_max=AGE_NS, clock_ns=self.clock)

    def put(self, payload: bytes) -> Descriptor:
        descriptor = self.arena.put(payload)
        assert descriptor is not None
        return descriptor


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """An arena that nothing is ever put into."""
    return Bench(tmp_path_factory.mktemp("arena"), generation=3)


def test_payload_survives(bench: Bench) -> None:
    payloads = [bytes([n]) * (n * 700) for n in range(6)]
    descriptors = [bench.put(payload) for payload in payloads]

    assert [bench.reader.get(descriptor) for descriptor in descriptors] == payloads


def test_full_arena_takes_nothing(bench: Bench) -> None:
    held = [bench.put(b"x" * 4000) for _ in range(SLOTS)]

    assert bench.arena.put(b"y") is None
    assert bench.reader.get(held[0]) == b"x" * 4000


def test_payload_larger_than_the_arena_is_refused(bench: Bench) -> None:
    assert bench.arena.put(b"x" * (SLOTS * PAGE_BYTES)) is None


def test_released_slot_is_used_again_and_its_descriptor_is_void(bench: Bench) -> None:
    held = [bench.put(b"x" * 4000) for _ in range(SLOTS)]
    bench.arena.release(held[3])
    again = bench.put(b"y" * 4000)

    assert again.offset == held[3].offset
    assert bench.reader.get(held[3]) is None
    assert bench.reader.get(again) == b"y" * 4000


def test_same_bytes_in_a_reused_slot_are_still_another_payload(bench: Bench) -> None:
    first = bench.put(b"same")
    bench.arena.release(first)
    second = bench.put(b"same")

    assert (second.offset, second.crc) == (first.offset, first.crc)
    assert bench.reader.get(first) is None


def test_slot_ages_only_when_room_is_short(bench: Bench) -> None:
    old = bench.put(b"old" * 1000)
    bench.clock.now += AGE_NS + 1
    young = [bench.put(b"young" * 600) for _ in range(SLOTS - 1)]

    assert bench.reader.get(old) == b"old" * 1000
    taken_over = bench.put(b"new" * 1000)
    assert bench.reader.get(old) is None
    assert bench.reader.get(taken_over) == b"new" * 1000
    assert all(bench.reader.get(descriptor) for descriptor in young)


def test_release_after_the_slot_aged_out_leaves_its_new_payload_alone(bench: Bench) -> None:
    old = [bench.put(b"old") for _ in range(SLOTS)]
    bench.clock.now += AGE_NS + 1
    new = [bench.put(b"new") for _ in range(SLOTS)]
    for descriptor in old:
        bench.arena.release(descriptor)

    assert bench.arena.live() == SLOTS
    assert bench.arena.put(b"more") is None
    assert [bench.reader.get(descriptor) for descriptor in new] == [b"new"] * SLOTS


def test_new_generation_voids_what_the_former_writer_left(bench: Bench) -> None:
    left = bench.put(b"of a former life")
    bench.arena.close()
    successor = bench.open_arena(2)
    again = successor.put(b"of a former life")

    assert again is not None
    assert (again.offset, again.ticket) == (left.offset, left.ticket)
    assert bench.reader.get(left) is None
    assert bench.reader.get(again) == b"of a former life"


def test_damaged_payload_is_lost(bench: Bench) -> None:
    descriptor = bench.put(b"x" * 100)
    with Path(bench.path).open("r+b") as file:
        file.seek(descriptor.offset + 50)
        file.write(b"?")

    assert bench.reader.get(descriptor) is None


@settings(deadline=None, max_examples=200)
@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.one_of(st.integers(0, 2**64 - 1), st.integers(0, (SLOTS + 1) * PAGE_BYTES)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)
def test_invented_descriptor_yields_nothing(
    untouched: Bench, generation: int, ticket: int, offset: int, length: int, crc: int
) -> None:
    descriptor = Descriptor(generation, ticket, offset, length, crc)

    assert Descriptor.decode(descriptor.encode()) == descriptor
    assert untouched.reader.get(descriptor) is None


@pytest.mark.parametrize("data", [b"", b"x" * 31, b"x" * 33])
def test_descriptor_of_another_size_is_none(data: bytes) -> None:
    assert Descriptor.decode(data) is None


def test_empty_payload_at_a_place_never_written_is_nothing(untouched: Bench) -> None:
    """Zeros there look like ticket 0 of generation 0, and zero is the checksum of nothing."""
    assert untouched.reader.get(Descriptor(0, 0, PAGE_BYTES, 0, 0)) is None


def test_descriptor_is_compared_whole(bench: Bench) -> None:
    descriptor = bench.put(b"payload")
    for name in ("generation", "ticket", "crc", "length"):
        changed = msgspec.structs.replace(descriptor, **{name: getattr(descriptor, name) ^ 1})

        assert bench.reader.get(changed) is None


def test_region_that_no_writer_opened_is_no_arena(tmp_path: Path) -> None:
    path = str(tmp_path / "arena")
    create_arena(path, 2 * PAGE_BYTES)

    with pytest.raises(RegionUnusable):
        ArenaReader(path)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(st.integers(1, 3 * PAGE_BYTES), st.none()), max_size=60))
def test_slots_never_overlap_and_all_room_comes_back(steps: list[int | None]) -> None:
    """Against a naive model: a dict of what is held; None releases some slot."""
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        held: dict[Descriptor, bytes] = {}
        for number, size in enumerate(steps):
            if size is None and held:
                released = sorted(held, key=lambda descriptor: descriptor.offset)[
                    number % len(held)
                ]
                bench.arena.release(released)
                del held[released]
            elif size is not None:
                payload = bytes([number % 256]) * size
                if (descriptor := bench.arena.put(payload)) is not None:
                    held[descriptor] = payload
            assert all(bench.reader.get(descriptor) == held[descriptor] for descriptor in held)
        for descriptor in held:
            bench.arena.release(descriptor)

        assert bench.arena.put(b"x" * (SLOTS * PAGE_BYTES - 16)) is not None
