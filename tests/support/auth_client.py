"""A client that is one user, and what makes users: for tests of any server of the etcd API."""

from __future__ import annotations

from collections.abc import Iterable

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import Message

from node.proto import auth, rpc
from tests.support.api_client import ApiClient, Failed, M, failure
from transport.grpc import Status

KV, AUTH = "/etcdserverpb.KV", "/etcdserverpb.Auth"
PASSWORDS = {"root": "secret", "alice": "tea", "bob": "coffee"}
ALICES = (b"a/", b"a0")
"""Keys that alice may read and write: those that begin with a/."""

DENIED = Failed(Status.PERMISSION_DENIED, "etcdserver: permission denied")
NOBODY = Failed(Status.INVALID_ARGUMENT, "etcdserver: user name is empty")
BAD_TOKEN = Failed(Status.UNAUTHENTICATED, "etcdserver: invalid auth token")


class AuthClient:
    """One connection; every call carries the token, if there is one."""

    def __init__(self, client: ApiClient, token: str = "", *, name: str = "token") -> None:
        self.client = client
        self.token = token
        self.metadata = ((name, token),) if token else ()

    def call(self, path: str, request: Message, response: type[M]) -> M:
        """Make a unary call that is expected to end well."""
        answer = self.raw(path, request)
        assert isinstance(answer, bytes), answer
        return response.FromString(answer)

    def refused(self, path: str, request: Message) -> str:
        """Make one that is expected to fail; its text."""
        answer = self.raw(path, request)
        assert isinstance(answer, Failed), answer
        return answer.text

    def raw(self, path: str, request: Message) -> bytes | Failed:
        """Make one, however it ends."""
        return self.client.raw(path, request.SerializeToString(), metadata=self.metadata)

    def put(self, key: bytes, value: bytes = b"v", lease: int = 0) -> bytes | Failed:
        """Put a key, however it ends."""
        return self.raw(f"{KV}/Put", rpc.PutRequest(key=key, value=value, lease=lease))

    def get(self, key: bytes, end: bytes = b"", *, serializable: bool = False) -> bytes | Failed:
        """Read keys, however it ends."""
        request = rpc.RangeRequest(key=key, range_end=end, serializable=serializable)
        return self.raw(f"{KV}/Range", request)


def authenticate(client: ApiClient, name: str, password: str) -> bytes | Failed:
    """Ask for a token."""
    request = rpc.AuthenticateRequest(name=name, password=password)
    return client.raw(f"{AUTH}/Authenticate", request.SerializeToString())


def log_in(client: ApiClient, name: str) -> AuthClient:
    """Be one of the users that `make_users` makes."""
    answer = authenticate(client, name, PASSWORDS[name])
    assert isinstance(answer, bytes), answer
    return AuthClient(client, rpc.AuthenticateResponse.FromString(answer).token)


def make_users(client: ApiClient) -> None:
    """root, alice who may do everything below a/, and bob who may do nothing."""
    root = AuthClient(client)
    for name, password in PASSWORDS.items():
        add = rpc.AuthUserAddRequest(name=name, password=password)
        root.call(f"{AUTH}/UserAdd", add, rpc.AuthUserAddResponse)
    grant_role(root, "root", "root")
    add_role(root, "a", [auth.Permission(permType="READWRITE", key=ALICES[0], range_end=ALICES[1])])
    grant_role(root, "alice", "a")


def enable(client: ApiClient) -> None:
    """Judge requests from now on."""
    client.call(f"{AUTH}/AuthEnable", rpc.AuthEnableRequest(), rpc.AuthEnableResponse)


def grant_role(root: AuthClient, user: str, role: str) -> None:
    """Give a user a role."""
    request = rpc.AuthUserGrantRoleRequest(user=user, role=role)
    root.call(f"{AUTH}/UserGrantRole", request, rpc.AuthUserGrantRoleResponse)


def add_role(root: AuthClient, name: str, permissions: Iterable[auth.Permission]) -> None:
    """Make a role with permissions."""
    request = rpc.AuthRoleAddRequest(name=name)
    root.call(f"{AUTH}/RoleAdd", request, rpc.AuthRoleAddResponse)
    for permission in permissions:
        grant = rpc.AuthRoleGrantPermissionRequest(name=name, perm=permission)
        root.call(f"{AUTH}/RoleGrantPermission", grant, rpc.AuthRoleGrantPermissionResponse)


def first(
    client: ApiClient, who: AuthClient, path: str, request: Message, response: type[M]
) -> M | Failed:
    """The first message of a stream, or how it ended."""
    call = client.stream(path, [request.SerializeToString()], who.metadata)
    try:
        answer = response.FromString(next(call))
    except grpc.RpcError as error:
        return failure(error)
    call.cancel()
    return answer
