"""What a kube-apiserver relies on: a function for each shape of request, with what must come back.

A shape is a function of a store and of a resource that nobody else touches. It holds on any server
that is an etcd, wherever the store is connected, and however its leader fares.
"""

from __future__ import annotations

from collections.abc import Callable

from node.proto import kv, rpc
from tests.support.api_client import Failed
from tests.support.kubernetes import KubernetesStore, get, pages, prefix_end, put

Shape = Callable[[KubernetesStore, bytes], None]

COMPACTED = Failed(11, "etcdserver: mvcc: required revision has been compacted")
FUTURE = Failed(11, "etcdserver: mvcc: required revision is a future revision")
PAGE = 10
LEASE_SECONDS_MIN = 2


def object_is_created_once(store: KubernetesStore, resource: bytes) -> None:
    """The loser of two creations learns only that; the branch for it is empty."""
    created = store.create(resource + b"a", b"one")
    again = store.create(resource + b"a", b"two")

    revision = created.header.revision
    assert created.succeeded
    assert created.responses[0].response_put.header.revision == revision
    assert not again.succeeded
    assert not again.responses
    assert again.header.revision == revision
    (found,) = store.get(resource + b"a").kvs
    assert found == kv.KeyValue(
        key=resource + b"a",
        value=b"one",
        create_revision=revision,
        mod_revision=revision,
        version=1,
    )


def update_needs_the_newest_revision(store: KubernetesStore, resource: bytes) -> None:
    """Who is late is given what he should have known."""
    key = resource + b"a"
    first = store.create(key, b"one").header.revision
    second = store.update(key, first, b"two")
    late = store.update(key, first, b"three")

    assert second.succeeded
    assert not late.succeeded
    (found,) = late.responses[0].response_range.kvs
    assert (found.value, found.mod_revision, found.version) == (b"two", second.header.revision, 2)
    assert late.responses[0].response_range.count == 1


def update_from_nothing_creates(store: KubernetesStore, resource: bytes) -> None:
    """Endpoints and peer leases are written without asking whether they are there."""
    key = resource + b"a"
    made = store.update(key, 0, b"one")
    again = store.update(key, 0, b"two")

    assert made.succeeded
    assert again.responses[0].response_range.kvs[0].value == b"one"


def deletion_needs_the_newest_revision(store: KubernetesStore, resource: bytes) -> None:
    """A deletion tells no previous value, and one that comes late changes nothing."""
    key = resource + b"a"
    first = store.create(key, b"one").header.revision
    second = store.update(key, first, b"two").header.revision
    late = store.delete(key, first)
    done = store.delete(key, second)
    gone = store.delete(key, second)

    assert late.responses[0].response_range.kvs[0].mod_revision == second
    assert done.responses[0].response_delete_range.deleted == 1
    assert not done.responses[0].response_delete_range.prev_kvs
    assert not gone.succeeded
    assert not gone.responses[0].response_range.kvs
    assert gone.header.revision == done.header.revision


def revision_is_probed_by_a_read_of_nothing(store: KubernetesStore, resource: bytes) -> None:
    """A linearizable read, so it is at least that of every write that was answered."""
    before = store.revision(resource)
    written = store.create(resource + b"a", b"one").header.revision

    assert before < written
    assert store.revision(resource) == written


def list_is_read_in_pages_of_one_revision(store: KubernetesStore, resource: bytes) -> None:
    """`count` is what is left from the page's first key on, and changes after page one are not
    seen by the others."""
    names = [resource + b"%02d" % number for number in range(25)]
    revisions = [store.create(name, b"one").header.revision for name in names]
    seen: list[kv.KeyValue] = []
    shape = []

    for page in pages(store, resource, PAGE):
        shape.append((len(page.kvs), page.count, page.more))
        seen += page.kvs
        if len(shape) == 1:
            store.delete(names[12], revisions[12])
            store.update(names[20], revisions[20], b"two")
            last = store.create(resource + b"99", b"new").header.revision
            continued = store.page(resource, PAGE, page.kvs[-1].key, page.header.revision)
            assert continued.header.revision == last, "the header shows the newest revision"

    assert shape == [(10, 25, True), (10, 15, True), (5, 5, False)]
    assert [pair.key for pair in seen] == names
    assert {pair.value for pair in seen} == {b"one"}
    assert store.count(resource) == 25


def counts_are_told_without_objects(store: KubernetesStore, resource: bytes) -> None:
    """Of uncached resources, for metrics."""
    for number in range(3):
        store.create(resource + b"%d" % number, b"one")

    counted = store.range(
        rpc.RangeRequest(key=resource, range_end=prefix_end(resource), count_only=True)
    )
    assert (counted.count, len(counted.kvs), counted.more) == (3, 0, False)


def cache_is_filled_by_a_list_that_needs_a_leader(store: KubernetesStore, resource: bytes) -> None:
    """And it is compared later with what was there at its revision."""
    first = store.create(resource + b"a", b"one").header.revision
    request = rpc.RangeRequest(key=resource, range_end=prefix_end(resource), limit=10_000)
    filled = store.range(request, leader=True)
    store.update(resource + b"a", first, b"two")
    request.revision = first

    compared = store.range(request)

    assert compared.kvs == filled.kvs
    assert not filled.more
    assert [pair.value for pair in compared.kvs] == [b"one"]


def revisions_that_are_not_there_are_told_apart(store: KubernetesStore, resource: bytes) -> None:
    """410 Gone, 504: made of exactly these texts."""
    first = store.create(resource + b"a", b"one").header.revision
    second = store.update(resource + b"a", first, b"two").header.revision
    store.compact(second)

    def at(revision: int) -> rpc.RangeRequest:
        return rpc.RangeRequest(key=resource + b"a", limit=1, revision=revision)

    assert store.range(at(second)).kvs[0].value == b"two"
    assert store.refused("KV/Range", at(first)) == COMPACTED
    assert store.refused("KV/Range", at(second + 1_000_000)) == FUTURE
    assert store.refused("KV/Compact", rpc.CompactionRequest(revision=second)) == COMPACTED


def watch_tells_what_was_before(store: KubernetesStore, resource: bytes) -> None:
    """Everything but a creation comes with the value that it replaced."""
    key = resource + b"a"
    start = store.revision(resource) + 1
    with store.watch(resource, start) as watch:
        first = store.create(key, b"one").header.revision
        second = store.update(key, first, b"two").header.revision
        third = store.delete(key, second).header.revision

        created, modified, deleted = watch.events(3)

    assert not created.HasField("prev_kv")
    assert created.kv.create_revision == created.kv.mod_revision == first
    assert (modified.kv.mod_revision, modified.prev_kv.mod_revision) == (second, first)
    assert modified.prev_kv.value == b"one"
    assert deleted.type == kv.Event.DELETE
    assert deleted.kv == kv.KeyValue(key=key, mod_revision=third)
    assert (deleted.prev_kv.value, deleted.prev_kv.version) == (b"two", 2)


def watch_replays_the_past_and_goes_on(store: KubernetesStore, resource: bytes) -> None:
    """From the revision after the list, whatever has happened since."""
    start = store.revision(resource) + 1
    revisions = [store.create(resource + b"%d" % n, b"x").header.revision for n in range(5)]
    with store.watch(resource, start) as watch:
        revisions += [store.create(resource + b"%d" % n, b"x").header.revision for n in (5, 6)]

        events = watch.events(7)

    assert [event.kv.mod_revision for event in events] == revisions


def watch_of_the_future_waits(store: KubernetesStore, resource: bytes) -> None:
    """A list at one member may be ahead of the member that is watched."""
    now = store.revision(resource)
    with store.watch(resource, now + 3) as watch:
        revisions = [store.create(resource + b"%d" % n, b"x").header.revision for n in range(4)]

        events = watch.events(2)

    assert [event.kv.mod_revision for event in events] == revisions[2:]


def watch_from_below_the_compacted_ends(store: KubernetesStore, resource: bytes) -> None:
    """It is created, and canceled with the revision from which one could watch."""
    first = store.create(resource + b"a", b"one").header.revision
    last = store.update(resource + b"a", first, b"two").header.revision
    store.compact(last)
    with store.watch(resource, first) as watch:
        ended = watch.next()

    assert ended.canceled
    assert ended.compact_revision == last
    assert not ended.events
    assert not ended.cancel_reason


def progress_is_told_when_all_events_were(store: KubernetesStore, resource: bytes) -> None:
    """A consistent list from the cache waits for this: it may not lag behind a read that was
    answered before."""
    start = store.revision(resource) + 1
    with store.watch(resource, start) as watch:
        for number in range(5):
            written = store.create(resource + b"%d" % number, b"x").header.revision
            assert [event.kv.mod_revision for event in watch.events(1)] == [written]
            elsewhere = store.create(b"/registry/other" + resource + b"%d" % number, b"x")
            wanted = store.revision(resource)
            assert wanted >= elsewhere.header.revision

            told = watch.progress()
            while told < wanted:  # of a member that has not applied it yet; the client asks again
                told = watch.progress()


def large_responses_come_in_fragments(store: KubernetesStore, resource: bytes) -> None:
    """Only if asked for: the parts of one revision, each but the last marked."""
    old, new = b"o" * 700_000, b"n" * 700_000
    keys = [resource + b"a", resource + b"b"]
    for key in keys:
        store.create(key, old)
    start = store.revision(resource) + 1
    with (
        store.watch(resource, start, fragment=True) as parts,
        store.watch(resource, start) as whole,
    ):
        update_both = rpc.TxnRequest(success=[put(key, new) for key in keys])
        store.transact(update_both)

        split = [parts.next(), parts.next()]
        joined = whole.next()

    assert [part.fragment for part in split] == [True, False]
    assert [event for part in split for event in part.events] == list(joined.events)
    assert [event.kv.key for event in joined.events] == keys
    assert not joined.fragment


def compactor_needs_its_turn(store: KubernetesStore, resource: bytes) -> None:
    """Of several API servers one wins each round; the others learn what it knew."""
    key = resource + b"compact_rev_key"

    def round_at(version: int, revision: int) -> rpc.TxnResponse:
        compare = rpc.Compare(key=key, target=rpc.Compare.VERSION, version=version)
        return store.txn(compare, put(key, b"%d" % revision), get(key))

    first = round_at(0, 0)
    loser = round_at(0, 7)
    learnt = first.header.revision
    with store.watch(key, learnt, prev_kv=False, progress_notify=False) as observer:
        second = round_at(1, learnt)
        store.compact(learnt)
        seen = observer.events(2)

    assert first.succeeded
    assert second.succeeded
    assert not loser.succeeded
    (known,) = loser.responses[0].response_range.kvs
    assert (known.value, known.version) == (b"0", 1)
    assert [event.kv.value for event in seen] == [b"0", b"%d" % learnt]
    assert store.get(key, learnt).kvs[0].value == b"0"


def one_lease_carries_many_objects(store: KubernetesStore, resource: bytes) -> None:
    """Events share a lease; when it ends they all go, in one revision, told as deletions."""
    start = store.revision(resource) + 1
    lease = store.grant(LEASE_SECONDS_MIN)
    with store.watch(resource, start) as watch:
        for number in range(3):
            assert store.create(resource + b"%d" % number, b"x", lease).succeeded

        *created, one, two, three = watch.events(6)

    assert {event.kv.lease for event in created} == {lease}
    assert [event.type for event in (one, two, three)] == [kv.Event.DELETE] * 3
    assert len({event.kv.mod_revision for event in (one, two, three)}) == 1
    assert [event.prev_kv.value for event in (one, two, three)] == [b"x"] * 3


def lease_that_carries_nothing_takes_nothing(store: KubernetesStore, resource: bytes) -> None:
    """Masterleases get a new lease every ten seconds; the old one ends with nothing attached."""
    key = resource + b"master"
    start = store.revision(resource) + 1
    old, new = store.grant(LEASE_SECONDS_MIN), store.grant(3600)
    witness = store.create(resource + b"witness", b"x", old)
    first = store.create(key, b"one", old).header.revision
    with store.watch(resource, start) as watch:
        store.update(key, first, b"two", new)

        *_, ended = watch.events(4)

    assert witness.succeeded
    assert (ended.type, ended.kv.key) == (kv.Event.DELETE, resource + b"witness")
    (found,) = store.get(key).kvs
    assert (found.value, found.lease) == (b"two", new)


def status_tells_version_and_size(store: KubernetesStore, resource: bytes) -> None:
    """The feature probe reads the one, a poller the other."""
    store.create(resource + b"a", b"x" * 10_000)
    status = store.status()

    major, minor, patch = (int(part) for part in status.version.split("."))
    assert (major, minor, patch) >= (3, 5, 0)
    assert status.dbSize > 0
    assert status.leader


SHAPES: list[Shape] = [
    object_is_created_once,
    update_needs_the_newest_revision,
    update_from_nothing_creates,
    deletion_needs_the_newest_revision,
    revision_is_probed_by_a_read_of_nothing,
    list_is_read_in_pages_of_one_revision,
    counts_are_told_without_objects,
    cache_is_filled_by_a_list_that_needs_a_leader,
    revisions_that_are_not_there_are_told_apart,
    watch_tells_what_was_before,
    watch_replays_the_past_and_goes_on,
    watch_of_the_future_waits,
    watch_from_below_the_compacted_ends,
    progress_is_told_when_all_events_were,
    large_responses_come_in_fragments,
    compactor_needs_its_turn,
    one_lease_carries_many_objects,
    lease_that_carries_nothing_takes_nothing,
    status_tells_version_and_size,
]
