"""Maintenance.Downgrade over the wire."""

from __future__ import annotations

import pytest

from node.proto import rpc
from tests.support.api_client import ApiClient, Failed
from tests.support.api_member import ServedMember

DOWNGRADE = "/etcdserverpb.Maintenance/Downgrade"
STATUS = "/etcdserverpb.Maintenance/Status"
Request = rpc.DowngradeRequest
VALIDATE, ENABLE, CANCEL = Request.VALIDATE, Request.ENABLE, Request.CANCEL
FORMAT = Failed(3, "etcdserver: wrong downgrade target version format")
TARGET = Failed(3, "etcdserver: invalid downgrade target version")
RUNNING = Failed(9, "etcdserver: cluster has a downgrade job in progress")


def ask(client: ApiClient, action: Request.DowngradeAction, version: str = "") -> str | Failed:
    """The version in the answer, or the refusal."""
    answer = client.raw(DOWNGRADE, Request(action=action, version=version).SerializeToString())
    if isinstance(answer, Failed):
        return answer
    response = rpc.DowngradeResponse.FromString(answer)
    assert response.header.member_id == 0xA1
    return response.version


def shown(client: ApiClient) -> rpc.DowngradeInfo:
    return client.call(STATUS, rpc.StatusRequest(), rpc.StatusResponse).downgradeInfo


def test_downgrade_from_validation_to_its_end(client: ApiClient) -> None:
    before = shown(client)
    steps = [
        ask(client, VALIDATE, "3.5"),
        ask(client, CANCEL),
        ask(client, ENABLE, "3.5.21"),
        ask(client, VALIDATE, "3.5"),
        ask(client, ENABLE, "3.5"),
        ask(client, VALIDATE, "3.4"),
    ]
    during = shown(client)
    end = ask(client, CANCEL)

    assert steps == ["3.6", "3.6", "3.6", RUNNING, RUNNING, TARGET]
    assert before == rpc.DowngradeInfo()
    assert during == rpc.DowngradeInfo(enabled=True, targetVersion="3.5.0")
    assert (end, shown(client)) == ("3.6", rpc.DowngradeInfo())
    assert ask(client, VALIDATE, "3.5") == "3.6"


@pytest.mark.parametrize("action", [VALIDATE, ENABLE])
@pytest.mark.parametrize(
    ("version", "refusal"),
    [("", FORMAT), ("old", FORMAT), ("3.6", TARGET), ("3.7.1", TARGET), ("3.4", TARGET)],
)
def test_downgrade_that_cannot_be(
    client: ApiClient, action: Request.DowngradeAction, version: str, refusal: Failed
) -> None:
    assert ask(client, action, version) == refusal


def test_unknown_action_is_refused(client: ApiClient) -> None:
    assert client.raw(DOWNGRADE, b"\x08\x07") == Failed(2, "etcdserver: unknown method")


def test_judgement_needs_a_quorum(served: ServedMember, client: ApiClient) -> None:
    served.call(served.member.lose_leader)

    refused = client.raw(DOWNGRADE, b"\x12\x033.5")

    assert isinstance(refused, Failed)
    assert refused.code == 14
