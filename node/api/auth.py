"""etcdserverpb.Auth: users, roles, and tokens for passwords.

What changes goes through the log, with the password already hashed; what is only looked at is a
linearizable read of the applied state. Whether the client may do it is judged there, in both cases.

    Authenticate: read ─► user, hash, auth revision ─► thread: password right? ─► log ─► token
                   ▲                                                               │
                   └──────────── users or roles have changed meanwhile ◄───────────┘

Source: etcd server/etcdserver/v3_server.go.
"""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import Callable
from string import ascii_letters

from google.protobuf.message import Message

from node.api.call import Call
from node.api.errors import Fault
from node.api.member import Member, Outcome
from node.machine.auth import ROOT
from node.machine.envelope import RequestKind
from node.machine.errors import (
    AuthFailed,
    AuthNotEnabled,
    AuthOldRevision,
    NoPasswordUser,
    Refusal,
    RoleNotFound,
    TooManyRequests,
    UserNotFound,
)
from node.passwords import PasswordRefused
from node.proto import auth, rpc
from node.tokens import CannotSign
from transport.grpc import Status

TOKEN_LETTERS = 16
ATTEMPTS_MAX = 8
"""How often a password is checked while users and roles change under it."""
EVERYTHING = auth.Permission(permType="READWRITE", range_end=b"\0")
"""What the role root shows as its permission."""
CANNOT_SIGN = Fault(Status.UNKNOWN, "auth: token signing attempted with verify-only key")


class Auth:
    """All of its methods."""

    def __init__(self, member: Member, chance: random.Random) -> None:
        """Serve `member`; `chance` draws tokens, so it must not be one that can be guessed."""
        self._member = member
        self._chance = chance

    # The switch.

    def enable(self, call: Call, message: bytes) -> None:
        """Judge every request from now on."""
        rpc.AuthEnableRequest.FromString(message)
        self._member.propose(RequestKind.AUTH_ENABLE, message, call.done, call)

    def disable(self, call: Call, message: bytes) -> None:
        """Let everybody do everything."""
        rpc.AuthDisableRequest.FromString(message)
        self._member.propose(RequestKind.AUTH_DISABLE, message, call.done, call)

    def status(self, call: Call, message: bytes) -> None:
        """Tell root whether requests are judged."""
        rpc.AuthStatusRequest.FromString(message)

        def look() -> Message | Refusal:
            state = self._member.machine.auth
            response = rpc.AuthStatusResponse(enabled=state.enabled, authRevision=state.revision)
            return state.check_admin(call.credential) or response

        self._look(call, look)

    def authenticate(self, call: Call, message: bytes) -> None:
        """Give a token for a password."""
        self._authenticate(call, rpc.AuthenticateRequest.FromString(message), ATTEMPTS_MAX)

    # Users.

    def user_add(self, call: Call, message: bytes) -> None:
        """Add a user, with the hash of its password; one that the client made is not taken."""
        request = rpc.AuthUserAddRequest.FromString(message)
        if request.options.no_password:
            request.password = ""
            self._propose(RequestKind.USER_ADD, request, call)
        else:
            self._with_hash(RequestKind.USER_ADD, request, call)

    def user_get(self, call: Call, message: bytes) -> None:
        """Tell the roles of a user: root, or the user itself, may ask."""
        name = rpc.AuthUserGetRequest.FromString(message).name

        def look() -> Message | Refusal:
            state, by = self._member.machine.auth, call.credential
            refusal = state.check_admin(by)
            if refusal is not None and name != (by.name if by else ""):
                return refusal
            user = state.user(name)
            return UserNotFound() if user is None else rpc.AuthUserGetResponse(roles=user.roles)

        self._look(call, look)

    def user_list(self, call: Call, message: bytes) -> None:
        """List all users."""
        rpc.AuthUserListRequest.FromString(message)

        def look() -> Message | Refusal:
            state = self._member.machine.auth
            refusal = state.check_admin(call.credential)
            return refusal or rpc.AuthUserListResponse(users=state.users())

        self._look(call, look)

    def user_delete(self, call: Call, message: bytes) -> None:
        """Delete a user; its tokens end."""
        rpc.AuthUserDeleteRequest.FromString(message)
        self._member.propose(RequestKind.USER_DELETE, message, call.done, call)

    def user_change_password(self, call: Call, message: bytes) -> None:
        """Give a user another password, or the hash of one; its tokens end."""
        request = rpc.AuthUserChangePasswordRequest.FromString(message)
        if request.password:
            self._with_hash(RequestKind.USER_CHANGE_PASSWORD, request, call)
        else:
            self._propose(RequestKind.USER_CHANGE_PASSWORD, request, call)

    def user_grant_role(self, call: Call, message: bytes) -> None:
        """Give a user a role."""
        rpc.AuthUserGrantRoleRequest.FromString(message)
        self._member.propose(RequestKind.USER_GRANT_ROLE, message, call.done, call)

    def user_revoke_role(self, call: Call, message: bytes) -> None:
        """Take a role from a user."""
        rpc.AuthUserRevokeRoleRequest.FromString(message)
        self._member.propose(RequestKind.USER_REVOKE_ROLE, message, call.done, call)

    # Roles.

    def role_add(self, call: Call, message: bytes) -> None:
        """Add a role, without permissions."""
        rpc.AuthRoleAddRequest.FromString(message)
        self._member.propose(RequestKind.ROLE_ADD, message, call.done, call)

    def role_get(self, call: Call, message: bytes) -> None:
        """Tell the permissions of a role: root, or who has it, may ask."""
        name = rpc.AuthRoleGetRequest.FromString(message).role

        def look() -> Message | Refusal:
            state, by = self._member.machine.auth, call.credential
            refusal = state.check_admin(by)
            user = state.user(by.name) if by else None
            if refusal is not None and (user is None or name not in user.roles):
                return refusal
            role = state.role(name)
            if role is None:
                return RoleNotFound()
            permissions = [EVERYTHING] if name == ROOT else role.keyPermission
            return rpc.AuthRoleGetResponse(perm=permissions)

        self._look(call, look)

    def role_list(self, call: Call, message: bytes) -> None:
        """List all roles."""
        rpc.AuthRoleListRequest.FromString(message)

        def look() -> Message | Refusal:
            state = self._member.machine.auth
            refusal = state.check_admin(call.credential)
            return refusal or rpc.AuthRoleListResponse(roles=state.roles())

        self._look(call, look)

    def role_delete(self, call: Call, message: bytes) -> None:
        """Delete a role, and take it from all users."""
        rpc.AuthRoleDeleteRequest.FromString(message)
        self._member.propose(RequestKind.ROLE_DELETE, message, call.done, call)

    def role_grant_permission(self, call: Call, message: bytes) -> None:
        """Let a role read or write an interval of keys."""
        rpc.AuthRoleGrantPermissionRequest.FromString(message)
        self._member.propose(RequestKind.ROLE_GRANT_PERMISSION, message, call.done, call)

    def role_revoke_permission(self, call: Call, message: bytes) -> None:
        """Take a permission from a role."""
        rpc.AuthRoleRevokePermissionRequest.FromString(message)
        self._member.propose(RequestKind.ROLE_REVOKE_PERMISSION, message, call.done, call)

    # What they share.

    def _look(self, call: Call, look: Callable[[], Message | Refusal]) -> None:
        """Answer from a state that is fresh enough."""

        def fresh(stale: Refusal | None) -> None:
            found = stale or look()
            if isinstance(found, Refusal):
                call.refuse(found)
            else:
                call.respond(found)

        self._member.read(fresh)

    def _propose(
        self,
        kind: RequestKind,
        request: rpc.AuthUserAddRequest | rpc.AuthUserChangePasswordRequest,
        call: Call,
    ) -> None:
        self._member.propose(kind, request.SerializeToString(), call.done, call)

    def _with_hash(
        self,
        kind: RequestKind,
        request: rpc.AuthUserAddRequest | rpc.AuthUserChangePasswordRequest,
        call: Call,
    ) -> None:
        """Propose a request with the hash in place of the password, which is written nowhere."""
        passwords = self._member.passwords
        if passwords.full:
            call.refuse(TooManyRequests())
            return
        password, request.password = request.password, ""

        def hashed(found: bytes | PasswordRefused) -> None:
            if isinstance(found, PasswordRefused):
                call.fail(Fault(Status.UNKNOWN, str(found)))
            elif not call.over:
                request.hashedPassword = b64encode(found).decode()
                self._propose(kind, request, call)

        passwords.hash(password, hashed)

    def _authenticate(self, call: Call, request: rpc.AuthenticateRequest, attempts: int) -> None:
        def fresh(stale: Refusal | None) -> None:
            refusal = stale or self._check(call, request, attempts)
            if refusal is not None:
                call.refuse(refusal)

        if attempts:
            self._member.read(fresh)
        else:
            call.refuse(AuthOldRevision())

    def _check(self, call: Call, request: rpc.AuthenticateRequest, attempts: int) -> Refusal | None:
        """Have the password compared with the user's, unless it is clear that it is wrong."""
        state, passwords = self._member.machine.auth, self._member.passwords
        if not state.enabled:
            return AuthNotEnabled()
        user = state.user(request.name)
        if user is None:
            return AuthFailed()
        if user.options.no_password:
            return NoPasswordUser()
        if passwords.full:
            return TooManyRequests()
        revision = state.revision

        def checked(right: bool) -> None:
            if not right:
                call.refuse(AuthFailed())
            elif not call.over:
                self._assign(call, request, revision, attempts)

        passwords.check(request.password, user.password, checked)
        return None

    def _assign(
        self, call: Call, request: rpc.AuthenticateRequest, revision: int, attempts: int
    ) -> None:
        """Have a token assigned by the log, which knows nothing of the password."""
        kind = self._member.tokens.kind
        word = "".join(self._chance.choices(ascii_letters, k=TOKEN_LETTERS)) if kind.simple else ""
        entry = rpc.InternalAuthenticateRequest(name=request.name, simple_token=word)

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, Refusal):
                call.refuse(outcome)
            elif self._member.machine.auth.revision != revision:
                self._authenticate(call, request, attempts - 1)
            elif kind.simple:
                call.done(outcome)
            else:
                self._sign(call, request.name, revision)

        self._member.propose(RequestKind.AUTHENTICATE, entry.SerializeToString(), done, call)

    def _sign(self, call: Call, name: str, revision: int) -> None:
        try:
            token = self._member.tokens.kind.sign(name, revision)
        except CannotSign:
            call.fail(CANNOT_SIGN)
        else:
            call.respond(rpc.AuthenticateResponse(token=token))
