"""A kill or a power cut after any call of a store: it opens, with all that was acknowledged.

A child is recorded once (`crash/shim.c`); the disks that a crash after each of its calls may leave
are then made one by one and opened here.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from store.errors import Quarantined
from tests.store.crash.script import Content
from tests.store.crash.trace import Call, Disk, Files, lay_out
from tests.store.crash.witness import History, acknowledged, compiled_shim, record

STEPS = 100
MOMENTS = 40

Cut = Callable[[Disk, Random], Files]
CUTS: dict[str, Cut] = {
    "kill": lambda disk, _: disk.killed(),
    "power": lambda disk, chance: disk.unplugged(chance),
}


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled_shim(tmp_path_factory.mktemp("shim"))


def crashes(calls: list[Call], files: Files, chance: Random) -> Iterator[tuple[Call, Disk]]:
    """The disk after some of the calls, half of which lie around a change of names: these are rare
    beside writes and syncs."""
    naming = [number for number, call in enumerate(calls) if call.kind in "crumd"]
    moments = {chance.choice(naming) + chance.randint(0, 3) for _ in range(MOMENTS // 2)}
    moments |= {chance.randrange(len(calls)) for _ in range(MOMENTS // 2)}
    disk = Disk(files)
    for number, call in enumerate(calls):
        disk.play(call)
        if number in moments:
            yield call, disk


def left_behind(files: Files, root: Path, history: History, acknowledged: int) -> Content:
    """What a store holds that finds these files."""
    root.mkdir()
    lay_out(files, root)
    content = history.assert_held(root, acknowledged)
    shutil.rmtree(root)
    return content


def live(
    shim: Path, folder: Path, seed: int, start: Content, files: Files, cut: Cut
) -> tuple[Content, Files]:
    """One life of a store, all of whose deaths are survivable; returns what one of them left."""
    chance = Random(seed)
    history = History.of(seed, STEPS, start)
    calls = record(shim, folder / "recorded", seed, STEPS, files)
    ends: list[tuple[Content, Files]] = []
    for call, disk in crashes(calls, files, chance):
        left = cut(disk, chance)
        try:
            content = left_behind(left, folder / "left", history, acknowledged(disk.notes))
        except Exception as error:
            error.add_note(f"seed {seed}, after call {call}")
            raise
        ends.append((content, left))
    assert len(ends) > MOMENTS // 2
    return chance.choice([end for end in ends if end[0].write_seq > start.write_seq])


@pytest.mark.parametrize("name", CUTS)
def test_crash_after_any_call_loses_nothing_acknowledged(
    shim: Path, tmp_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    for seed in range(int(request.config.getoption("--crash-seeds"))):
        content, files = live(shim, tmp_path, seed, Content(), {}, CUTS[name])
        live(shim, tmp_path, seed + 1_000_000, content, files, CUTS[name])


def test_zeroes_that_a_power_cut_leaves_are_never_taken_for_less(
    shim: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Where a file grows before its data is there, nobody can tell a torn write from damage. Such a
    store may be refused, but not opened without what was acknowledged."""
    refused = opened = 0
    for seed in range(int(request.config.getoption("--crash-seeds"))):
        chance = Random(seed)
        history = History.of(seed, STEPS)
        calls = record(shim, tmp_path / "recorded", seed, STEPS, {})
        for number, (_, disk) in enumerate(crashes(calls, {}, chance)):
            files = disk.unplugged(chance, grown=True)
            left = tmp_path / f"{seed}-{number}"
            try:
                left_behind(files, left, history, acknowledged(disk.notes))
                opened += 1
            except Quarantined:
                refused += 1

    assert opened > refused
