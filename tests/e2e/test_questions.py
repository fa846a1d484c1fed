"""Questions that only a leader can answer find the next one when theirs does not answer.

A leader that is stopped takes in nothing: what a follower asks it lies in its sockets. Then it is
killed, or wakes after another one was elected and answers late. Either way whoever asked the
follower has one answer, and it is that of a cluster in which everything acknowledged has happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

import pytest
from google.protobuf.message import Message
from prometheus_client.parser import text_string_to_metric_families

from node.proto import rpc
from tests.support.live_cluster import DEADLINE_S, LiveCluster

pytestmark = pytest.mark.e2e

TTL_S = 600
EACH = 4
"""How often each question is asked of each follower."""
ATTEMPTS = 4
"""A busy machine may elect another leader before all questions have arrived at the followers. They
are answered all the same; only, nothing was asked again then, and it is worth another try."""


@dataclass(frozen=True)
class Question:
    """A request that a follower does not answer by itself."""

    method: str
    request: Callable[[int], Message]
    """Made for a lease."""
    answer: type[Message]
    holds: Callable[[Any, int], bool]
    """Whether an answer is right, for that lease."""
    stream: bool = False


def read(key: bytes) -> rpc.RequestOp:
    """A read as a part of a txn."""
    return rpc.RequestOp(request_range=rpc.RangeRequest(key=key))


QUESTIONS = (
    Question(
        "KV/Range",
        lambda lease: rpc.RangeRequest(key=b"question/a"),
        rpc.RangeResponse,
        lambda answer, lease: [kv.lease for kv in answer.kvs] == [lease],
    ),
    Question(
        "KV/Txn",
        lambda lease: rpc.TxnRequest(success=[read(b"question/a"), read(b"question/b")]),
        rpc.TxnResponse,
        lambda answer, lease: [len(r.response_range.kvs) for r in answer.responses] == [1, 0],
    ),
    Question(
        "Cluster/MemberList",
        lambda lease: rpc.MemberListRequest(linearizable=True),
        rpc.MemberListResponse,
        lambda answer, lease: len(answer.members) == 3,  # a name may still be on its way
    ),
    Question(
        "Lease/LeaseTimeToLive",
        lambda lease: rpc.LeaseTimeToLiveRequest(ID=lease, keys=True),
        rpc.LeaseTimeToLiveResponse,
        lambda answer, lease: (answer.grantedTTL, [*answer.keys]) == (TTL_S, [b"question/a"]),
    ),
    Question(
        "Lease/LeaseKeepAlive",
        lambda lease: rpc.LeaseKeepAliveRequest(ID=lease),
        rpc.LeaseKeepAliveResponse,
        lambda answer, lease: lease == answer.ID and answer.TTL == TTL_S,
        stream=True,
    ),
)


class Asked:
    """One question under way."""

    def __init__(self, channel: Any, question: Question, lease: int) -> None:
        self.question = question
        self._lease = lease
        path = f"/etcdserverpb.{question.method}"
        request = question.request(lease).SerializeToString()
        if question.stream:
            self._call = channel.stream_stream(path)(iter([request]), timeout=DEADLINE_S)
        else:
            self._call = channel.unary_unary(path).future(request, timeout=DEADLINE_S)

    def end(self) -> None:
        """Nobody waits for the answer."""
        self._call.cancel()

    def assert_answered(self) -> None:
        """Wait for the one answer, which must be right.

        Raises:
            grpc.RpcError: it is a refusal, or there is none.
        """
        answers = [*self._call] if self.question.stream else [self._call.result()]

        (answer,) = [self.question.answer.FromString(each) for each in answers]
        assert self.question.holds(answer, self._lease), (self.question.method, answer)


def arrived(cluster: LiveCluster, node: str) -> dict[str, int]:
    """Messages of clients that a node has taken in, by method."""
    with urlopen(f"http://{cluster.endpoint(node)}/metrics") as response:
        families = text_string_to_metric_families(response.read().decode())
    return {
        f"{labels['grpc_service'].removeprefix('etcdserverpb.')}/{labels['grpc_method']}": int(
            value
        )
        for family in families
        for name, labels, value, *_ in family.samples
        if name == "grpc_server_msg_received_total"
    }


@contextmanager
def questions(cluster: LiveCluster, lease: int, nodes: list[str]) -> Iterator[list[Asked]]:
    """Ask everything of these nodes, and go on when every question has arrived there."""
    before = {node: arrived(cluster, node) for node in nodes}
    clients = [cluster.api(node) for node in nodes]
    asked = [
        Asked(client.channel, question, lease)
        for client in clients
        for question in QUESTIONS * EACH
    ]

    def have_arrived() -> bool:
        return all(
            arrived(cluster, node)[question.method] >= before[node][question.method] + EACH
            for node in nodes
            for question in QUESTIONS
        )

    try:
        cluster.await_true(have_arrived, "questions at their nodes")
        yield asked
    finally:
        for each in asked:
            each.end()
        for client in clients:
            client.channel.close()


def kill(cluster: LiveCluster, leader: str) -> None:
    """What was asked of it goes with it."""
    cluster.client.kill([leader])


def wake(cluster: LiveCluster, leader: str) -> None:
    """It reads what was asked of it when another one leads."""
    cluster.new_leader(leader)
    cluster.client.resume([leader])


@pytest.mark.parametrize("deed", [kill, wake])
def test_questions_to_a_leader_that_stands_still_are_asked_again(
    cluster: LiveCluster, deed: Callable[[LiveCluster, str], None]
) -> None:
    with cluster.api("n1") as api:
        grant = rpc.LeaseGrantRequest(TTL=TTL_S)
        lease = api.call("/etcdserverpb.Lease/LeaseGrant", grant, rpc.LeaseGrantResponse).ID
        api.put(b"question/a", lease=lease)

    for _ in range(ATTEMPTS):
        leader, followers, term = cluster.leader, cluster.followers, cluster.status()["term"]
        cluster.client.pause([leader])
        with questions(cluster, lease, followers) as asked:
            went_to_it = cluster.status()["term"] == term
            deed(cluster, leader)
            for each in asked:
                each.assert_answered()
        cluster.heal()
        if went_to_it:
            break
