"""What is a version, which one a downgrade may go to, and what stands in the state."""

from __future__ import annotations

import json

import pytest

from node.machine.answer import Answer
from node.machine.downgrade import Downgrade, parse_target
from node.machine.envelope import RequestKind
from node.machine.errors import (
    DowngradeInProgress,
    InvalidDowngradeTarget,
    NoDowngrade,
    Refusal,
    WrongVersionFormat,
)
from node.machine.export import Origin, buckets
from node.machine.view import MemoryView
from node.proto import rpc
from tests.support.machine import Replica

ENABLE, CANCEL = rpc.DowngradeRequest.ENABLE, rpc.DowngradeRequest.CANCEL


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("3.5", "3.5.0"),
        ("3.5.0", "3.5.0"),
        ("3.5.21", "3.5.0"),
        ("3.5.0-rc.1", "3.5.0"),
        ("3.5.0+linux.amd64", "3.5.0"),
        ("3.5.0-rc.1+b", "3.5.0"),
        ("10.20", "10.20.0"),
    ],
)
def test_version_is_a_minor_release(text: str, target: str) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    ["", "3", "v3.5", "v3.5.0", "3.5-rc", "3.5.", "3.5.0.1", "three", "3.5.0 ", "³.5", "-3.5"],
)
def test_what_is_no_version(text: str) -> None:
    assert parse_target(text) == WrongVersionFormat()


@pytest.mark.parametrize(
    ("target", "refusal"),
    [
        ("3.5.0", None),
        ("3.6.0", InvalidDowngradeTarget()),
        ("3.7.0", InvalidDowngradeTarget()),
        ("3.4.0", InvalidDowngradeTarget()),
        ("2.5.0", InvalidDowngradeTarget()),
    ],
)
def test_target_is_the_release_before(target: str, refusal: Refusal | None) -> None:
    assert Downgrade(MemoryView()).check(target, "3.6.0") == refusal


def change(replica: Replica, action: rpc.DowngradeRequest.DowngradeAction, version: str) -> object:
    request = rpc.DowngradeRequest(action=action, version=version)
    outcome = replica.apply(RequestKind.DOWNGRADE, request).outcome
    return "done" if isinstance(outcome, Answer) else outcome


def test_announcement_stands_until_it_is_taken_back() -> None:
    replica = Replica()

    early = change(replica, CANCEL, "")
    first, second = change(replica, ENABLE, "3.5.0"), change(replica, ENABLE, "3.5.0")
    replica.restart()
    target = replica.machine.downgrade.target
    check = replica.machine.downgrade.check("3.5.0", "3.6.0")
    last = change(replica, CANCEL, "")
    replica.restart()

    assert (early, first, second, last) == (NoDowngrade(), "done", DowngradeInProgress(), "done")
    assert (target, check) == ("3.5.0", DowngradeInProgress())
    assert replica.machine.downgrade.target == ""


def test_announcement_is_exported_as_etcd_keeps_it() -> None:
    replica = Replica()
    origin = Origin(index=7, term=3, voters=(1,), learners=(), version="3.6.0")
    before = dict(dict(buckets(replica.view, origin))[b"cluster"])
    change(replica, ENABLE, "3.5.0")

    after = dict(dict(buckets(replica.view, origin))[b"cluster"])

    assert b"downgrade" not in before
    assert json.loads(after[b"downgrade"]) == {"target-version": "3.5.0", "enabled": True}
