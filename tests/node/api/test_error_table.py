"""Every error of etcd's table, brought about: by requests alone, here and at a real etcd with equal
outcome; by a state of affairs here. Those that take several members are in `tests/e2e`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from node.config import Limits
from node.proto import rpc
from tests.node.api.test_errors import rows
from tests.support.api_client import ApiClient, Failed, failure
from tests.support.api_member import ApiMember, ServedMember
from tests.support.etcd_process import EtcdProcess, running_etcd
from tests.support.provocation import (
    BY_CLUSTERS,
    OF_AUTH,
    OF_REQUESTS,
    Provocation,
    put,
    read,
    txn,
)
from tests.support.raw_client import RawClient
from transport.grpc import CallEnded

TABLE = {name: Failed(code, text) for name, code, text in rows()}
WATCH = "/etcdserverpb.Watch/Watch"
HAS_LEADER = (("hasleader", "true"),)
CREATE = rpc.WatchRequest(create_request=rpc.WatchCreateRequest(key=b"k")).SerializeToString()

ELSEWHERE = {
    # With authentication on: test_auth_errors.py, tests/node/machine.
    "AuthFailed",
    "AuthOldRevision",
    "InvalidAuthMgmt",
    "InvalidAuthToken",
    "PermissionDenied",
    # Of members among each other: tests/node/test_membership.py, test_proposals.py.
    "MemberNotEnoughStarted",
    "TimeoutDueToLeaderFail",
    "Unhealthy",
    # Downgrades that were announced: tests/node/api/test_downgrade.py.
    "DowngradeInProcess",
}
NEVER_SENT = {
    "Canceled",  # to a client that has gone
    "ClusterIDMismatch",  # etcd: by the peer port
    "ClusterVersionUnavailable",  # etcd: before the first leader has set one
    "InvalidClientAPIVersion",  # etcd: by no server
    "LeaderChanged",  # here the request is made again
    "MemberExist",  # ids are drawn here
    "NoInflightDowngrade",  # etcd: up to 3.5; since then there is nothing to cancel, which is fine
    "NotCapable",  # etcd: while older members are about
    "TimeoutDueToConnectionLost",  # here a timeout is a timeout
    "TimeoutWaitAppliedIndex",
    "WatchCanceled",  # etcd: by its proxy
}


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcess]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.mark.parametrize("provocation", [*OF_REQUESTS, *OF_AUTH], ids=lambda each: each.name)
def test_request_is_refused_as_by_etcd(
    served: ServedMember, client: ApiClient, etcd: EtcdProcess, provocation: Provocation
) -> None:
    with ApiClient(etcd.address) as theirs:
        refused = provocation.provoke(theirs)
    if not provocation.newer:
        assert refused == TABLE[provocation.error]

    ours = provocation.provoke(client)

    if provocation.path in served.client_port.services.unary:
        assert ours == TABLE[provocation.error]
    else:
        service, method = provocation.path.removeprefix("/").split("/")
        assert ours == Failed(12, f"unknown method {method} for service {service}")


# States of affairs, here.

State = Callable[[], Failed]


def leaderless(client: ApiClient, served: ServedMember) -> Failed:
    served.call(served.member.lose_leader)
    path, request = put()
    answer = client.raw(path, request.SerializeToString(), metadata=HAS_LEADER)
    assert isinstance(answer, Failed)
    return answer


def leaderless_stream(client: ApiClient, served: ServedMember) -> Failed:
    call = client.stream(WATCH, [CREATE], metadata=HAS_LEADER)
    next(call)
    served.call(served.member.lose_leader)
    return ended(call)


def ended(call: object) -> Failed:
    """How a stream ends."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - grpcio's errors are its calls
        for _ in call:  # type: ignore[attr-defined]
            pass
    return failure(caught.value)


def without_quorum(client: ApiClient, served: ServedMember) -> Failed:
    served.call(served.member.lose_leader)
    path, request = put()
    return client.refused(path, request)


def unread(client: ApiClient, served: ServedMember) -> Failed:
    served.call(served.member.lose_leader)
    path, request = read()
    return client.refused(path, request)


def learner(client: ApiClient, served: ServedMember) -> Failed:
    served.member.is_learner = True
    path, request = put()
    return client.refused(path, request)


def learner_reads(client: ApiClient, served: ServedMember) -> Failed:
    served.member.is_learner = True
    path, request = read()
    return client.refused(path, request)


def learner_watches(client: ApiClient, served: ServedMember) -> Failed:
    served.member.is_learner = True
    return ended(client.stream(WATCH, [CREATE]))


def stopping(client: ApiClient, served: ServedMember) -> Failed:
    call = client.stream(WATCH, [CREATE])
    next(call)
    closing = served.begin_close(5.0)
    found = ended(call)
    client.channel.close()
    closing.result(10)
    return found


def crowded(client: ApiClient, served: ServedMember) -> Failed:
    served.member.hold = True
    path, request = put()
    message = request.SerializeToString()
    waiting = client.channel.unary_unary(path).future(message, timeout=10)
    served.wait(lambda: served.member.status().proposals_pending == 1)
    answer = client.refused(path, request)
    waiting.cancel()
    return answer


def impatient(client: ApiClient, served: ServedMember) -> Failed:
    served.member.hold = True
    with RawClient(served.port) as raw:
        path, request = txn(rpc.RequestOp(request_put=rpc.PutRequest(key=b"k")))
        raw.unary(path, request.SerializeToString(), timeout=0.05)
        events = raw.wait(lambda events: bool(events))
    (end,) = (event for event in events if isinstance(event, CallEnded))
    return Failed(end.status, end.text)


BROUGHT_ABOUT: list[tuple[str, Callable[[ApiClient, ServedMember], Failed]]] = [
    ("NoLeader", leaderless),
    ("NoLeader", leaderless_stream),
    ("Timeout", without_quorum),
    ("Timeout", unread),
    ("NotSupportedForLearner", learner),
    ("NotSupportedForLearner", learner_reads),
    ("NotSupportedForLearner", learner_watches),
    ("Stopped", stopping),
    ("RequestTooManyRequests", crowded),
    ("DeadlineExceeded", impatient),
]


@pytest.mark.parametrize(("name", "bring_about"), BROUGHT_ABOUT)
def test_state_is_told_in_etcds_words(
    name: str, bring_about: Callable[[ApiClient, ServedMember], Failed]
) -> None:
    seconds = 0.2 if name == "Timeout" else 30.0
    member = ApiMember(Limits(pending_proposals_max=1), timeout_seconds=seconds)
    with ServedMember(member) as served, ApiClient(served.address) as client:
        assert bring_about(client, served) == TABLE[name]


def test_every_row_is_brought_about_or_said_not_to_be() -> None:
    provoked = {provocation.error for provocation in (*OF_REQUESTS, *OF_AUTH)}
    brought_about = {name for name, _ in BROUGHT_ABOUT}

    assert provoked | brought_about | BY_CLUSTERS | ELSEWHERE | NEVER_SENT == set(TABLE)
    assert not NEVER_SENT & (provoked | brought_about | BY_CLUSTERS)
