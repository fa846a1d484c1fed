"""The running digest: what it depends on, what it remembers, how it goes on."""

import pytest

from node.chain import CHECKPOINT_ENTRIES, CHECKPOINTS_MAX, JOINED_BYTES_MAX, Chain, Link
from node.machine.answer import Answer, Operation
from node.machine.errors import KeyNotFound, Refusal

EFFECTS: list[Operation] = [(b"ra", b"1"), (b"ca", b"1")]


def absorbed(
    index: int = 7,
    term: int = 3,
    data: bytes = b"put",
    outcome: Answer | Refusal | None = Answer(2, b""),  # noqa: B008
    effects: list[Operation] = EFFECTS,
) -> Link:
    chain = Chain(b"", 6)
    chain.absorb(index, term, data, outcome, effects)
    return chain.link


def filled(entries: int) -> Chain:
    chain = Chain(b"", 0)
    for index in range(1, entries + 1):
        chain.absorb(index, 1, b"data")
    return chain


@pytest.mark.parametrize(
    "other",
    [
        absorbed(index=8),
        absorbed(term=4),
        absorbed(data=b"pux"),
        absorbed(outcome=Answer(3, b"")),
        absorbed(outcome=Answer(2, b"x")),
        absorbed(outcome=KeyNotFound()),
        absorbed(outcome=None),
        absorbed(effects=[(b"ra", b"1"), (b"ca", b"2")]),
        absorbed(effects=[(b"ra", b"1"), (b"ca", None)]),
        absorbed(effects=[(b"ra", b"1"), (b"ca", b"")]),
        absorbed(effects=[(b"ra", b"1")]),
    ],
)
def test_everyPartOfAnEntryAndItsConsequence_counts(other: Link) -> None:
    assert absorbed() == absorbed()
    assert other != absorbed()


@pytest.mark.parametrize("size", [0, 1, JOINED_BYTES_MAX - 1, JOINED_BYTES_MAX, 10_000])
def test_sameRecordBelowTwoKeys_countsAsEqualOnes(size: int) -> None:
    """Whether a member has it once or twice in memory is no matter of the log."""
    data, value = b"d" * size, b"v" * (size + 1)
    copy = bytes(bytearray(value))
    once = absorbed(data=data, effects=[(b"ra", value), (b"ca", value)])

    assert value is not copy
    assert absorbed(data=data, effects=[(b"ra", value), (b"ca", copy)]) == once
    assert absorbed(data=data, effects=[(b"ra", value), (b"ca", b"v" * size)]) != once


@pytest.mark.parametrize("size", [1, JOINED_BYTES_MAX - 1, JOINED_BYTES_MAX, 10_000])
@pytest.mark.parametrize("part", ["data", "key", "value", "other key"])
def test_everyBit_ofAPut_counts(size: int, part: str) -> None:
    def put(changed: str, at: int, bit: int) -> Link:
        content = bytearray(b"d" * size)
        parts = {"data": bytes(content), "value": bytes(content), "key": b"ra", "other key": b"ca"}
        if changed:
            flipped = bytearray(parts[changed])
            flipped[at % len(flipped)] ^= 1 << bit
            parts[changed] = bytes(flipped)
        value = parts["value"]
        effects: list[Operation] = [(parts["key"], value), (parts["other key"], value)]
        return absorbed(data=parts["data"], effects=effects)

    places = {0, 1, size // 2, size - 1}
    links = {put(part, at, bit) for at in places for bit in range(8)}

    assert put("", 0, 0) not in links


def test_difference_isNeverForgotten() -> None:
    one, other = Chain(b"", 0), Chain(b"", 0)
    one.absorb(1, 1, b"a")
    other.absorb(1, 1, b"b")
    for index in range(2, 1000):
        one.absorb(index, 1, b"same")
        other.absorb(index, 1, b"same")

    assert one.link != other.link


def test_restart_goesOnWhereItWasStored() -> None:
    chain, whole = filled(100), filled(300)
    again = Chain(chain.encoded(), 100)
    for index in range(101, 301):
        again.absorb(index, 1, b"data")

    assert again.link == whole.link
    assert again.at(CHECKPOINT_ENTRIES) == whole.at(CHECKPOINT_ENTRIES) is not None


@pytest.mark.parametrize("digest", [b"", b"of another release"])
def test_memberWithoutAUsableDigest_beginsAtItsOwnPosition(digest: bytes) -> None:
    assert Chain(digest, 41).link == Link(41, 0)


def test_checkpoints_areFew_andTheNewestOnes() -> None:
    chain = filled(CHECKPOINT_ENTRIES * (CHECKPOINTS_MAX + 3) + 5)

    assert chain.newest == CHECKPOINT_ENTRIES * (CHECKPOINTS_MAX + 3)
    assert chain.at(CHECKPOINT_ENTRIES * 3) is None
    assert chain.at(CHECKPOINT_ENTRIES * 4) is not None
    assert chain.at(chain.newest + 5) is None


def test_check_remembersTheOldChain_andBeginsANewOne() -> None:
    """What lay behind the check can still be compared, and members that began elsewhere join."""
    old, joined = filled(10), Chain(b"", 9)
    joined.absorb(10, 1, b"data")
    before = old.link
    old.begin(10)
    joined.begin(10)

    assert old.at(10) == before
    assert old.link == joined.link == Link(10, 0)


def test_installedSnapshot_bringsItsDigest_andNoCheckpoints() -> None:
    chain, sender = filled(CHECKPOINT_ENTRIES), filled(700)
    chain.resume(sender.encoded(), 700)

    assert chain.link == sender.link
    assert chain.newest == 0
