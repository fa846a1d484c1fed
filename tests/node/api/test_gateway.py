"""The JSON gateway, beside the one of a real etcd."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.api.gateway import messages_of
from node.api.json_message import DEPTH_MAX, BadRequest, document_of, documents, fill
from node.api.route import ROUTES
from node.proto import rpc
from tests.support.api_member import ServedMember
from tests.support.etcd_process import EtcdProcess, running_etcd

HEADERS = ("content-type", "access-control-allow-origin", "access-control-allow-methods")
Told = tuple[int, Any]


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


def ask(address: str, path: str, body: str, method: str = "POST", timeout: str = "") -> Told:
    """Status, and the JSON that came; a list of lines if it was streamed."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        headers = {"Grpc-Timeout": timeout} if timeout else {}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read().decode()
        streamed = response.getheader("transfer-encoding") == "chunked"
    finally:
        connection.close()
    found = [json.loads(line) for line in text.splitlines()] if streamed else json.loads(text)
    return response.status, without_ids(found)


def without_ids(found: Any) -> Any:
    """What may differ between two correct servers is blanked."""
    if isinstance(found, list):
        return [without_ids(each) for each in found]
    if not isinstance(found, dict):
        return found
    blank = {"cluster_id": "", "member_id": "", "raft_term": ""}
    return {key: blank.get(key, without_ids(value)) for key, value in found.items()}


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcess]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as running:
        yield running


A, B, Z = b64("a"), b64("b"), b64("z")
TXN = {
    "compare": [{"key": A, "result": "GREATER", "target": "VERSION", "version": "0"}],
    "success": [
        {"requestPut": {"key": B, "value": b64("by txn"), "prevKv": True}},
        {"request_range": {"key": A, "range_end": Z}},
        {"request_txn": {"failure": [], "success": [{"request_delete_range": {"key": A}}]}},
    ],
}
SCRIPT: list[tuple[str, Any]] = [
    ("kv/put", {"key": A, "value": b64("1")}),
    ("kv/put", {"key": A, "value": b64("2"), "prev_kv": True}),
    ("kv/put", {"key": A, "value": "/+8=", "prevKv": True}),
    ("kv/range", {"key": A}),
    ("kv/range", {"key": A, "revision": "2", "keys_only": True}),
    ("kv/range", {"key": A, "rangeEnd": Z, "sort_order": "DESCEND", "sort_target": 2, "limit": 1}),
    ("kv/range", {"key": A, "unknown": {"to": ["everybody"]}, "limit": None}),
    ("kv/range", {"key": B, "serializable": True}),
    ("kv/range", {}),
    ("kv/range", {"key": A, "revision": 99}),
    ("kv/txn", TXN),
    ("kv/txn", {}),
    ("lease/grant", {"TTL": 100, "ID": "77"}),
    ("lease/grant", {"TTL": "100", "ID": 77}),
    ("kv/put", {"key": A, "lease": "77"}),
    ("lease/keepalive", {"ID": 77}),
    ("lease/leases", {}),
    ("kv/lease/leases", {}),
    ("lock/lock", {"name": b64("lock"), "lease": "77"}),
    ("lock/unlock", {"key": b64("lock/4d")}),
    ("lock/lock", {"name": b64("lock"), "lease": "78"}),
    ("election/campaign", {"name": b64("vote"), "lease": 77, "value": B}),
    ("election/leader", {"name": b64("vote")}),
    ("election/leader", {"name": b64("nobody")}),
    ("election/proclaim", {"leader": {"name": b64("vote"), "key": b64("vote/4d"), "rev": 1}}),
    ("election/proclaim", {"value": A}),
    ("election/resign", {"leader": {"name": b64("vote"), "key": b64("vote/4d"), "rev": 1}}),
    ("lease/timetolive", {"ID": 79, "keys": True}),
    ("lease/revoke", {"ID": 77}),
    ("kv/lease/revoke", {"ID": 77}),
    ("kv/deleterange", {"key": B, "prev_kv": True}),
    ("kv/compaction", {"revision": 3}),
    ("kv/compaction", {"revision": 3}),
    ("maintenance/alarm", {"action": "ACTIVATE", "alarm": "NOSPACE"}),
    ("maintenance/alarm", {"action": "GET"}),
    ("maintenance/alarm", {"action": "DEACTIVATE", "alarm": 1}),
    ("maintenance/transfer-leadership", {"targetID": "5"}),
]


def test_conversation_is_that_of_etcd(served: ServedMember, etcd: EtcdProcess) -> None:
    for path, document in SCRIPT:
        body = json.dumps(document)
        ours, theirs = (
            ask(address, f"/v3/{path}", body) for address in (served.address, etcd.address)
        )
        assert ours == theirs, (path, document)


def test_prefix_of_old_clients_is_served(served: ServedMember) -> None:
    assert ask(served.address, "/v3beta/kv/put", json.dumps({"key": A}))[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        '{"key":',
        "[]",
        '"key"',
        "\xff",
        '{"key": "!!"}',
        '{"key": "abc"}',
        '{"key": 1}',
        '{"limit": "many"}',
        '{"limit": 1.5}',
        '{"limit": true}',
        '{"limit": "9223372036854775808"}',
        '{"sort_order": "UP"}',
        '{"keys_only": "true"}',
    ],
)
def test_body_that_is_no_message_is_refused_as_by_etcd(
    served: ServedMember, etcd: EtcdProcess, body: str
) -> None:
    ours, theirs = (
        ask(address, "/v3/kv/range", body) for address in (served.address, etcd.address)
    )

    assert ours[0] == theirs[0] == 400
    assert ours[1]["code"] == theirs[1]["code"] == 3
    assert ours[1].keys() == theirs[1].keys()


def test_what_is_not_there(served: ServedMember) -> None:
    missing = {"error": "Not Found", "code": 5, "message": "Not Found"}
    assert ask(served.address, "/v3/nobody/knows", "{}") == (404, missing)
    assert ask(served.address, "/v3/kv/range", "{}", "GET")[0] == 501


def mapped() -> dict[str, str]:
    """etcd's own mapping: path to service and method."""
    lines = (Path(__file__).parent / "testdata" / "gateway.txt").read_text().splitlines()
    rows = (line.split("|") for line in lines if not line.startswith("#"))
    return {path.strip(): method.strip() for path, method in rows}


def test_routes_are_those_of_etcd() -> None:
    ours = {f"/v3/{path}": f"{service}/{name}" for path, (service, name) in ROUTES.items()}

    assert ours == mapped()
    for service, name in ROUTES.values():
        assert all(messages_of(service, name))


@pytest.mark.parametrize("path", mapped())
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_post_is_mapped(served: ServedMember, path: str, method: str) -> None:
    refusal = {"error": "Method Not Allowed", "code": 12, "message": "Method Not Allowed"}

    assert ask(served.address, path, "", method) == (501, refusal)


def test_browsers_may_ask(served: ServedMember, etcd: EtcdProcess) -> None:
    found = []
    for address in (served.address, etcd.address):
        connection = http.client.HTTPConnection(address, timeout=10)
        connection.request("OPTIONS", "/v3/kv/put")
        response = connection.getresponse()
        found.append((response.status, [response.getheader(name) for name in HEADERS]))
        connection.close()

    assert found[0] == found[1]


def test_without_leader(served: ServedMember) -> None:
    served.call(served.member.lose_leader)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.request("POST", "/v3/kv/put", "{}", {"Grpc-Metadata-hasleader": "true"})
    response = connection.getresponse()

    assert response.status == 503
    assert json.loads(response.read())["message"] == "etcdserver: no leader"
    connection.close()


def test_failed_stream_says_why(served: ServedMember) -> None:
    served.call(served.member.lose_leader)

    status, lines = ask(served.address, "/v3/lease/keepalive", '{"ID": 1}')

    assert status == 503
    assert [line["error"]["code"] for line in lines] == [14]


def test_stream_with_one_request_needs_no_body(served: ServedMember, etcd: EtcdProcess) -> None:
    shapes = []
    for address in (served.address, etcd.address):
        status, lines = ask(address, "/v3/maintenance/snapshot", "")
        results = [line["result"] for line in lines]
        blobs = [b64decode(result["blob"]) for result in results]
        whole, digest = b"".join(blobs[:-1]), blobs[-1]
        assert hashlib.sha256(whole).digest() == digest
        assert len(whole) % 512 == 0
        left = [int(result.get("remaining_bytes", 0)) for result in results]
        shapes.append((status, left == sorted(left, reverse=True), left[-2:]))

    assert shapes[0] == shapes[1] == (200, True, [0, 0])


def test_leaders_are_observed_as_they_come(served: ServedMember) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.request("POST", "/v3/election/observe", json.dumps({"name": b64("vote")}))
    ask(served.address, "/v3/lease/grant", '{"TTL": 100, "ID": 5}')
    ask(
        served.address,
        "/v3/election/campaign",
        json.dumps({"name": b64("vote"), "lease": 5, "value": A}),
    )

    line = json.loads(connection.getresponse().readline())

    assert line["result"]["kv"]["value"] == A
    connection.close()


@pytest.mark.parametrize("path", ["kv/range", "kv/put", "kv/txn"])
def test_request_may_have_a_deadline(served: ServedMember, path: str) -> None:
    served.call(served.member.lose_leader)  # nothing is committed or confirmed
    writes = {"success": [{"request_put": {"key": A}}]}
    body = json.dumps(writes if path == "kv/txn" else {"key": A})

    status, found = ask(served.address, f"/v3/{path}", body, timeout="50m")

    assert (status, found["code"]) == (504, 4)
    assert found["message"] == "context deadline exceeded"


def test_stream_may_have_a_deadline(served: ServedMember) -> None:
    body = json.dumps({"create_request": {"key": A}})

    status, (created, end) = ask(served.address, "/v3/watch", body, timeout="300m")

    assert status == 200
    assert created["result"]["created"]
    assert end["error"]["code"] == 4


def test_timeout_that_is_none_is_refused(served: ServedMember) -> None:
    for text in ("soon", "5", "1234567890S", "-1S"):
        status, found = ask(served.address, "/v3/kv/range", "{}", timeout=text)

        assert status == 400
        assert found["message"] == f"invalid grpc-timeout: {text}"


# Watching.


class Following:
    """One watch by way of the gateway."""

    def __init__(self, served: ServedMember, **create: Any) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        self.connection.request("POST", "/v3/watch", json.dumps({"create_request": create}))
        self.response = self.connection.getresponse()

    def line(self) -> Any:
        return json.loads(self.response.readline())["result"]


def test_watch_goes_on_until_the_client_leaves(served: ServedMember) -> None:
    ask(served.address, "/v3/kv/put", json.dumps({"key": A, "value": B}))
    following = Following(served, key=A, start_revision="1", prev_kv=True)
    assert following.line()["created"] is True
    (event,) = following.line()["events"]
    assert event["kv"]["mod_revision"] == "2"

    ask(served.address, "/v3/kv/deleterange", json.dumps({"key": A}))
    (event,) = following.line()["events"]
    assert event["type"] == "DELETE"
    assert event["prev_kv"]["value"] == B
    assert served.call(lambda: served.member.open_watches) == 1

    following.connection.close()
    following.response.close()
    served.wait(lambda: served.member.open_watches == 0)


def test_watch_outlives_the_silence_of_its_client(served: ServedMember) -> None:
    following = Following(served, key=A)
    following.line()
    served.call(lambda: served.member.jump(1_000.0))
    time.sleep(0.3)  # several sweeps

    ask(served.address, "/v3/kv/put", json.dumps({"key": A}))

    assert following.line()["events"]
    following.connection.close()


def test_watch_of_a_client_that_does_not_read_is_paused(served: ServedMember) -> None:
    following = Following(served, key=A)
    following.line()
    large = json.dumps({"key": A, "value": b64("x" * 500_000)})
    for _ in range(100):
        ask(served.address, "/v3/kv/put", large)
        if served.call(lambda: bool(served.member.paused)):
            break
    assert served.call(lambda: bool(served.member.paused))

    revision = following.line()["events"][0]["kv"]["mod_revision"]

    served.wait(lambda: not served.member.paused or bool(following.line()))
    assert revision == "2"
    following.connection.close()


# The dialect itself.


def test_documents_follow_each_other() -> None:
    assert list(documents(b' {"a":1}{"b":2}\n[3] ')) == [{"a": 1}, {"b": 2}, [3]]
    assert list(documents(b"")) == []


def test_either_alphabet_of_base64_is_read() -> None:
    for text in ("/+8=", "_-8="):
        message = rpc.PutRequest()
        fill(message, {"key": text})
        assert message.key == b"\xff\xef"


def test_zero_is_left_out_and_set_messages_are_not() -> None:
    message = rpc.TxnResponse(responses=[rpc.ResponseOp(response_put=rpc.PutResponse())])

    assert document_of(message) == {"responses": [{"response_put": {}}]}


def test_nesting_has_a_bound() -> None:
    document: Any = {}
    for _ in range(DEPTH_MAX):
        document = {"success": [{"request_txn": document}]}

    with pytest.raises(BadRequest, match="deep"):
        fill(rpc.TxnRequest(), document)
    with pytest.raises(BadRequest, match="invalid"):
        list(documents(b"[" * 100_000))
