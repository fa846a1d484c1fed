"""What `--auth-token` says, in etcd's own notation: a kind of token, and settings of that kind.

    simple
    jwt,sign-method=ES256,priv-key=/etc/keys/private.pem,ttl=10m

Standard library only: the command line reads it to refuse what cannot be, before anything starts.
Source: etcd server/auth/store.go (decomposeOpts), options.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from node.errors import ConfigError
from node.go_duration import go_duration

SIMPLE, JWT = "simple", "jwt"
SETTINGS = ("sign-method", "pub-key", "priv-key", "ttl")
PATHS = ("pub-key", "priv-key")
METHODS = frozenset(
    {f"{family}{bits}" for family in ("HS", "RS", "PS", "ES") for bits in (256, 384, 512)}
    | {"EdDSA"}
)
TTL_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class TokenOption:
    """A kind of token and its settings, as they were written."""

    kind: str
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def ttl_seconds(self) -> float:
        """How long a signed token is good."""
        return duration(self.settings["ttl"]) if "ttl" in self.settings else TTL_SECONDS

    def within(self, directory: Path) -> TokenOption:
        """The same with key files by their whole paths; relative ones are below `directory`."""
        settings = {n: str(directory / s) if n in PATHS else s for n, s in self.settings.items()}
        return TokenOption(self.kind, settings)

    def __str__(self) -> str:
        """As it is written."""
        return ",".join([self.kind, *(f"{name}={said}" for name, said in self.settings.items())])


def parse(option: str) -> TokenOption:
    """Read the option.

    Raises:
        ConfigError: it says what no member could do.
    """
    kind, *pairs = option.split(",")
    try:
        parsed = TokenOption(kind, _settings(pairs))
        match kind:
            case "simple":
                _refuse_others(parsed, ())
            case "jwt":
                _refuse_others(parsed, SETTINGS)
                _check_jwt(parsed)
            case _:
                raise ConfigError("use simple, or jwt with its settings")
    except ConfigError as error:
        raise ConfigError(f"auth-token {option!r}: {error}") from None
    return parsed


def _settings(pairs: list[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for pair in pairs:
        name, _, said = pair.partition("=")
        if not said or "=" in said:
            raise ConfigError(f"{pair!r} is no name=value")
        if name in settings:
            raise ConfigError(f"{name} is there twice")
        settings[name] = said
    return settings


def _refuse_others(parsed: TokenOption, allowed: tuple[str, ...]) -> None:
    for name in parsed.settings:
        if name not in allowed:
            raise ConfigError(f"{parsed.kind} has no setting {name}")


def _check_jwt(parsed: TokenOption) -> None:
    method = parsed.settings.get("sign-method", "")
    if method not in METHODS:
        raise ConfigError(f"sign-method is one of {', '.join(sorted(METHODS))}")
    keys = PATHS if not method.startswith("HS") else ("priv-key",)
    if not any(name in parsed.settings for name in keys):
        raise ConfigError(f"{method} needs {' or '.join(keys)}")
    if parsed.ttl_seconds <= 0:
        raise ConfigError("a token must live for some time")


def duration(text: str) -> float:
    """Seconds of a duration in Go's notation: 10m, 1h30m, 1.5s.

    Raises:
        ConfigError: it is none.
    """
    try:
        seconds = go_duration(text)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if seconds < 0:
        raise ConfigError(f"{text!r} is no duration to live for")
    return seconds
