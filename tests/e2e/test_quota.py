"""A full store, and the way out that etcd's manual tells, beside the real etcd."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.support.etcdctl import Etcdctl
from tests.support.live_cluster import LiveCluster
from tools.bench.etcd import EtcdCluster

pytestmark = pytest.mark.e2e

QUOTA = 8 << 20
VALUE = "v" * (512 << 10)
PUTS_MAX = 100
"""Far more than fit."""


def fill(ctl: Etcdctl) -> int:
    """Overwrite one key until that is refused; returns how often it was not."""
    for number in range(PUTS_MAX):
        if ctl.run(["put", "big"], VALUE).code:
            return number
    raise AssertionError("it is never full")


def way_out(ctl: Etcdctl) -> list[str]:
    """Everything an operator sees from the first refusal to the first write after it."""
    lines: list[str] = []

    def say(*arguments: str, stdin: str = "") -> str:
        ran = ctl.run(arguments, stdin)
        lines.append(masked(f"$ {' '.join(arguments)} → {ran.code} {ran.out}{ran.error}"))
        return ran.out

    say("alarm", "list")
    say("put", "small", "v")
    say("lease", "grant", "60")
    say("txn", stdin="\n\nput small v\n\n\n")
    say("get", "small")
    say("del", "small")
    say("endpoint", "health")
    (row,) = status_of(ctl)
    lines += [masked(error).strip() for error in row["errors"]]
    say("compact", str(row["header"]["revision"]), "--physical")
    say("defrag")
    say("put", "small", "v")
    say("alarm", "disarm")
    say("alarm", "list")
    say("put", "small", "v")
    say("get", "small")
    return lines


def status_of(ctl: Etcdctl) -> list[dict[str, Any]]:
    return [row["Status"] for row in json.loads(ctl.done("endpoint", "status", "-w", "json"))]


def masked(text: str) -> str:
    text = re.sub(r"memberID:\d+", "memberID:ID", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "ENDPOINT", text)
    text = re.sub(r"compact \d+", "compact N", text)
    text = re.sub(r"(took|revision)[ =:]+[0-9.]+(ms|s|µs)?", r"\1 N", text)
    return re.sub(r"\s+", " ", text)


def test_full_store_reads_as_on_etcd(fresh: Callable[..., LiveCluster], tmp_path: Path) -> None:
    flags = [f"--quota-backend-bytes={QUOTA}", "--unsafe-no-fsync"]
    with EtcdCluster(tmp_path / "etcd", 1, flags) as etcd:
        judge = Etcdctl(etcd.endpoints)
        fill(judge)
        expected = way_out(judge)
    cluster = fresh(1, "--quota-backend-bytes", "8MiB")
    ctl = Etcdctl(cluster.endpoints)

    filled = fill(ctl)
    before = status_of(ctl)[0]
    unhealthy = health(cluster.endpoints[0])
    faults = cluster.node("n1")["faults"]
    found = way_out(ctl)
    after = status_of(ctl)[0]

    assert found == expected
    assert 8 <= filled <= 20
    assert unhealthy == (503, {"health": "false", "reason": "ALARM NOSPACE"})
    assert faults == ["alarm", "nospace"]
    assert cluster.node("n1")["faults"] == []
    assert health(cluster.endpoints[0]) == (200, {"health": "true", "reason": ""})
    assert before["dbSize"] > QUOTA / 2 > 2 << 20 > after["dbSize"] >= after["dbSizeInUse"]


def test_full_store_of_three_is_full_at_each_and_remembered(
    fresh: Callable[..., LiveCluster],
) -> None:
    cluster = fresh(3, "--quota-backend-bytes", "8MiB")
    controls = [Etcdctl([endpoint]) for endpoint in cluster.endpoints]
    fill(controls[0])

    refused = [ctl.run(["put", "small", "v"]) for ctl in controls]
    cluster.down()
    cluster.up()
    again = [ctl.run(["put", "small", "v"]) for ctl in controls]
    deleted = controls[1].done("del", "big")
    revision = int(status_of(controls[0])[0]["header"]["revision"])
    controls[0].done("compact", str(revision), "--physical")
    controls[0].done("defrag", "--cluster")
    controls[2].done("alarm", "disarm")

    assert all("database space exceeded" in ran.error for ran in [*refused, *again])
    assert deleted == "1\n"
    assert [ctl.done("put", "small", "v") for ctl in controls] == ["OK\n"] * 3


def health(endpoint: str) -> tuple[int, dict[str, str]]:
    try:
        with urlopen(f"http://{endpoint}/health") as answer:
            return answer.status, json.load(answer)
    except HTTPError as refused:
        return refused.code, json.load(refused)
