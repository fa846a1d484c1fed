"""Reflection: asked by grpcio's own reflection client, and with raw requests for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (  # type: ignore[import-untyped]
    ProtoReflectionDescriptorDatabase,
)

from node.api.reflection import WAITING_MAX
from node.proto import reflection
from node.proto.pool import POOL
from tests.support.api_client import ApiClient, messages
from tests.support.api_member import ServedMember
from tests.support.raw_client import RawClient
from transport.grpc import CallEnded
from transport.http2.limits import Limits

V1 = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
V1ALPHA = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
RPC = "node/proto/rpc.proto"
Request = reflection.ServerReflectionRequest
Response = reflection.ServerReflectionResponse

SERVICES = [
    "etcdserverpb.Auth",
    "etcdserverpb.Cluster",
    "etcdserverpb.KV",
    "etcdserverpb.Lease",
    "etcdserverpb.Maintenance",
    "etcdserverpb.Watch",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "v3electionpb.Election",
    "v3lockpb.Lock",
]


def ask(client: ApiClient, *requests: reflection.ServerReflectionRequest) -> list[Any]:
    """One stream with these requests, and all of its responses."""
    call = client.stream(V1, [request.SerializeToString() for request in requests])
    return list(messages(call, Response))


def names(response: reflection.ServerReflectionResponse) -> list[str]:
    """The files that came."""
    told = response.file_descriptor_response.file_descriptor_proto
    return [FileDescriptorProto.FromString(each).name for each in told]


def test_grpcs_own_client_learns_every_service_and_message(client: ApiClient) -> None:
    database = ProtoReflectionDescriptorDatabase(client.channel)
    pool = DescriptorPool(database)

    assert database.get_services() == SERVICES
    for name in SERVICES:
        theirs, ours = pool.FindServiceByName(name), POOL.FindServiceByName(name)
        assert [
            (method.name, method.input_type.full_name, method.output_type.full_name)
            for method in theirs.methods
        ] == [
            (method.name, method.input_type.full_name, method.output_type.full_name)
            for method in ours.methods
        ]


@pytest.mark.parametrize("path", [V1, V1ALPHA])
def test_both_names_of_the_service_answer(client: ApiClient, path: str) -> None:
    question = Request(host="here", list_services="*")

    (response,) = messages(client.stream(path, [question.SerializeToString()]), Response)

    assert [service.name for service in response.list_services_response.service] == SERVICES
    assert response.valid_host == "here"
    assert response.original_request == question


@pytest.mark.parametrize(
    ("symbol", "first"),
    [
        ("etcdserverpb.KV", RPC),
        ("etcdserverpb.KV.Range", RPC),
        ("etcdserverpb.RangeRequest", RPC),
        ("etcdserverpb.RangeRequest.key", RPC),
        ("etcdserverpb.RangeRequest.SortOrder", RPC),
        ("etcdserverpb.AlarmType", RPC),
        ("mvccpb.KeyValue", "node/proto/kv.proto"),
        ("grpc.reflection.v1.ServerReflection", "node/proto/reflection.proto"),
    ],
)
def test_file_of_a_symbol(client: ApiClient, symbol: str, first: str) -> None:
    (response,) = ask(client, Request(file_containing_symbol=symbol))

    assert names(response)[0] == first


def test_files_come_with_what_they_depend_on(client: ApiClient) -> None:
    (response,) = ask(client, Request(file_by_filename=RPC))

    assert names(response) == [RPC, "node/proto/auth.proto", "node/proto/kv.proto"]


def test_file_that_came_before_comes_again_only_by_name(client: ApiClient) -> None:
    first, second = ask(client, *[Request(file_by_filename=RPC)] * 2)

    assert len(names(first)) == 3
    assert names(second) == [RPC]


@pytest.mark.parametrize(
    "question",
    [
        {"file_by_filename": "nobody.proto"},
        {"file_containing_symbol": "etcdserverpb.Nothing"},
        {"file_containing_symbol": "etcdserverpb.KV.Nothing"},
        {"file_containing_symbol": ""},
        {"all_extension_numbers_of_type": "etcdserverpb.Nothing"},
        {"file_containing_extension": {"containing_type": "etcdserverpb.Nothing"}},
        {
            "file_containing_extension": {
                "containing_type": "etcdserverpb.RangeRequest",
                "extension_number": 7,
            }
        },
    ],
)
def test_question_without_answer_does_not_end_the_stream(
    client: ApiClient, question: dict[str, Any]
) -> None:
    first, second = ask(client, Request(**question), Request(list_services=""))

    assert first.error_response.error_code == 5
    assert first.error_response.error_message == "proto: not found"
    assert first.original_request == Request(**question)
    assert second.list_services_response.service


def test_message_without_extensions(client: ApiClient) -> None:
    (response,) = ask(client, Request(all_extension_numbers_of_type="etcdserverpb.PutRequest"))

    found = response.all_extension_numbers_response
    assert (found.base_type_name, list(found.extension_number)) == ("etcdserverpb.PutRequest", [])


def test_request_that_asks_nothing_ends_the_stream(client: ApiClient) -> None:
    call = client.stream(V1, [Request(host="here").SerializeToString()])

    assert call.code().value[0] == 3
    assert call.details().startswith("invalid MessageRequest")


@pytest.mark.parametrize("state", ["learner", "leaderless", "corrupt"])
def test_answers_whatever_the_member_is(
    served: ServedMember, client: ApiClient, state: str
) -> None:
    if state == "learner":
        served.member.is_learner = True
    elif state == "leaderless":
        served.call(served.member.lose_leader)
    else:
        client.raw("/etcdserverpb.Maintenance/Alarm", b"\x08\x01\x10\xa1\x01\x18\x02")
        assert served.call(lambda: served.member.accused)

    (response,) = ask(client, Request(list_services=""))

    assert response.list_services_response.service


@pytest.fixture
def deaf(served: ServedMember) -> Iterator[RawClient]:
    """A client whose window holds hardly an answer."""
    with RawClient(served.port, Limits(stream_window_bytes=1000)) as client:
        yield client


def test_client_that_asks_without_end_and_does_not_read_is_ended(deaf: RawClient) -> None:
    question = Request(file_by_filename=RPC).SerializeToString()
    call_id = deaf.grpc.start(V1)
    for _ in range(3 * WAITING_MAX):
        deaf.grpc.send(call_id, question)
    deaf.flush()

    events = deaf.wait(lambda events: any(isinstance(event, CallEnded) for event in events))

    (end,) = (event for event in events if isinstance(event, CallEnded))
    assert (end.status, end.text) == (8, "too many reflection requests unanswered")
