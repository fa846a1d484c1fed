"""`conclave kv` against a served member: our client port, real sockets, one member without
consensus."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from node.client import EtcdClient
from tests.support.api_member import ApiMember, ServedMember
from tests.support.command import RunConclave, document_of, error_of
from tests.support.management_server import ManagementServer
from tests.support.status_document import status_document
from tools.cli.exit import Exit

Kv = Callable[..., Result]


@pytest.fixture
def served() -> Iterator[ServedMember]:
    """An empty store behind a client port."""
    with ServedMember(ApiMember()) as running:
        yield running


@pytest.fixture
def kv(run: RunConclave, served: ServedMember) -> Kv:
    """`conclave kv …` at that port; it must succeed unless told otherwise."""

    def call(*arguments: str, stdin: str | bytes | None = None, code: Exit = Exit.DONE) -> Result:
        result = run("kv", *arguments, "--endpoints", served.address, stdin=stdin)
        assert result.exit_code == code, result.output
        return result

    return call


@pytest.fixture
def filled(kv: Kv) -> Kv:
    """Four keys: revisions 2 to 6, `b` written twice."""
    for key, value in (("a", "3"), ("b", "1"), ("b", "2"), ("c", "1"), ("d/x", "9")):
        kv("put", key, value)
    return kv


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["a"], "a\n3\n"),
        (["missing"], ""),
        (["b", "--rev", "3"], "b\n1\n"),
        (["a", "c"], "a\n3\nb\n2\n"),
        (["d/", "--prefix"], "d/x\n9\n"),
        (["c", "--from-key"], "c\n1\nd/x\n9\n"),
        (["", "--prefix", "--keys-only"], "a\nb\nc\nd/x\n"),
        (["", "--prefix", "--count-only"], "4\n"),
        (["", "--prefix", "--print-value-only"], "3\n2\n1\n9\n"),
        (["", "--prefix", "--keys-only", "--limit", "2"], "a\nb\n"),
        (["", "--prefix", "--keys-only", "--order", "descend"], "d/x\nc\nb\na\n"),
        (["", "--prefix", "--keys-only", "--sort-by", "value"], "c\nb\na\nd/x\n"),
        (["", "--prefix", "--keys-only", "--sort-by", "modify"], "a\nb\nc\nd/x\n"),
        (["a", "--consistency", "s"], "a\n3\n"),
    ],
)
def test_get_by_option(filled: Kv, arguments: list[str], output: str) -> None:
    assert filled("get", *arguments).stdout == output


def test_get_json_has_revisions_and_header(filled: Kv) -> None:
    document = document_of(filled("get", "", "--prefix", "--limit", "2", "--json"))

    assert document["schema"] == "conclave/kv.get.v1"
    assert document["header"]["revision"] == 6
    assert (document["count"], document["more"]) == (4, True)
    assert document["kvs"][1] == {
        "key": "b",
        "value": "2",
        "create_revision": 3,
        "mod_revision": 4,
        "version": 2,
        "lease": None,
    }


def test_put_previous_pair(filled: Kv) -> None:
    assert filled("put", "a", "4", "--prev-kv").stdout == "OK\na\n3\n"
    document = document_of(filled("put", "a", "5", "--prev-kv", "--json"))
    assert document["prev_kv"]["value"] == "4"
    assert document_of(filled("put", "new", "x", "--json"))["prev_kv"] is None


@pytest.mark.parametrize("arguments", [["bytes"], ["bytes", "-"]])
def test_put_value_from_stdin_keeps_every_byte(kv: Kv, arguments: list[str]) -> None:
    value = bytes(range(256))

    kv("put", *arguments, stdin=value)

    assert kv("get", "bytes", "--print-value-only").stdout_bytes == value + b"\n"
    (pair,) = document_of(kv("get", "bytes", "--json"))["kvs"]
    assert pair["value_base64"].startswith("AAECAw")


def test_put_with_a_lease(kv: Kv, served: ServedMember) -> None:
    with EtcdClient([served.address]) as client:
        lease = client.lease_grant(600)

    kv("put", "leased", "1", "--lease", f"{lease:x}")
    kv("put", "leased", "2", "--ignore-lease")
    kv("put", "leased", "--ignore-value", "--lease", "0")

    (last,) = document_of(kv("get", "leased", "--json"))["kvs"]
    (before,) = document_of(kv("get", "leased", "--rev", "3", "--json"))["kvs"]
    assert (before["value"], before["lease"]) == ("2", f"{lease:x}")
    assert (last["value"], last["lease"]) == ("2", None)


def test_del_counts_and_shows_what_was_there(filled: Kv) -> None:
    assert filled("del", "missing").stdout == "0\n"
    assert filled("del", "a", "c", "--prev-kv").stdout == "2\na\n3\nb\n2\n"
    document = document_of(filled("del", "", "--prefix", "--prev-kv", "--json"))
    assert document["deleted"] == 2
    assert [pair["key"] for pair in document["prev_kvs"]] == ["c", "d/x"]


def test_watch_from_the_past_as_lines(filled: Kv) -> None:
    filled("del", "b")

    result = filled("watch", "b", "--rev", "1", "--count", "3", "--prev-kv")

    assert result.stdout == "PUT\nb\n1\nPUT\nb\n1\nb\n2\nDELETE\nb\n2\nb\n\n"


def test_watch_from_the_past_as_json_lines(filled: Kv) -> None:
    lines = filled("watch", "", "--prefix", "--rev", "1", "--count", "5", "--json").stdout

    events = [json.loads(line) for line in lines.splitlines()]
    assert [event["revision"] for event in events] == [2, 3, 4, 5, 6]
    assert {event["schema"] for event in events} == {"conclave/kv.watch.v1"}
    assert events[0]["kv"]["key"] == "a"


def test_watch_before_a_compaction_names_the_revision_to_take(
    filled: Kv, served: ServedMember
) -> None:
    with EtcdClient([served.address]) as client:
        client.compact(5)

    result = filled("watch", "b", "--rev", "2", "--json", code=Exit.CONFLICT)

    assert error_of(result)["hint"] == "--rev 5"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["get", "a", "b", "--prefix"], "exclude each other"),
        (["get", "a", "--prefix", "--from-key"], "exclude each other"),
        (["get", ""], "with --prefix that means every key"),
        (["get", "a", "--limit", "-1"], "--limit"),
        (["get", "a", "--timeout", "5"], "write 5s for seconds or 5ms"),
        (["put", "a", "1", "--ignore-value"], "exclude each other"),
        (["put", "a", "1", "--lease", "xyz"], "'xyz' is not a lease id"),
    ],
)
def test_usage_errors(kv: Kv, arguments: list[str], said: str) -> None:
    assert said in kv(*arguments, code=Exit.USAGE).stderr


def test_refusal_of_the_server_is_told_in_its_own_words(filled: Kv) -> None:
    result = filled("get", "a", "--rev", "99", "--json", code=Exit.FAILED)

    error = error_of(result)
    assert error["message"] == "etcdserver: mvcc: required revision is a future revision"
    assert error["data"] == {"grpc_status": 11}


def test_put_under_a_lease_that_is_gone_fails(kv: Kv) -> None:
    result = kv("put", "a", "1", "--lease", "7f", code=Exit.FAILED)

    assert "requested lease not found" in result.stderr


def test_call_that_nobody_answers_exits_4(kv: Kv, served: ServedMember) -> None:
    served.call(lambda: setattr(served.member, "hold", True))

    result = kv("get", "a", "--timeout", "300ms", code=Exit.TIMED_OUT)

    assert "try: conclave status" in result.stderr
    served.call(lambda: setattr(served.member, "hold", False))


def test_unreachable_endpoints_exit_3(run: RunConclave) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"

        result = run("kv", "get", "a", "--endpoints", address, "--json")

    assert result.exit_code == Exit.NOT_RUNNING
    assert error_of(result)["data"] == {"endpoints": [address]}


def test_endpoints_come_from_the_cluster_that_is_meant(
    run: RunConclave, served: ServedMember, home: Path
) -> None:
    status = status_document(endpoints=[served.address])
    with ManagementServer(home / "kept", status, name="demo"):
        assert run("kv", "put", "a", "1", "-c", "demo").exit_code == Exit.DONE
        assert run("kv", "get", "a").stdout == "a\n1\n"
