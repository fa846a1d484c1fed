"""Who a client is, while authentication is enabled: from the token of a call to a credential.

    token known here ─────────────────────► Credential
    of an entry that is still to be applied here ──linearizable read──► once more
    unknown ──────────────────────────────► InvalidAuthToken
    none ──► the user that the client's certificate names, else nobody in particular (None)

A unary call is admitted as a whole (`admit`); a stream's requests one by one, because a stream may
outlive its token. Nothing of this happens while authentication is off.

Source: etcd server/auth/store.go (AuthInfoFromCtx), server/etcdserver/api/v3rpc/auth.go.
"""

from __future__ import annotations

from collections.abc import Callable

from node.api.call import Call, Link, Right, StreamCall
from node.machine.envelope import Credential
from node.machine.errors import InvalidAuthToken, Refusal
from node.tokens import assigned_at
from transport.grpc import Metadata

_BEARER = "Bearer "
_NAMES = (b"token", b"authorization")
"""Of metadata; the second is what HTTP clients have."""

Found = Credential | Refusal | None


def admit(call: Call, metadata: Metadata, go_on: Callable[[], None]) -> None:
    """Go on with a unary call once it is known whose it is, or refuse it."""
    right = call.method.right
    if right is Right.NONE:
        go_on()
        return

    def found(by: Found) -> None:
        if call.over:
            return
        refusal = by if isinstance(by, Refusal) else _lacks(call, right, by)
        if refusal is None and not isinstance(by, Refusal):
            call.credential = by
            go_on()
        elif refusal is not None:
            call.refuse(refusal)

    _find(call.link, metadata, found)


def identity(call: StreamCall, then: Callable[[Found], None]) -> None:
    """Find out whose request of a stream it is, now or after a round through Raft."""
    _find(call.link, call.metadata, then)


def identify(call: StreamCall, then: Callable[[Credential | None], None]) -> None:
    """The same, for a stream that a bad token ends."""

    def found(by: Found) -> None:
        if isinstance(by, Refusal):
            call.refuse(by)
        elif not call.over:
            then(by)

    _find(call.link, call.metadata, found)


def token_of(metadata: Metadata) -> str | None:
    """The token that a client sent; None = it sent none."""
    for name in _NAMES:
        if name in metadata:
            return metadata[name].decode(errors="replace").removeprefix(_BEARER)
    return None


def _lacks(call: Call, right: Right, by: Credential | None) -> Refusal | None:
    auth = call.link.member.machine.auth
    if right is Right.ROOT:
        return auth.check_admin(by)
    return auth.check_user(by) if right is Right.USER else None


def _find(link: Link, metadata: Metadata, then: Callable[[Found], None]) -> None:
    token = token_of(metadata)
    member = link.member
    if token is None:
        name = link.common_name
        then(Credential(name, member.machine.auth.revision) if name else None)
        return
    by = member.tokens.find(token, member.machine.auth.revision)
    index = assigned_at(token)
    if by is not None:
        then(by)
    elif not member.tokens.kind.simple or index is None or index <= member.applied:
        then(InvalidAuthToken())
    else:  # given out by a member that is ahead of this one; whatever was, is applied by then
        member.read(lambda stale: then(stale or _again(link, token)))


def _again(link: Link, token: str) -> Found:
    member = link.member
    return member.tokens.find(token, member.machine.auth.revision) or InvalidAuthToken()
