"""How clients become users: passwords, tokens, certificates."""

from __future__ import annotations

import http.client
import json
from contextlib import closing

import pytest

from node.proto import auth, rpc
from node.tokens import SimpleTokens
from tests.support.api_client import ApiClient, Failed
from tests.support.api_member import TOKEN_SECONDS, ServedMember
from tests.support.auth_client import (
    AUTH,
    BAD_TOKEN,
    DENIED,
    AuthClient,
    authenticate,
    enable,
    log_in,
    make_users,
)
from transport.grpc import Status

FAILED = "etcdserver: authentication failed, invalid user ID or password"


# Who a client is.


def test_authentication_without_users_to_know(client: ApiClient) -> None:
    assert authenticate(client, "root", "x") == Failed(
        Status.FAILED_PRECONDITION, "etcdserver: authentication is not enabled"
    )


@pytest.mark.parametrize(
    ("name", "password"),
    [("alice", "coffee"), ("alice", ""), ("carol", "tea"), ("", ""), ("alice", "x" * 100)],
)
def test_wrong_password_is_refused(guarded: ApiClient, name: str, password: str) -> None:
    assert authenticate(guarded, name, password) == Failed(Status.INVALID_ARGUMENT, FAILED)


def test_user_without_a_password_has_none_that_is_right(guarded: ApiClient) -> None:
    options = auth.UserAddOptions(no_password=True)
    add = rpc.AuthUserAddRequest(name="certified", password="ignored", options=options)
    log_in(guarded, "root").call(f"{AUTH}/UserAdd", add, rpc.AuthUserAddResponse)

    assert authenticate(guarded, "certified", "ignored") == Failed(
        Status.UNKNOWN, "auth: authentication failed, password was given for no password user"
    )


def test_password_that_bcrypt_does_not_take_is_refused(client: ApiClient) -> None:
    add = rpc.AuthUserAddRequest(name="wordy", password="x" * 73)

    refused = client.refused(f"{AUTH}/UserAdd", add)

    assert refused.code == Status.UNKNOWN
    assert "72" in refused.text


def test_hash_of_the_clients_own_counts_only_in_place_of_a_password(guarded: ApiClient) -> None:
    """As in etcd: a user is added with the password that is given, even with an empty one."""
    root = log_in(guarded, "root")
    add = rpc.AuthUserAddRequest(name="eve", hashedPassword="bm90aGluZw==")
    root.call(f"{AUTH}/UserAdd", add, rpc.AuthUserAddResponse)
    assert isinstance(authenticate(guarded, "eve", ""), bytes)

    change = rpc.AuthUserChangePasswordRequest(name="eve", hashedPassword="bm90aGluZw==")
    root.call(f"{AUTH}/UserChangePassword", change, rpc.AuthUserChangePasswordResponse)
    assert authenticate(guarded, "eve", "") == Failed(Status.INVALID_ARGUMENT, FAILED)

    change = rpc.AuthUserChangePasswordRequest(name="eve", hashedPassword="no base64")
    assert "no password user" in root.refused(f"{AUTH}/UserChangePassword", change)


def test_passwords_are_not_written_down(served: ServedMember, client: ApiClient) -> None:
    """Neither what enters the log nor the state holds one, only hashes."""
    seen: list[bytes] = []
    propose = served.member.propose

    def noting(kind: object, request: bytes, *more: object) -> None:
        seen.append(request)
        propose(kind, request, *more)  # type: ignore[arg-type]

    served.member.propose = noting  # type: ignore[method-assign,assignment]
    make_users(client)
    enable(client)
    change = rpc.AuthUserChangePasswordRequest(name="bob", password="cocoa")
    log_in(client, "root").call(
        f"{AUTH}/UserChangePassword", change, rpc.AuthUserChangePasswordResponse
    )

    assert len(seen) > 8
    assert not any(word in b"".join(seen) for word in (b"secret", b"tea", b"coffee", b"cocoa"))
    user = served.call(lambda: served.member.machine.auth.user("alice"))
    assert user is not None
    assert user.password.startswith(b"$2a$04$")


def test_token_lives_on_while_it_is_used(served: ServedMember, guarded: ApiClient) -> None:
    alice, idle = log_in(guarded, "alice"), log_in(guarded, "alice")
    for _ in range(3):
        served.call(lambda: served.member.jump(TOKEN_SECONDS * 0.6))
        assert isinstance(alice.put(b"a/1"), bytes)

    assert idle.put(b"a/1") == BAD_TOKEN
    served.call(lambda: served.member.jump(TOKEN_SECONDS))
    assert alice.put(b"a/1") == BAD_TOKEN


def test_tokens_end_with_the_password(guarded: ApiClient) -> None:
    alice, root = log_in(guarded, "alice"), log_in(guarded, "root")
    change = rpc.AuthUserChangePasswordRequest(name="alice", password="cocoa")

    root.call(f"{AUTH}/UserChangePassword", change, rpc.AuthUserChangePasswordResponse)

    assert alice.get(b"a/1") == BAD_TOKEN
    assert authenticate(guarded, "alice", "tea") == Failed(Status.INVALID_ARGUMENT, FAILED)
    assert isinstance(authenticate(guarded, "alice", "cocoa"), bytes)
    assert isinstance(root.get(b"a/1"), bytes)


def test_tokens_end_with_the_user(guarded: ApiClient) -> None:
    alice = log_in(guarded, "alice")
    delete = rpc.AuthUserDeleteRequest(name="alice")

    log_in(guarded, "root").call(f"{AUTH}/UserDelete", delete, rpc.AuthUserDeleteResponse)

    assert alice.get(b"a/1") == BAD_TOKEN


def test_users_and_roles_stop_to_count_when_authentication_is_disabled(guarded: ApiClient) -> None:
    alice, root = log_in(guarded, "alice"), log_in(guarded, "root")
    alice_token = alice.token

    root.call(f"{AUTH}/AuthDisable", rpc.AuthDisableRequest(), rpc.AuthDisableResponse)
    assert isinstance(AuthClient(guarded).put(b"free"), bytes)
    assert isinstance(AuthClient(guarded, "of nobody").put(b"free"), bytes)
    enable(guarded)

    assert AuthClient(guarded, alice_token).get(b"a/1") == BAD_TOKEN


@pytest.mark.parametrize("token", ["x", "x.", ".1", "x.1", "x.y", "x.99999999999999999999999"])
def test_token_of_nobody_is_refused(guarded: ApiClient, token: str) -> None:
    """Also one that says to come from an entry of the future: that is waited for in vain."""
    stranger = AuthClient(guarded, token)

    for answer in (stranger.put(b"a/1"), stranger.get(b"a/1", serializable=True)):
        assert answer == BAD_TOKEN


def test_token_that_is_not_known_here_yet_is_waited_for(
    served: ServedMember, guarded: ApiClient
) -> None:
    """A member behind the one that gave it out hears of it by a linearizable read."""
    alice = log_in(guarded, "alice")
    token = alice.token
    kind = served.member.tokens.kind
    assert isinstance(kind, SimpleTokens)
    name, end = kind._tokens.pop(token)
    index = served.call(lambda: served.member.index)
    read = served.member.read
    asked: list[int] = []

    def late(done: object) -> None:
        asked.append(1)
        kind._tokens[token] = (name, end)
        served.member.index = index
        read(done)  # type: ignore[arg-type]

    served.member.read = late  # type: ignore[method-assign]
    served.member.index = 0

    assert isinstance(alice.get(b"a/1", serializable=True), bytes)
    assert asked == [1]


@pytest.mark.parametrize("prefix", ["", "Bearer "])
@pytest.mark.parametrize("name", ["token", "authorization"])
def test_token_travels_by_either_name(guarded: ApiClient, name: str, prefix: str) -> None:
    token = log_in(guarded, "alice").token

    alice = AuthClient(guarded, prefix + token, name=name)

    assert isinstance(alice.put(b"a/1"), bytes)
    assert alice.put(b"b") == DENIED


def test_gateway_takes_its_token_from_a_header(served: ServedMember, guarded: ApiClient) -> None:
    def post(path: str, body: dict[str, object], **headers: str) -> tuple[int, dict[str, object]]:
        with closing(http.client.HTTPConnection(served.address, timeout=10)) as connection:
            connection.request("POST", f"/v3/{path}", json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    status, answer = post("auth/authenticate", {"name": "alice", "password": "tea"})
    token = str(answer["token"])

    assert status == 200
    assert post("kv/put", {"key": "YS8x"})[0] == 400
    assert post("kv/put", {"key": "YS8x"}, Authorization="nonsense")[0] == 401
    assert post("kv/put", {"key": "YS8x"}, Authorization=token)[0] == 200
    assert post("kv/put", {"key": "Yg=="}, Authorization=token)[0] == 403
    assert post("kv/range", {"key": "YS8x"}, Authorization=f"Bearer {token}")[1]["count"] == "1"
    assert post("auth/user/get", {"name": "alice"}, Authorization=token)[1]["roles"] == ["a"]


def test_name_in_a_certificate_is_a_user(served: ServedMember, guarded: ApiClient) -> None:
    """What the connection has verified; a token counts more."""
    for connection in served.client_port._grpc:
        connection.common_name = "alice"
    certified = AuthClient(guarded)

    assert isinstance(certified.put(b"a/1"), bytes)
    assert certified.put(b"b") == DENIED
    assert log_in(guarded, "bob").put(b"a/1") == DENIED
    assert AuthClient(guarded, "nonsense").put(b"a/1") == BAD_TOKEN
