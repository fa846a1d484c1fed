"""KV over the wire: grpcio client, real machine, one member without consensus."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from node.api.errors import ETCD_ERRORS
from node.proto import rpc
from tests.support.api_client import ApiClient, Failed
from tests.support.api_member import ApiMember, ServedMember

PUT = "/etcdserverpb.KV/Put"
RANGE = "/etcdserverpb.KV/Range"
DELETE_RANGE = "/etcdserverpb.KV/DeleteRange"
TXN = "/etcdserverpb.KV/Txn"
COMPACT = "/etcdserverpb.KV/Compact"


def refusal(name: str) -> Failed:
    """What a client reads when it is refused by that name."""
    fault = ETCD_ERRORS[name]
    return Failed(int(fault.status), fault.text)


def test_put_answers_with_its_revision(client: ApiClient) -> None:
    response = client.put(b"k", b"v")

    assert response.header == rpc.ResponseHeader(
        cluster_id=0xC1, member_id=0xA1, revision=2, raft_term=2
    )
    assert not response.HasField("prev_kv")


def test_range_reads_what_was_put(client: ApiClient) -> None:
    client.put(b"k", b"v")

    response = client.get(b"k")

    assert [(kv.key, kv.value, kv.mod_revision) for kv in response.kvs] == [(b"k", b"v", 2)]
    assert response.header.revision == 2
    assert response.count == 1


def test_delete_range_counts(client: ApiClient) -> None:
    client.put(b"a")
    client.put(b"b")

    request = rpc.DeleteRangeRequest(key=b"a", range_end=b"c", prev_kv=True)
    response = client.call(DELETE_RANGE, request, rpc.DeleteRangeResponse)

    assert response.deleted == 2
    assert [kv.key for kv in response.prev_kvs] == [b"a", b"b"]
    assert response.header.revision == 4


def test_txn_takes_the_branch_its_compares_choose(client: ApiClient) -> None:
    compare = rpc.Compare(key=b"k", target=rpc.Compare.MOD, mod_revision=0)
    put = rpc.RequestOp(request_put=rpc.PutRequest(key=b"k", value=b"v"))
    get = rpc.RequestOp(request_range=rpc.RangeRequest(key=b"k"))
    request = rpc.TxnRequest(compare=[compare], success=[put], failure=[get])

    first, second = client.txn(request), client.txn(request)

    assert (first.succeeded, first.header.revision) == (True, 2)
    assert (second.succeeded, second.header.revision) == (False, 2)
    assert second.responses[0].response_range.kvs[0].value == b"v"


def test_txn_of_reads_stays_out_of_the_log(served: ServedMember, client: ApiClient) -> None:
    client.put(b"k", b"v")
    get = rpc.RequestOp(request_range=rpc.RangeRequest(key=b"k"))

    response = client.txn(rpc.TxnRequest(success=[get]))

    assert response.responses[0].response_range.kvs[0].value == b"v"
    assert response.header.revision == 2
    assert served.call(lambda: served.member.index) == 1


def test_serializable_range_needs_no_leader(served: ServedMember, client: ApiClient) -> None:
    client.put(b"k", b"v")
    served.call(served.member.lose_leader)

    response = client.range(rpc.RangeRequest(key=b"k", serializable=True))

    assert response.kvs[0].value == b"v"


def test_serializable_txn_needs_no_leader(served: ServedMember, client: ApiClient) -> None:
    client.put(b"k", b"v")
    served.call(served.member.lose_leader)
    get = rpc.RequestOp(request_range=rpc.RangeRequest(key=b"k", serializable=True))

    response = client.txn(rpc.TxnRequest(success=[get]))

    assert response.responses[0].response_range.kvs[0].value == b"v"


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        (PUT, rpc.PutRequest(key=b"k")),
        (RANGE, rpc.RangeRequest(key=b"k")),
        (TXN, rpc.TxnRequest(success=[{"request_range": {"key": b"k"}}])),
    ],
)
def test_what_needs_a_leader_times_out_without_one(path: str, request_: Message) -> None:
    with (
        ServedMember(ApiMember(timeout_seconds=0.1)) as served,
        ApiClient(served.address) as client,
    ):
        served.call(served.member.lose_leader)

        assert client.refused(path, request_) == refusal("Timeout")


@pytest.mark.parametrize("path", [PUT, RANGE, COMPACT])
def test_client_that_requires_a_leader_is_told_at_once(
    served: ServedMember, client: ApiClient, path: str
) -> None:
    served.call(served.member.lose_leader)

    answer = client.raw(path, b"", metadata=[("hasleader", "true")])

    assert answer == refusal("NoLeader")


@pytest.mark.parametrize(
    ("path", "request_", "name"),
    [
        (PUT, rpc.PutRequest(), "EmptyKey"),
        (PUT, rpc.PutRequest(key=b"k", value=b"v", ignore_value=True), "ValueProvided"),
        (PUT, rpc.PutRequest(key=b"k", lease=1, ignore_lease=True), "LeaseProvided"),
        (PUT, rpc.PutRequest(key=b"k", ignore_value=True), "KeyNotFound"),
        (PUT, rpc.PutRequest(key=b"k", lease=7), "LeaseNotFound"),
        (PUT, rpc.PutRequest(key=b"k", value=bytes(1_572_865)), "RequestTooLarge"),
        (RANGE, rpc.RangeRequest(), "EmptyKey"),
        (RANGE, rpc.RangeRequest.FromString(b"\x0a\x01k\x28\x09"), "InvalidSortOption"),
        (RANGE, rpc.RangeRequest(key=b"k", revision=9), "FutureRev"),
        (DELETE_RANGE, rpc.DeleteRangeRequest(), "EmptyKey"),
        (COMPACT, rpc.CompactionRequest(revision=9), "FutureRev"),
        (
            TXN,
            rpc.TxnRequest(success=[{"request_put": {"key": b"%d" % n}} for n in range(129)]),
            "TooManyOps",
        ),
        (
            TXN,
            rpc.TxnRequest(success=[{"request_put": {"key": b"k"}}] * 2),
            "DuplicateKey",
        ),
        (TXN, rpc.TxnRequest(compare=[rpc.Compare()]), "EmptyKey"),
    ],
)
def test_bad_request_is_refused_as_etcd_does(
    client: ApiClient, path: str, request_: Message, name: str
) -> None:
    assert client.refused(path, request_) == refusal(name)


def test_txn_may_have_128_operations(client: ApiClient) -> None:
    puts = [rpc.RequestOp(request_put=rpc.PutRequest(key=b"%d" % n)) for n in range(128)]

    assert len(client.txn(rpc.TxnRequest(success=puts)).responses) == 128


@pytest.mark.parametrize("path", [PUT, RANGE, DELETE_RANGE, TXN, COMPACT])
def test_malformed_protobuf_is_refused_and_the_connection_lives(
    served: ServedMember, client: ApiClient, path: str
) -> None:
    answer = client.raw(path, b"\x0a\xff\xff\xff\xff\x0f")

    assert isinstance(answer, Failed)
    assert answer.code == 13
    assert answer.text.startswith("grpc: error unmarshalling request")
    assert client.put(b"k").header.revision == 2
    assert served.call(lambda: served.member.index) == 1


def test_message_beyond_the_receive_limit_is_refused_by_the_codec(client: ApiClient) -> None:
    answer = client.raw(PUT, bytes(1_572_864 + 524_288 + 1))

    assert isinstance(answer, Failed)
    assert answer.code == 8
    assert answer.text == "grpc: received message larger than max (2097153 vs. 2097152)"
    assert client.put(b"k").header.revision == 2


def test_largest_value_that_fits_is_taken(client: ApiClient) -> None:
    value = bytes(1_572_864 - 16)

    client.put(b"k", value)

    assert client.get(b"k").kvs[0].value == value


def test_compact_refuses_older_reads(client: ApiClient) -> None:
    for _ in range(3):
        client.put(b"k")

    response = client.call(COMPACT, rpc.CompactionRequest(revision=3), rpc.CompactionResponse)

    assert response.header.revision == 4
    assert client.refused(RANGE, rpc.RangeRequest(key=b"k", revision=2)) == refusal("Compacted")
    assert client.refused(COMPACT, rpc.CompactionRequest(revision=3)) == refusal("Compacted")


def test_physical_compaction_answers_when_the_old_revisions_are_gone(
    served: ServedMember, client: ApiClient
) -> None:
    for _ in range(50):
        client.put(b"k")

    request = rpc.CompactionRequest(revision=50, physical=True)
    response = client.call(COMPACT, request, rpc.CompactionResponse)

    assert response.header.revision == 51
    assert served.call(lambda: served.member.machine.physically_compacted(50))


def test_learner_serves_serializable_reads_only(served: ServedMember, client: ApiClient) -> None:
    client.put(b"k", b"v")
    served.member.is_learner = True

    assert client.refused(PUT, rpc.PutRequest(key=b"k")) == refusal("NotSupportedForLearner")
    assert client.refused(RANGE, rpc.RangeRequest(key=b"k")) == refusal("NotSupportedForLearner")
    assert client.range(rpc.RangeRequest(key=b"k", serializable=True)).count == 1
