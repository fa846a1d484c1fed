"""Applying the requests of the Auth service: what each changes, and what is refused.

Whoever proposed a request has hashed the password in it; what is checked here of passwords is only
that there is one. Answers carry nothing but their header, except for a token.

A permission that a role has already, on the same key and range end, is replaced. (etcd looks at the
first permission with that key only, so that there a second one can be beside it.)

Source: etcd server/auth/store.go, server/etcdserver/apply/apply_auth.go.
"""

from __future__ import annotations

from base64 import b64decode
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from node.machine.answer import Operation, TokenChange, TokenChangeKind
from node.machine.auth import ROOT, Auth
from node.machine.envelope import Credential, RequestKind
from node.machine.errors import (
    AuthFailed,
    AuthNotEnabled,
    InvalidAuthManagement,
    NoPasswordUser,
    PermissionNotGiven,
    PermissionNotGranted,
    Refusal,
    RoleEmpty,
    RoleExists,
    RoleNotFound,
    RoleNotGranted,
    RootRoleNotGranted,
    RootUserNotFound,
    UserEmpty,
    UserExists,
    UserNotFound,
)
from node.machine.permission import is_grantable
from node.machine.wire import field
from node.proto import auth, rpc


class Changed(NamedTuple):
    """What came of a request that was not refused."""

    effects: Sequence[Operation] = ()
    tokens: Sequence[TokenChange] = ()
    body: bytes = b""
    """The response without its header."""


Outcome = Changed | Refusal


def apply(
    state: Auth, kind: RequestKind, encoded: bytes, by: Credential | None, index: int
) -> Outcome:
    """Apply a request of the given kind at an index of the log.

    Raises:
        DecodeError: it is no message of its kind.
    """
    if kind is RequestKind.AUTHENTICATE:
        return _authenticate(state, encoded, index)
    return state.check_admin(by) or _APPLY[kind](state, encoded)


def _enable(state: Auth, encoded: bytes) -> Outcome:
    rpc.AuthEnableRequest.FromString(encoded)
    if state.enabled:
        return Changed()
    root = state.user(ROOT)
    if root is None:
        return RootUserNotFound()
    if ROOT not in root.roles:
        return RootRoleNotGranted()
    return Changed([state.switch(enabled=True)])


def _disable(state: Auth, encoded: bytes) -> Outcome:
    rpc.AuthDisableRequest.FromString(encoded)
    if not state.enabled:
        return Changed()
    effects = state.commit([state.switch(enabled=False)])
    return Changed(effects, [TokenChange(TokenChangeKind.ALL_REVOKED)])


def _authenticate(state: Auth, encoded: bytes, index: int) -> Outcome:
    """Give a user whose password was right a token: its random half and the entry's index.

    Tokens of other kinds have no random half: they are made by whoever answers.
    """
    request = rpc.InternalAuthenticateRequest.FromString(encoded)
    if not state.enabled:
        return AuthNotEnabled()
    user = state.user(request.name)
    if user is None or user.options.no_password:
        return AuthFailed()
    if not request.simple_token:
        return Changed()
    token = f"{request.simple_token}.{index}"
    assigned = TokenChange(TokenChangeKind.ASSIGNED, request.name, token)
    return Changed((), [assigned], field(2, token.encode()))


def _user_add(state: Auth, encoded: bytes) -> Outcome:
    request = rpc.AuthUserAddRequest.FromString(encoded)
    if not request.name:
        return UserEmpty()
    if state.user(request.name) is not None:
        return UserExists()
    user = auth.User(name=request.name.encode())
    user.options.CopyFrom(request.options)
    user.options.SetInParent()  # etcd writes it down always
    if not user.options.no_password:
        password = _hash(request.hashedPassword)
        if password is None:
            return NoPasswordUser()
        user.password = password
    return Changed(state.commit([state.write_user(user)]))


def _user_delete(state: Auth, encoded: bytes) -> Outcome:
    name = rpc.AuthUserDeleteRequest.FromString(encoded).name
    if state.enabled and name == ROOT:
        return InvalidAuthManagement()
    if state.user(name) is None:
        return UserNotFound()
    return Changed(state.commit([state.delete_user(name)]), [_revoked(name)])


def _user_change_password(state: Auth, encoded: bytes) -> Outcome:
    request = rpc.AuthUserChangePasswordRequest.FromString(encoded)
    found = state.user(request.name)
    if found is None:
        return UserNotFound()
    user = _copy(found)
    user.password = b""
    if not user.options.no_password:
        password = _hash(request.hashedPassword)
        if password is None:
            return NoPasswordUser()
        user.password = password
    return Changed(state.commit([state.write_user(user)]), [_revoked(request.name)])


def _user_grant_role(state: Auth, encoded: bytes) -> Outcome:
    request = rpc.AuthUserGrantRoleRequest.FromString(encoded)
    found = state.user(request.user)
    if found is None:
        return UserNotFound()
    if request.role != ROOT and state.role(request.role) is None:
        return RoleNotFound()
    if request.role in found.roles:
        return Changed()
    return Changed(state.commit([_with_roles(state, found, [*found.roles, request.role])]))


def _user_revoke_role(state: Auth, encoded: bytes) -> Outcome:
    request = rpc.AuthUserRevokeRoleRequest.FromString(encoded)
    if state.enabled and request.name == ROOT and request.role == ROOT:
        return InvalidAuthManagement()
    found = state.user(request.name)
    if found is None:
        return UserNotFound()
    if request.role not in found.roles:
        return RoleNotGranted()
    return Changed(state.commit([_without_role(state, found, request.role)]))


def _role_add(state: Auth, encoded: bytes) -> Outcome:
    name = rpc.AuthRoleAddRequest.FromString(encoded).name
    if not name:
        return RoleEmpty()
    if state.role(name) is not None:
        return RoleExists()
    return Changed(state.commit([state.write_role(auth.Role(name=name.encode()))]))


def _role_delete(state: Auth, encoded: bytes) -> Outcome:
    name = rpc.AuthRoleDeleteRequest.FromString(encoded).role
    if state.enabled and name == ROOT:
        return InvalidAuthManagement()
    if state.role(name) is None:
        return RoleNotFound()
    users = [user for user in map(state.user, state.users()) if user and name in user.roles]
    effects = [_without_role(state, user, name) for user in users]
    return Changed(state.commit([state.delete_role(name), *effects]))


def _role_grant_permission(state: Auth, encoded: bytes) -> Outcome:
    request = rpc.AuthRoleGrantPermissionRequest.FromString(encoded)
    if not request.HasField("perm"):
        return PermissionNotGiven()
    granted = request.perm
    if not is_grantable(granted.key, granted.range_end):
        return InvalidAuthManagement()
    found = state.role(request.name)
    if found is None:
        return RoleNotFound()
    permissions = list(found.keyPermission)
    for place, permission in enumerate(permissions):
        if _same_keys(permission, granted.key, granted.range_end):
            permissions[place] = granted
            break
    else:
        place = bisect_right(permissions, granted.key, key=lambda each: each.key)
        permissions.insert(place, granted)
    return Changed(state.commit([_with_permissions(state, found, permissions)]))


def _role_revoke_permission(state: Auth, encoded: bytes) -> Outcome:
    request = rpc.AuthRoleRevokePermissionRequest.FromString(encoded)
    found = state.role(request.role)
    if found is None:
        return RoleNotFound()
    left = [
        permission
        for permission in found.keyPermission
        if not _same_keys(permission, request.key, request.range_end)
    ]
    if len(left) == len(found.keyPermission):
        return PermissionNotGranted()
    return Changed(state.commit([_with_permissions(state, found, left)]))


_APPLY: dict[RequestKind, Callable[[Auth, bytes], Outcome]] = {
    RequestKind.AUTH_ENABLE: _enable,
    RequestKind.AUTH_DISABLE: _disable,
    RequestKind.USER_ADD: _user_add,
    RequestKind.USER_DELETE: _user_delete,
    RequestKind.USER_CHANGE_PASSWORD: _user_change_password,
    RequestKind.USER_GRANT_ROLE: _user_grant_role,
    RequestKind.USER_REVOKE_ROLE: _user_revoke_role,
    RequestKind.ROLE_ADD: _role_add,
    RequestKind.ROLE_DELETE: _role_delete,
    RequestKind.ROLE_GRANT_PERMISSION: _role_grant_permission,
    RequestKind.ROLE_REVOKE_PERMISSION: _role_revoke_permission,
}

KINDS = (RequestKind.AUTHENTICATE, *_APPLY)
"""What `apply` takes."""


def _hash(encoded: str) -> bytes | None:
    """The hash of a password, as it travels; None = it is none. Whether it is one of bcrypt shows
    when somebody tries to be known by it."""
    try:
        return b64decode(encoded.replace("\r", "").replace("\n", ""), validate=True)
    except ValueError:
        return None


def _revoked(name: str) -> TokenChange:
    return TokenChange(TokenChangeKind.USER_REVOKED, name)


def _copy(user: auth.User) -> auth.User:
    copy = auth.User()
    copy.CopyFrom(user)
    return copy


def _with_roles(state: Auth, user: auth.User, roles: Sequence[str]) -> Operation:
    changed = _copy(user)
    changed.roles[:] = sorted(roles)
    return state.write_user(changed)


def _without_role(state: Auth, user: auth.User, role: str) -> Operation:
    return _with_roles(state, user, [each for each in user.roles if each != role])


def _with_permissions(
    state: Auth, role: auth.Role, permissions: Sequence[auth.Permission]
) -> Operation:
    return state.write_role(auth.Role(name=role.name, keyPermission=permissions))


def _same_keys(permission: auth.Permission, key: bytes, range_end: bytes) -> bool:
    return bool(permission.key == key and permission.range_end == range_end)
