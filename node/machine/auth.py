"""Users, roles and permissions as the log knows them, and who may do what by them.

    user ──has──► roles ──have──► permissions: intervals of keys to read, to write, or both

While authentication is enabled every request is made for a user, or refused. Each change of
users, roles or permissions makes a new auth revision; a request carries the one at which its client
was found out, and an older one is refused, since that client may have been somebody else. The role
root is all permissions and the right to change all this; it need not exist to be granted.

They are kept in memory beside their records: every request asks for them, and there are few. Where
passwords are hashed, and how a client becomes a user, is not known here (`node.passwords`,
`node.tokens`). What changes them is in `auth_change`, what each request needs in `access`.

Source: etcd server/auth/store.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from node.machine.answer import Operation
from node.machine.envelope import MEMBER, Credential
from node.machine.errors import (
    AuthOldRevision,
    PermissionDenied,
    Refusal,
    UserEmpty,
    UserNotFound,
)
from node.machine.permission import Rights, rights
from node.machine.record import (
    AUTH_ENABLED,
    AUTH_REVISION,
    ROLE,
    USER,
    number,
    table_end,
    unpack_number,
)
from node.machine.view import View
from node.proto import auth

ROOT = "root"
"""The user that must exist, and the role that it must have."""
FIRST_REVISION = 1
"""What a store that never had a user is at, as in etcd."""
ON, OFF = b"\x01", b"\x00"


class Auth:
    """The applied users and roles."""

    __slots__ = ("_rights", "_roles", "_users", "enabled", "revision")

    def __init__(self, view: View) -> None:
        """Load."""
        self.enabled = view.get(AUTH_ENABLED) == ON
        """Whether requests are judged at all; asked by every request."""
        stored = view.get(AUTH_REVISION)
        self.revision = FIRST_REVISION if stored is None else unpack_number(stored)
        users = (auth.User.FromString(stored) for _, stored in view.scan(USER, table_end(USER)))
        self._users = {user.name.decode(): user for user in users}
        roles = (auth.Role.FromString(stored) for _, stored in view.scan(ROLE, table_end(ROLE)))
        self._roles = {role.name.decode(): role for role in roles}
        # Made when a user first asks, dropped with every change.
        self._rights: dict[str, Rights] = {}

    # Looking.

    def user(self, name: str) -> auth.User | None:
        """The user of this name; not to be changed."""
        return self._users.get(name)

    def role(self, name: str) -> auth.Role | None:
        """The role of this name; not to be changed."""
        return self._roles.get(name)

    def users(self) -> list[str]:
        """All names, in order."""
        return sorted(self._users)

    def roles(self) -> list[str]:
        """All names, in order."""
        return sorted(self._roles)

    # Judging. None = allowed; while authentication is off, everything is.

    def check_user(self, by: Credential | None) -> Refusal | None:
        """Whether it is a request of somebody. Refuses by UserEmpty."""
        return UserEmpty() if self.enabled and by is None else None

    def check_admin(self, by: Credential | None) -> Refusal | None:
        """Whether it is one of root. Refuses by UserEmpty, UserNotFound, PermissionDenied."""
        if not self.enabled or by is MEMBER:
            return None
        if by is None:
            return UserEmpty()
        user = self._users.get(by.name)
        if user is None:
            return UserNotFound()
        return None if ROOT in user.roles else PermissionDenied()

    def check_read(self, by: Credential | None, lo: bytes, hi: bytes | None) -> Refusal | None:
        """Whether the keys `[lo, hi)` may be read. Refuses as `check_write`."""
        return self._check(by, lo, hi, write=False)

    def check_write(self, by: Credential | None, lo: bytes, hi: bytes | None) -> Refusal | None:
        """Whether they may be written. Refuses by UserEmpty, AuthOldRevision, PermissionDenied."""
        return self._check(by, lo, hi, write=True)

    def _check(
        self, by: Credential | None, lo: bytes, hi: bytes | None, *, write: bool
    ) -> Refusal | None:
        if not self.enabled or by is MEMBER:
            return None
        if by is None:
            return UserEmpty()
        if by.revision < self.revision:
            return AuthOldRevision()
        user = self._users.get(by.name)
        if user is None:
            return PermissionDenied()
        if ROOT in user.roles:
            return None
        held = self._rights_of(user)
        covered = (held.write if write else held.read).covers(lo, hi)
        return None if covered else PermissionDenied()

    def _rights_of(self, user: auth.User) -> Rights:
        name = user.name.decode()
        held = self._rights.get(name)
        if held is None:
            found = (self._roles[role] for role in user.roles if role in self._roles)
            granted = (permission for role in found for permission in role.keyPermission)
            held = self._rights[name] = rights(granted)
        return held

    # Changing; each returns what is to be staged.

    def switch(self, *, enabled: bool) -> Operation:
        """Judge requests from now on, or no more."""
        self.enabled = enabled
        return AUTH_ENABLED, ON if enabled else OFF

    def commit(self, operations: Iterable[Operation] = ()) -> list[Operation]:
        """A new revision, together with what made it."""
        self.revision += 1
        self._rights.clear()
        return [*operations, (AUTH_REVISION, number(self.revision))]

    def write_user(self, user: auth.User) -> Operation:
        """Enter a user, or another version of it."""
        self._users[user.name.decode()] = user
        return USER + user.name, user.SerializeToString()

    def delete_user(self, name: str) -> Operation:
        """Strike a user out."""
        del self._users[name]
        return USER + name.encode(), None

    def write_role(self, role: auth.Role) -> Operation:
        """Enter a role, or another version of it."""
        self._roles[role.name.decode()] = role
        return ROLE + role.name, role.SerializeToString()

    def delete_role(self, name: str) -> Operation:
        """Strike a role out."""
        del self._roles[name]
        return ROLE + name.encode(), None
