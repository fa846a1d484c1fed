"""Signed tokens: every method of signing, what is not believed, and keys that cannot be used."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from node import jwt_tokens
from node.errors import ConfigError
from node.jwt_tokens import JwtTokens
from node.machine.envelope import Credential
from node.token_option import METHODS, parse
from node.tokens import CannotSign

SECRET = b"a secret that is long enough for every method of signing, sixty-four bytes of it."
ALICE = Credential("alice", 7)

KEYS: dict[str, Callable[[], Any]] = {
    "RS": lambda: rsa.generate_private_key(public_exponent=65_537, key_size=2_048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed": lambda: ed25519.Ed25519PrivateKey.generate(),
}
ASYMMETRIC = sorted(method for method in METHODS if not method.startswith("HS"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key files: NAME.pem and NAME.pub of each of KEYS, another pair, and a secret."""
    folder = tmp_path_factory.mktemp("keys")
    for name, make in {**KEYS, "other": KEYS["ES256"]}.items():
        key = make()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        folder.joinpath(f"{name}.pem").write_bytes(private)
        folder.joinpath(f"{name}.pub").write_bytes(public)
    folder.joinpath("secret").write_bytes(SECRET)
    folder.joinpath("empty").write_bytes(b"")
    return folder


def key_name(method: str) -> str:
    if method.startswith("ES"):
        return method
    return "Ed" if method == "EdDSA" else "RS"


def option(folder: Path, method: str, *, private: bool = True, public: bool = False) -> str:
    if method.startswith("HS"):
        return f"jwt,sign-method={method},priv-key={folder}/secret"
    name = key_name(method)
    keys = [f"priv-key={folder}/{name}.pem"] * private + [f"pub-key={folder}/{name}.pub"] * public
    return ",".join(["jwt", f"sign-method={method}", *keys])


class Day:
    """The time of day, as it is set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def made(option: str, day: Day | None = None) -> JwtTokens:
    return JwtTokens(parse(option), day or Day())


@pytest.mark.parametrize("method", sorted(METHODS))
def test_who_has_the_key_knows_the_user(folder: Path, method: str) -> None:
    token = made(option(folder, method)).sign(*ALICE)

    assert made(option(folder, method, public=True)).find(token, 99) == ALICE


@pytest.mark.parametrize("method", ASYMMETRIC)
def test_public_key_alone_verifies_and_does_not_sign(folder: Path, method: str) -> None:
    token = made(option(folder, method)).sign(*ALICE)
    verifier = made(option(folder, method, private=False, public=True))

    assert verifier.find(token, 99) == ALICE
    with pytest.raises(CannotSign):
        verifier.sign(*ALICE)


def test_token_ends_also_when_it_was_verified_before(folder: Path) -> None:
    day = Day()
    tokens = made(option(folder, "ES256") + ",ttl=10s", day)
    token = tokens.sign(*ALICE)

    day.now += 9
    assert tokens.find(token, 7) == ALICE
    day.now += 1
    assert tokens.find(token, 7) is None
    assert made(option(folder, "ES256"), day).find(token, 7) is None


def test_claims_are_etcds(folder: Path) -> None:
    """So that other programs that read them do, and those of an etcd are read here."""
    token = made(option(folder, "HS256")).sign(*ALICE)

    claims = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims == {"username": "alice", "revision": 7, "exp": 1_000_300}
    theirs = jwt.encode({"username": "alice", "revision": 7.0, "exp": 1_000_300}, SECRET, "HS256")
    assert made(option(folder, "HS256")).find(theirs, 7) == ALICE


def unsigned(claims: dict[str, object]) -> str:
    parts = [{"alg": "none", "typ": "JWT"}, claims]
    return ".".join(
        [*(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts), ""]
    )


@pytest.mark.parametrize(
    "claims",
    [
        {"revision": 7},
        {"username": "alice"},
        {"username": "", "revision": 7},
        {"username": 5, "revision": 7},
        {"username": "alice", "revision": "7"},
        {"username": "alice", "revision": -1},
        {"username": "alice", "revision": float("inf")},
        {"username": "alice", "revision": 7, "exp": 999_999},
        {"username": "alice", "revision": 7, "exp": "tomorrow"},
        {"username": "alice", "revision": 7, "nbf": 99_999_999_999},
    ],
)
def test_claims_that_make_no_user_are_not_believed(folder: Path, claims: dict[str, object]) -> None:
    signed = jwt.encode(claims, SECRET, "HS256")

    assert made(option(folder, "HS256")).find(signed, 7) is None


def test_what_another_key_signed_is_not_believed(folder: Path) -> None:
    """Nor what is not signed at all, nor what the public key was taken for a secret for."""
    claims: dict[str, object] = {"username": "root", "revision": 7}
    tokens = made(option(folder, "ES256", public=True))
    public = urlsafe_b64encode(folder.joinpath("ES256.pub").read_bytes()).decode()

    for token in (
        jwt.encode(claims, folder.joinpath("other.pem").read_bytes(), "ES256"),
        jwt.encode(claims, public, "HS256"),
        jwt.encode(claims, SECRET, "HS256"),
        unsigned(claims),
        "",
        "a.b",
        "a.b.c",
        "é.é.é",
        "word.17",
    ):
        assert tokens.find(token, 7) is None


def test_verified_tokens_are_remembered_and_their_number_is_bounded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwt_tokens, "VERIFIED_MAX", 2)
    tokens = made(option(folder, "HS256"))
    signed = [tokens.sign("alice", revision) for revision in range(1, 5)]
    for token in signed:
        assert tokens.find(token, 7) is not None

    assert list(tokens._verified) == signed[-2:]


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ("sign-method=RS256,priv-key=nowhere", "nowhere cannot be read: No such file"),
        ("sign-method=RS256,priv-key=secret", "secret holds no key that can be used"),
        ("sign-method=RS256,pub-key=RS.pem", "RS.pem holds no key that can be used"),
        ("sign-method=RS256,priv-key=ES256.pem", "ES256.pem holds no key for RS256"),
        ("sign-method=ES256,priv-key=ES384.pem", "ES384.pem holds no key for ES256"),
        ("sign-method=EdDSA,pub-key=ES256.pub", "ES256.pub holds no key for EdDSA"),
        ("sign-method=HS256,priv-key=empty", "empty is empty"),
        (
            "sign-method=ES256,priv-key=ES256.pem,pub-key=other.pub",
            "other.pub is not the public half",
        ),
    ],
)
def test_key_that_cannot_be_used_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, keys: str, complaint: str
) -> None:
    monkeypatch.chdir(folder)

    with pytest.raises(ConfigError, match=complaint):
        made(f"jwt,{keys}")
