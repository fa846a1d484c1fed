"""Commands of the scripts about users and roles, beside those of `scenario`.

    as WHO COMMAND …    WHO = a user, user@REVISION, nobody, or member (its own business)
    auth enable|disable|status
    user add NAME [HASH] [no-password]      user password NAME HASH     user delete NAME
    user grant|revoke NAME ROLE             user list                   user get NAME
    role add|delete|get NAME                role list
    role grant NAME read|write|readwrite [KEY [END]]    role revoke NAME KEY [END]
    authenticate NAME [WORD]                prints the token that clients are known by
    watch KEY [END]     renew LEASE         look LEASE          what its maker may do

Reads are judged first, as the api does. HASH is what a password's hash is for the machine: bytes.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

from google.protobuf.message import Message

from node.machine.envelope import MEMBER, Credential, RequestKind
from node.machine.errors import Refusal
from node.proto import auth, rpc
from tests.node.machine.scenario import Scenario, end, range_request
from tests.support.datadriven import Step

PERMISSIONS = {"read": "READ", "write": "WRITE", "readwrite": "READWRITE"}


class AuthScenario(Scenario):
    """One replica with users."""

    def execute(self, step: Step) -> str:
        return self.run(step.command.split())

    def run(self, words: list[str]) -> str:
        command: Callable[[list[str]], str] = getattr(self, "_" + words[0])
        return command(words[1:])

    def _as(self, words: list[str]) -> str:
        self.by = self.who(words[0])
        try:
            return self.run(words[1:])
        finally:
            self.by = None

    def who(self, word: str) -> Credential | None:
        if word in ("nobody", "member"):
            return MEMBER if word == "member" else None
        name, _, revision = word.partition("@")
        return Credential(name, int(revision or self.replica.machine.auth.revision))

    def _auth(self, words: list[str]) -> str:
        match words:
            case ["enable"]:
                return self.changed(RequestKind.AUTH_ENABLE, rpc.AuthEnableRequest())
            case ["disable"]:
                return self.changed(RequestKind.AUTH_DISABLE, rpc.AuthDisableRequest())
        state = self.replica.machine.auth
        return f"{'enabled' if state.enabled else 'disabled'} at {state.revision}"

    def _user(self, words: list[str]) -> str:
        match words:
            case ["add", name, "no-password"]:
                options = auth.UserAddOptions(no_password=True)
                request = rpc.AuthUserAddRequest(name=name, options=options)
                return self.changed(RequestKind.USER_ADD, request)
            case ["add", *rest]:
                name, password = (*rest, "", "")[:2]
                request = rpc.AuthUserAddRequest(name=name, hashedPassword=hashed(password))
                return self.changed(RequestKind.USER_ADD, request)
            case ["password", name, password]:
                change = rpc.AuthUserChangePasswordRequest(
                    name=name, hashedPassword=hashed(password)
                )
                return self.changed(RequestKind.USER_CHANGE_PASSWORD, change)
            case ["delete", name]:
                return self.changed(RequestKind.USER_DELETE, rpc.AuthUserDeleteRequest(name=name))
            case ["grant", name, role]:
                return self.changed(
                    RequestKind.USER_GRANT_ROLE,
                    rpc.AuthUserGrantRoleRequest(user=name, role=role),
                )
            case ["revoke", name, role]:
                return self.changed(
                    RequestKind.USER_REVOKE_ROLE,
                    rpc.AuthUserRevokeRoleRequest(name=name, role=role),
                )
            case ["get", name]:
                user = self.replica.machine.auth.user(name)
                assert user is not None, name
                kind = "no password" if user.options.no_password else user.password.decode()
                return f"{kind}: {' '.join(user.roles)}"
            case _:
                return " ".join(self.replica.machine.auth.users())

    def _role(self, words: list[str]) -> str:
        match words:
            case ["add", *name]:
                request = rpc.AuthRoleAddRequest(name="".join(name))
                return self.changed(RequestKind.ROLE_ADD, request)
            case ["delete", name]:
                return self.changed(RequestKind.ROLE_DELETE, rpc.AuthRoleDeleteRequest(role=name))
            case ["grant", name, kind, *keys]:
                perm = auth.Permission(
                    permType=PERMISSIONS[kind], key=end(keys, 0), range_end=end(keys, 1)
                )
                grant = rpc.AuthRoleGrantPermissionRequest(name=name, perm=perm)
                return self.changed(RequestKind.ROLE_GRANT_PERMISSION, grant)
            case ["grant", name]:
                return self.changed(
                    RequestKind.ROLE_GRANT_PERMISSION,
                    rpc.AuthRoleGrantPermissionRequest(name=name),
                )
            case ["revoke", name, *keys]:
                revoke = rpc.AuthRoleRevokePermissionRequest(
                    role=name, key=end(keys, 0), range_end=end(keys, 1)
                )
                return self.changed(RequestKind.ROLE_REVOKE_PERMISSION, revoke)
            case ["get", name]:
                role = self.replica.machine.auth.role(name)
                assert role is not None, name
                return "\n".join(described(each) for each in role.keyPermission)
            case _:
                return " ".join(self.replica.machine.auth.roles())

    def _authenticate(self, words: list[str]) -> str:
        request = rpc.InternalAuthenticateRequest(name=words[0], simple_token="".join(words[1:]))
        return self.changed(RequestKind.AUTHENTICATE, request)

    def changed(self, kind: RequestKind, request: Message) -> str:
        """Apply a request of the Auth service; the refusal, or what came of it."""
        applied = self.replica.apply(kind, request, self.by)
        if isinstance(applied.outcome, Refusal):
            assert not applied.effects
            assert not applied.tokens
            return str(applied.outcome)
        token = rpc.AuthenticateResponse.FromString(applied.outcome.body).token
        changes = [f"{c.kind.name} {c.name}".lower().rstrip() for c in applied.tokens]
        revision = self.replica.machine.auth.revision
        return "\n".join([*([f"token {token}"] if token else []), *changes, f"at {revision}"])

    # Requests that are not applied.

    def _get(self, words: list[str]) -> str:
        refusal = self.replica.machine.access.range(self.by, range_request(words))
        return str(refusal) if refusal else super()._get(words)

    def _watch(self, words: list[str]) -> str:
        create = rpc.WatchCreateRequest(key=end(words, 0), range_end=end(words, 1))
        return verdict(self.replica.machine.access.watch(self.by, create))

    def _renew(self, words: list[str]) -> str:
        return verdict(self.replica.machine.access.write_lease(self.by, int(words[0])))

    def _look(self, words: list[str]) -> str:
        return verdict(self.replica.machine.access.read_lease(self.by, int(words[0])))


def hashed(password: str) -> str:
    return b64encode(password.encode()).decode()


def described(permission: auth.Permission) -> str:
    kind = auth.Permission.Type.Name(permission.permType).lower()
    keys = [permission.key.decode(), permission.range_end.decode().replace("\0", "\\0")]
    return f"{kind} {' '.join(filter(None, keys))}"


def verdict(refusal: Refusal | None) -> str:
    return str(refusal) if refusal else "allowed"
