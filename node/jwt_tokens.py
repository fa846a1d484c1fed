"""Tokens that are signed: every member that has the key knows the user, none has to remember it.

    --auth-token=jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=10m

A token says who was authenticated, at which revision of users and roles, and until when. Each
change of them makes all tokens of before too old, since a signature cannot be taken back. With a
public key alone a member verifies tokens and gives none; methods that begin with HS have one key,
the private one. A token that was verified once is remembered, because a signature costs more than
a put does.

Loaded only where it was asked for. Source: etcd server/auth/jwt.go, options.go.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from node.errors import ConfigError
from node.machine.answer import TokenChange
from node.machine.envelope import Credential
from node.token_option import TokenOption
from node.tokens import CannotSign

VERIFIED_MAX = 4_096
CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
PRIVATE = {
    "RS": rsa.RSAPrivateKey,
    "PS": rsa.RSAPrivateKey,
    "ES": ec.EllipticCurvePrivateKey,
    "Ed": ed25519.Ed25519PrivateKey,
}
PUBLIC = {
    "RS": rsa.RSAPublicKey,
    "PS": rsa.RSAPublicKey,
    "ES": ec.EllipticCurvePublicKey,
    "Ed": ed25519.Ed25519PublicKey,
}
_CHECKS: Any = {"verify_exp": False, "verify_aud": False, "verify_iat": False}
"""The end is compared here, with a clock that is given; the others etcd does not look at."""


class JwtTokens:
    """Tokens by one signing method and one key."""

    simple = False

    def __init__(self, option: TokenOption, clock: Callable[[], float] = time.time) -> None:
        """Read the keys. `clock` is the time of day: other members, and other programs that have
        the key, must understand it.

        Raises:
            ConfigError: a key cannot be read, or is not one for the method.
        """
        self._method = option.settings["sign-method"]
        self._ttl_seconds = option.ttl_seconds
        self._clock = clock
        self._private, self._public = _keys(option)
        self._verified: OrderedDict[str, tuple[Credential, float]] = OrderedDict()

    def find(self, token: str, revision: int) -> Credential | None:
        """Whose token it is, with the revision at which it was given out."""
        known = self._verified.get(token) or self._verify(token)
        if known is None:
            return None
        credential, end = known
        return credential if self._clock() < end else None

    def sign(self, name: str, revision: int) -> str:
        """A token for a user.

        Raises:
            CannotSign: there is no private key.
        """
        if self._private is None:
            raise CannotSign
        end = int(self._clock() + self._ttl_seconds)
        claims = {"username": name, "revision": revision, "exp": end}
        return jwt.encode(claims, self._private, self._method)

    def note(self, changes: Iterable[TokenChange]) -> None:
        """Nothing to remember: the auth revision tells what is too old."""

    def expire(self) -> None:
        """Whoever has expired is refused when he comes."""

    def clear(self) -> None:
        """Nothing that entries could have changed is remembered."""

    def _verify(self, token: str) -> tuple[Credential, float] | None:
        try:
            claims = jwt.decode(token, self._public, [self._method], options=_CHECKS)
        except (jwt.PyJWTError, ValueError):
            return None
        match claims:
            case {"username": str(name), "revision": int() | float() as revision} if name:
                end = claims.get("exp", float("inf"))
            case _:
                return None
        if not isinstance(end, int | float) or not 0 <= revision < 1 << 63:
            return None
        known = self._verified[token] = Credential(name, int(revision)), end
        if len(self._verified) > VERIFIED_MAX:
            self._verified.popitem(last=False)
        return known


def _keys(option: TokenOption) -> tuple[Any, Any]:
    """What signs (None = nothing does) and what verifies.

    Raises:
        ConfigError: see `JwtTokens`.
    """
    method = option.settings["sign-method"]
    family = method[:2]
    private_path = option.settings.get("priv-key", "")
    public_path = option.settings.get("pub-key", "")
    if family == "HS":
        secret = _read(private_path)
        if not secret:
            raise ConfigError(f"{private_path} is empty, so anybody could sign with it")
        return secret, secret
    private = public = None
    if private_path:
        private = _parsed(private_path, lambda pem: load_pem_private_key(pem, None))
        _require_kind(private, PRIVATE[family], private_path, method)
    if public_path:
        public = _parsed(public_path, _public_key)
        _require_kind(public, PUBLIC[family], public_path, method)
    if private is not None:
        if public is not None and private.public_key() != public:
            raise ConfigError(f"{public_path} is not the public half of {private_path}")
        public = private.public_key()
    return private, public


def _require_kind(key: Any, kind: Any, path: str, method: str) -> None:
    curve = CURVES.get(method)
    if not isinstance(key, kind) or (curve is not None and key.curve.name != curve):
        raise ConfigError(f"{path} holds no key for {method}")


def _public_key(pem: bytes) -> Any:
    if b"BEGIN CERTIFICATE" in pem:
        return load_pem_x509_certificate(pem).public_key()
    return load_pem_public_key(pem)


def _parsed(path: str, parse: Callable[[bytes], Any]) -> Any:
    try:
        return parse(_read(path))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} holds no key that can be used: {error}") from error


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"the key {path} cannot be read: {error.strerror}") from error
