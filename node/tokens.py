"""How this member knows its clients: the tokens that they were given for a password.

    Authenticate ──► log ──► every member: assigned(token, user)      SimpleTokens
                         ──► who was asked signs                      `node.jwt_tokens`

A simple token is a random word and the index of the entry that assigned it, so a member that is
asked with one knows whether it can have heard of it. It lives for a while after its last use, on
each member by that member's own clock. Tokens are in memory only: a member that starts over, or
takes a snapshot in place of entries, has forgotten them, and its clients authenticate again.

The supervisor has a token of its own, by which it is nobody's user but the member itself.

Source: etcd server/auth/simple_token.go.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from hmac import compare_digest
from typing import Protocol

from node.machine.answer import TokenChange, TokenChangeKind
from node.machine.envelope import MEMBER, Credential

TOKENS_MAX = 65_536
"""Beyond, who was silent for longest has to authenticate again."""


class Tokens(Protocol):
    """One way of making tokens."""

    simple: bool
    """Whether tokens are assigned by the log."""

    def find(self, token: str, revision: int) -> Credential | None:
        """Whose token it is; None = nobody's. `revision` is the present one of users and roles."""

    def sign(self, name: str, revision: int) -> str:
        """A token that needs no assignment; "" = there is no such thing here.

        Raises:
            CannotSign: it can only be verified here.
        """

    def note(self, changes: Iterable[TokenChange]) -> None:
        """Tokens were assigned or revoked by an entry."""

    def expire(self) -> None:
        """Forget what nobody has used for too long."""

    def clear(self) -> None:
        """Forget everything: entries were skipped that may have changed it."""


class CannotSign(Exception):
    """There is a public key, but no private one."""


class SimpleTokens:
    """Tokens that every member has in memory."""

    simple = True

    def __init__(self, ttl_seconds: float, clock: Callable[[], float]) -> None:
        """A token lives for `ttl_seconds` after its last use; `clock` is monotonic."""
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        # Token to user and end, those whose end comes first in front: all live equally long.
        self._tokens: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many are known."""
        return len(self._tokens)

    def find(self, token: str, revision: int) -> Credential | None:
        """Whose token it is; it lives on from here."""
        found = self._tokens.get(token)
        if found is None:
            return None
        now = self._clock()
        name, end = found
        if end <= now:
            del self._tokens[token]
            return None
        self._enter(token, name, now)
        return Credential(name, revision)

    def sign(self, name: str, revision: int) -> str:
        """Simple tokens are not signed."""
        return ""

    def note(self, changes: Iterable[TokenChange]) -> None:
        """Tokens were assigned or revoked by an entry."""
        for change in changes:
            match change.kind:
                case TokenChangeKind.ASSIGNED:
                    self._enter(change.token, change.name, self._clock())
                case TokenChangeKind.USER_REVOKED:
                    for token, (name, _) in list(self._tokens.items()):
                        if name == change.name:
                            del self._tokens[token]
                case TokenChangeKind.ALL_REVOKED:
                    self._tokens.clear()

    def expire(self) -> None:
        """Forget those whose time is over."""
        now = self._clock()
        while self._tokens:
            token, (_, end) = next(iter(self._tokens.items()))
            if end > now:
                return
            del self._tokens[token]

    def clear(self) -> None:
        """Forget all."""
        self._tokens.clear()

    def _enter(self, token: str, name: str, now: float) -> None:
        self._tokens[token] = (name, now + self._ttl_seconds)
        self._tokens.move_to_end(token)
        if len(self._tokens) > TOKENS_MAX:
            self._tokens.popitem(last=False)


class Keeper:
    """Finds out whom a token stands for: a user, or the member itself."""

    def __init__(self, kind: Tokens, own: str = "") -> None:
        """`own` is the token of the member's supervisor; "" = it has none."""
        self.kind = kind
        self._own = own.encode()

    def find(self, token: str, revision: int) -> Credential | None:
        """Whose token it is; None = nobody's."""
        found = self.kind.find(token, revision)
        if found is None and self._own and compare_digest(token.encode(), self._own):
            return MEMBER
        return found


def assigned_at(token: str) -> int | None:
    """The index of the entry that a simple token says to come from; None = it says nothing."""
    word, dot, index = token.partition(".")
    if not word or not dot or not index.isascii() or not index.isdigit():
        return None
    return int(index[:20])
