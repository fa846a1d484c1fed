"""What --auth-token may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.errors import ConfigError
from node.token_option import TokenOption, duration, parse


@pytest.mark.parametrize(
    ("option", "parsed", "ttl"),
    [
        ("simple", TokenOption("simple"), 300),
        (
            "jwt,sign-method=HS256,priv-key=/k",
            TokenOption("jwt", {"sign-method": "HS256", "priv-key": "/k"}),
            300,
        ),
        (
            "jwt,pub-key=/p,sign-method=EdDSA,ttl=1h30m",
            TokenOption("jwt", {"pub-key": "/p", "sign-method": "EdDSA", "ttl": "1h30m"}),
            5_400,
        ),
    ],
)
def test_option_is_read_and_written(option: str, parsed: TokenOption, ttl: float) -> None:
    assert parse(option) == parsed
    assert str(parsed) == option
    assert parsed.ttl_seconds == ttl


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("", "use simple, or jwt"),
        ("complex", "use simple, or jwt"),
        ("simple,ttl=5m", "simple has no setting ttl"),
        ("jwt", "sign-method is one of ES256, ES384"),
        ("jwt,sign-method=none", "sign-method is one of"),
        ("jwt,sign-method=RS256", "RS256 needs pub-key or priv-key"),
        ("jwt,sign-method=HS256,pub-key=/p", "HS256 needs priv-key"),
        ("jwt,sign-method=HS256,priv-key=/k,colour=red", "jwt has no setting colour"),
        ("jwt,sign-method=HS256,priv-key=/k,priv-key=/l", "priv-key is there twice"),
        ("jwt,sign-method", "'sign-method' is no name=value"),
        ("jwt,sign-method=HS256,priv-key=/k,ttl=5", "'5' is no duration"),
        ("jwt,sign-method=HS256,priv-key=/k,ttl=0s", "must live"),
    ],
)
def test_option_that_cannot_be_is_refused(option: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as refused:
        parse(option)

    assert repr(option) in str(refused.value)


def test_key_files_are_found_where_the_option_was_written() -> None:
    option = "jwt,sign-method=ES256,priv-key=keys/p.pem,pub-key=/etc/p.pub,ttl=1m"

    absolute = parse(option).within(Path("/home/me"))

    assert str(absolute) == (
        "jwt,sign-method=ES256,priv-key=/home/me/keys/p.pem,pub-key=/etc/p.pub,ttl=1m"
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m", 300), ("1h30m", 5_400), ("1.5s", 1.5), (".5m", 30), ("100ms", 0.1), ("2us", 2e-6)],
)
def test_duration_is_gos(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "5m x", "5d", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no duration"):
        duration(text)
