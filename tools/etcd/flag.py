"""The command line and the environment, read as etcd reads them. Pure.

One dash or two, `-name=value` or `-name value`; a switch needs no value, and takes one only behind
`=`. A flag that is not on the command line may come from the environment (ETCD_NAME for --name);
one that is in both is refused, as in etcd, because nobody can tell which was meant. Where etcd
refuses a flag that it does not know, it is passed over here with a warning: fixtures hand over
flags of every release.

Source: Go's package flag; etcd pkg/flags/flag.go (SetFlagsFromEnv, verifyEnv).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from node.go_duration import go_duration
from tools.etcd.errors import Refused, UsageError
from tools.etcd.url import Url, read_urls

Value = str | bool | int | float | tuple[Url, ...]
PREFIX = "ETCD_"
HELP = "conclave-etcd --help"
STATES = ("new", "existing")
TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class Kind(Enum):
    """What the value of a flag is."""

    TEXT = auto()
    SWITCH = auto()
    COUNT = auto()
    """A whole number, not negative."""
    NUMBER = auto()
    SPAN = auto()
    """A duration in Go's notation, 1m30s; in seconds once it is read."""
    URLS = auto()
    """At least one, or none where the default is none."""
    STATE = auto()
    """How the cluster is found: new or existing."""


class Use(Enum):
    """What becomes of a flag."""

    SERVED = auto()
    IDLE = auto()
    """Taken, and of no effect: whoever wants another value than the default is told so."""
    REFUSED = auto()
    """It would change what is started, so that passing over it would be a lie."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of etcd."""

    name: str
    kind: Kind
    default: str
    help: str
    """What it does; for one that is not served, why not."""
    use: Use = Use.SERVED


@dataclass(slots=True)
class Given:
    """What was said, once it was read."""

    values: dict[str, Value]
    """By flag name; the default's where nothing was said."""
    said: set[str] = field(default_factory=set)
    """The flags that are not at their default because somebody said so."""
    warnings: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Messages and their facts."""
    help_wanted: bool = False

    def text(self, name: str) -> str:
        """The value of a flag of text."""
        return str(self.values[name])

    def number(self, name: str) -> int:
        """The value of a flag that is a number."""
        return int(self.values[name])  # type: ignore[arg-type]  # of a count or a number

    def span(self, name: str) -> float:
        """The value of a duration, in seconds."""
        return float(self.values[name])  # type: ignore[arg-type]  # of a span

    def switch(self, name: str) -> bool:
        """The value of a switch."""
        return bool(self.values[name])

    def urls(self, name: str) -> tuple[Url, ...]:
        """The value of a flag that is URLs."""
        value = self.values[name]
        return value if isinstance(value, tuple) else ()


def read(words: Sequence[str], environment: Mapping[str, str], flags: Mapping[str, Flag]) -> Given:
    """Read a command line (without the program) and an environment.

    Raises:
        UsageError: the command line cannot be read.
        Refused: what it says cannot be done.
    """
    given = Given({flag.name: _value(flag, flag.default) for flag in flags.values()})
    _read_words(list(words), flags, given)
    if not given.help_wanted and not given.values.get("version"):
        _read_environment(environment, flags, given)
        for name in sorted(given.said):
            _note_unserved(flags[name], given)
    return given


def _read_words(words: list[str], flags: Mapping[str, Flag], given: Given) -> None:
    while words and words != ["--"]:
        word = words.pop(0)
        if word == "--":  # what is behind it is no flag, and etcd takes nothing else
            word = words[0]
        elif len(word) > 1 and word.startswith("-"):
            name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
            if name in ("help", "h"):
                given.help_wanted = True
                return
            if not name:
                raise UsageError(f"bad flag syntax: {word}")
            _read_flag(name, value if equals else None, words, flags, given)
            continue
        raise Refused(f'"{word}" is not a valid flag', HELP)


def _read_flag(
    name: str, value: str | None, words: list[str], flags: Mapping[str, Flag], given: Given
) -> None:
    """Take a flag; a value that is None may be the next of the words."""
    flag = flags.get(name)
    if flag is None:
        if value is None and words and not words[0].startswith("-"):
            value = words.pop(0)
        facts = {"flag": name, "value": value or ""}
        given.warnings.append(("unknown flag, passed over", facts))
        return
    switch = flag.kind is Kind.SWITCH
    if value is None:
        if not switch and not words:
            raise UsageError(f"flag needs an argument: -{name}")
        value = "true" if switch else words.pop(0)
    try:
        given.values[name] = _value(flag, value)
    except ValueError as error:
        what = f'boolean value "{value}" for' if switch else f'value "{value}" for flag'
        raise UsageError(f"invalid {what} -{name}: {error}") from error
    given.said.add(name)


def _read_environment(
    environment: Mapping[str, str], flags: Mapping[str, Flag], given: Given
) -> None:
    by_variable = {PREFIX + name.upper().replace("-", "_"): name for name in flags}
    for variable, value in sorted(environment.items()):
        name = by_variable.get(variable)
        if name in given.said:
            raise Refused(
                f'conflicting environment variable "{variable}" is shadowed by corresponding '
                "command-line flag (either unset environment variable or disable flag)"
            )
        if name is None or name == "version":
            if variable.startswith(PREFIX):
                text = f"{variable}={value}"
                given.warnings.append(
                    ("unrecognized environment variable", {"environment-variable": text})
                )
            continue
        if not value:
            continue
        try:
            given.values[name] = _value(flags[name], value)
        except ValueError as error:
            raise Refused(f'invalid value "{value}" for {variable}: {error}') from error
        given.said.add(name)


def _note_unserved(flag: Flag, given: Given) -> None:
    value = given.values[flag.name]
    if flag.use is Use.SERVED or value == _value(flag, flag.default):
        return
    if flag.use is Use.REFUSED:
        raise Refused(f"--{flag.name} is not served: {flag.help}")
    facts = {"flag": flag.name, "value": str(value), "reason": flag.help}
    given.warnings.append(("flag has no effect", facts))


def _value(flag: Flag, text: str) -> Value:
    """Raises ValueError in Go's words."""
    if flag.kind is Kind.URLS and not text:
        return ()
    return READERS[flag.kind](text)


def read_switch(text: str) -> bool:
    """A boolean in Go's notation."""
    if text not in TRUE | FALSE:
        raise ValueError("parse error")
    return text in TRUE


def read_count(text: str) -> int:
    """A whole number that is not negative."""
    if not text.isdecimal():
        raise ValueError("parse error")
    return int(text)


def read_number(text: str) -> int:
    """A whole number."""
    if not text.removeprefix("-").isdecimal():
        raise ValueError("parse error")
    return int(text)


def read_span(text: str) -> float:
    """A duration in Go's notation, in seconds."""
    try:
        return go_duration(text)
    except ValueError:
        raise ValueError("parse error") from None


def read_state(text: str) -> str:
    """How the cluster is found."""
    if text not in STATES:
        raise ValueError("invalid value")
    return text


READERS: Mapping[Kind, Callable[[str], Value]] = {
    Kind.TEXT: str,
    Kind.SWITCH: read_switch,
    Kind.COUNT: read_count,
    Kind.NUMBER: read_number,
    Kind.SPAN: read_span,
    Kind.URLS: read_urls,
    Kind.STATE: read_state,
}
