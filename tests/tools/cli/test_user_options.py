"""`conclave kv --user`: as whom, against a served member with users."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from tests.support.api_client import ApiClient
from tests.support.api_member import ApiMember, ServedMember
from tests.support.auth_client import enable, make_users
from tests.support.command import RunConclave, error_of
from tools.cli.exit import Exit
from tools.cli.user_options import login_of


@pytest.fixture
def guarded() -> Iterator[ServedMember]:
    """A member that knows root, alice and bob."""
    with ServedMember(ApiMember()) as served:
        with ApiClient(served.address) as client:
            make_users(client)
            enable(client)
        yield served


@pytest.mark.parametrize(
    ("user", "password", "login"),
    [
        (None, None, None),
        ("alice:tea", None, ("alice", "tea")),
        ("alice:", None, ("alice", "")),
        ("alice:te:a", None, ("alice", "te:a")),
        ("alice", "te:a", ("alice", "te:a")),
        ("alice:x", "tea", ("alice:x", "tea")),
    ],
)
def test_user_is_read_as_etcdctl_reads_it(
    user: str | None, password: str | None, login: tuple[str, str] | None
) -> None:
    assert login_of({"user": user, "password": password}) == login


@pytest.mark.parametrize(
    ("user", "password", "complaint"),
    [
        ("", None, "no name"),
        (":tea", None, "no name"),
        (None, "tea", "needs --user"),
        ("alice", None, "no password for alice"),
    ],
)
def test_half_a_user_is_refused(user: str | None, password: str | None, complaint: str) -> None:
    with pytest.raises(click.UsageError, match=complaint):
        login_of({"user": user, "password": password})


def test_keys_are_read_and_written_as_a_user(run: RunConclave, guarded: ServedMember) -> None:
    at = ("--endpoints", guarded.address)
    assert run("kv", "put", "a/1", "v", "--user", "alice:tea", *at).exit_code == Exit.DONE
    got = run("kv", "get", "a/1", "--user", "alice", "--password", "tea", *at)
    assert got.stdout == "a/1\nv\n"
    watched = run(
        "kv", "watch", "a/", "--prefix", "--rev", "1", "--count", "1", "--user", "alice:tea", *at
    )
    assert watched.stdout == "PUT\na/1\nv\n"


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("get", "a/1"), "etcdserver: user name is empty", "--user NAME[:PASSWORD]"),
        (("get", "b", "--user", "alice:tea"), "etcdserver: permission denied", None),
        (
            ("get", "a/1", "--user", "alice:coffee"),
            "etcdserver: authentication failed, invalid user ID or password",
            None,
        ),
    ],
)
def test_refusals_are_etcds(
    run: RunConclave,
    guarded: ServedMember,
    arguments: tuple[str, ...],
    message: str,
    hint: str | None,
) -> None:
    result = run("kv", *arguments, "--json", "--endpoints", guarded.address)

    assert result.exit_code == Exit.FAILED
    error = error_of(result)
    assert (error["message"], error["hint"]) == (message, hint)


def test_watch_of_anothers_keys_says_why_it_ends(run: RunConclave, guarded: ServedMember) -> None:
    result = run(
        "kv", "watch", "b", "--user", "alice:tea", "--json", "--endpoints", guarded.address
    )

    assert result.exit_code == Exit.FAILED
    assert "permission denied" in error_of(result)["cause"]
