"""Snapshot install: whole before, whole after, nothing in between, at every crash point."""

import pytest

from store import record
from store.boot import MemoryStore, open_memory_store
from store.config import StoreConfig
from store.errors import InvariantViolated
from store.installer import Installer
from store.log import Batch, HardState, Position
from store.memory import MemoryEngine
from tests.support.store_parts import MEMBER, appended, entries

OLD = {b"key %02d" % number: b"old" for number in range(30)}
NEW = {b"key %02d" % number: b"new" for number in range(10, 50)}


def opened(engine: MemoryEngine) -> MemoryStore:
    return open_memory_store(engine, 1, MEMBER, StoreConfig(sweep_records=7), first_conf=b"old")


def member_with_old_state() -> MemoryStore:
    store = opened(MemoryEngine())
    store.view.stage([*OLD.items()])
    store.writer.submit(appended(1, 6, effects=store.view.seal(store.writer.next_seq)))
    store.writer.submit(Batch(entries=entries(6, 13)))
    store.writer.step()
    store.view.retire(store.writer.take_durable())
    return store


def steps_of_an_install(store: MemoryStore, installer: Installer) -> None:
    """Queue a whole install as six batches."""
    records = list(NEW.items())
    for lo in range(0, len(records), 8):
        installer.add(records[lo : lo + 8])
    installer.digest = b"hash"
    installer.finish(Position(9, 4), b"new", HardState(5, MEMBER, 9))


def state_of(store: MemoryStore) -> dict[bytes, bytes]:
    return dict(store.view.scan(b"", b""))


def adopt(store: MemoryStore, installer: Installer) -> None:
    """Go over to the installed state, once that is durable; the old one may go."""
    replaced = store.view.generation
    store.view.adopt(installer.generation)
    store.writer.submit(Batch(discard=replaced))
    store.writer.step()


def sweep_all(store: MemoryStore) -> None:
    while store.writer.tidy():
        pass


def generations_on_disk(store: MemoryStore) -> set[int]:
    return {key[1] for key, _ in store.engine.scan(record.STATE, b"t")}


def test_install_replaces_state_log_and_hard_state() -> None:
    store = member_with_old_state()
    installer = Installer(store.engine, store.writer)
    steps_of_an_install(store, installer)
    store.writer.step()
    store.view.adopt(installer.generation)
    image = store.log.load(10_000)

    assert state_of(store) == NEW
    assert image.boundary == image.last == image.applied == Position(9, 4)
    assert image.hard_state == HardState(5, MEMBER, 9)
    assert (image.conf_index, image.conf, image.digest) == (9, b"new", b"hash")
    assert image.tail == []


def test_log_goes_on_after_the_snapshot() -> None:
    store = member_with_old_state()
    installer = Installer(store.engine, store.writer)
    steps_of_an_install(store, installer)
    store.writer.submit(Batch(entries=entries(10, 12, term=5)))
    store.writer.step()

    assert opened(store.engine).log.load(10_000).tail == entries(10, 12, term=5)


@pytest.mark.parametrize("durable_batches", range(7))
def test_crash_after_any_batch_leaves_one_whole_state(durable_batches: int) -> None:
    store = member_with_old_state()
    steps_of_an_install(store, Installer(store.engine, store.writer))
    store.writer.step(durable_batches)
    again = opened(store.engine)
    before_sweep = state_of(again)
    sweep_all(again)

    finished = durable_batches == 6
    assert before_sweep == state_of(again) == (NEW if finished else OLD)
    assert again.image.applied == (Position(9, 4) if finished else Position(5, 1))
    assert again.image.conf == (b"new" if finished else b"old")
    assert again.image.last == (Position(9, 4) if finished else Position(12, 1))
    assert generations_on_disk(again) == {again.image.generation}


@pytest.mark.parametrize("sweeps", range(8))
def test_crash_while_the_old_state_is_swept(sweeps: int) -> None:
    store = member_with_old_state()
    installer = Installer(store.engine, store.writer)
    steps_of_an_install(store, installer)
    store.writer.step()
    adopt(store, installer)
    for _ in range(sweeps):
        store.writer.tidy()
    again = opened(store.engine)
    sweep_all(again)

    assert state_of(again) == NEW
    assert generations_on_disk(again) == {again.image.generation}
    assert list(again.engine.scan(record.ENTRY, b"M")) == []


def test_abandoned_install_is_swept_and_its_place_not_reused_at_once() -> None:
    store = member_with_old_state()
    first = Installer(store.engine, store.writer)
    first.add([*NEW.items()])
    first.abandon()
    first.abandon()
    second = Installer(store.engine, store.writer)
    steps_of_an_install(store, second)
    store.writer.step()
    adopt(store, second)
    sweep_all(store)

    assert first.generation != second.generation
    assert state_of(store) == NEW
    assert generations_on_disk(store) == {second.generation}


def test_replaced_state_stays_whole_until_it_is_discarded() -> None:
    store = member_with_old_state()
    installer = Installer(store.engine, store.writer)
    steps_of_an_install(store, installer)
    store.writer.step()
    sweep_all(store)
    before = state_of(store)
    adopt(store, installer)
    sweep_all(store)

    assert before == OLD
    assert state_of(store) == NEW
    assert generations_on_disk(store) == {installer.generation}


def test_many_installs_wrap_around_the_generations() -> None:
    store = member_with_old_state()
    for number in range(300):
        installer = Installer(store.engine, store.writer)
        installer.add([(b"install", b"%d" % number)])
        position = Position(20 + number, 4)
        installer.finish(position, b"conf", HardState(5, MEMBER, position.index))
        store.writer.step()
        adopt(store, installer)
        sweep_all(store)

    assert state_of(store) == {b"install": b"299"}
    assert generations_on_disk(store) == {store.view.generation}


def test_other_batches_go_on_meanwhile() -> None:
    store = member_with_old_state()
    installer = Installer(store.engine, store.writer)
    installer.add([*NEW.items()])
    store.view.stage([(b"between", b"old state")])
    effects = store.view.seal(store.writer.next_seq)
    store.writer.submit(
        Batch(hard_state=HardState(2, 0, 6), applied=Position(6, 1), effects=effects)
    )
    store.writer.step()
    store.view.retire(store.writer.take_durable())

    assert state_of(store) == OLD | {b"between": b"old state"}


def test_snapshot_from_the_past_is_a_bug() -> None:
    store = member_with_old_state()
    installer = Installer(store.engine, store.writer)

    with pytest.raises(InvariantViolated, match="from the past"):
        installer.finish(Position(5, 1), b"", HardState(1, MEMBER, 5))


def test_records_after_the_end_are_a_bug() -> None:
    store = member_with_old_state()
    installer = Installer(store.engine, store.writer)
    installer.abandon()

    with pytest.raises(InvariantViolated):
        installer.add([*NEW.items()])
