"""The command line and the environment: what was said, what is passed over, what cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from tools.etcd.errors import Refused, UsageError
from tools.etcd.flag import Given, Kind, Use, read, read_span
from tools.etcd.flag_table import FLAGS, help_lines
from tools.etcd.url import read_url, texts


def said(*words: str, **environment: str) -> Given:
    return read(words, environment, FLAGS)


@pytest.mark.parametrize(
    "words",
    [
        ["--name=a", "--pre-vote"],
        ["-name=a", "-pre-vote=true"],
        ["--name", "a", "--pre-vote=T"],
        ["-name", "a"],
        ["--name=b", "--name=a"],
    ],
)
def test_one_dash_or_two_and_a_value_beside_or_behind(words: list[str]) -> None:
    given = said(*words)

    assert given.text("name") == "a"
    assert given.switch("pre-vote")


def test_value_may_look_like_a_flag_or_hold_an_equals_sign() -> None:
    assert said("--name", "-x").text("name") == "-x"
    assert said("--initial-cluster=a=http://b:1").text("initial-cluster") == "a=http://b:1"


def test_what_nobody_said_is_as_in_etcd_and_not_said() -> None:
    given = said()

    assert given.said == set()
    assert texts(given.urls("listen-peer-urls")) == ("http://localhost:2380",)
    assert given.number("snapshot-count") == 10_000
    assert given.span("watch-progress-notify-interval") == 600.0


def test_environment_counts_where_the_command_line_is_silent() -> None:
    given = said("--name=a", ETCD_DATA_DIR="d", ETCD_PRE_VOTE="false", ETCD_LOG_LEVEL="", HOME="/")

    assert (given.text("name"), given.text("data-dir")) == ("a", "d")
    assert given.text("log-level") == "info"
    assert given.said == {"name", "data-dir", "pre-vote"}


@pytest.mark.parametrize(
    ("words", "environment", "text"),
    [
        ([], {"ETCD_ELECTION_TIMEOUT": "x"}, 'invalid value "x" for ETCD_ELECTION_TIMEOUT'),
        (["--name=a"], {"ETCD_NAME": "a"}, "shadowed by corresponding command-line flag"),
        (["gateway"], {}, '"gateway" is not a valid flag'),
        (["-"], {}, '"-" is not a valid flag'),
        (["--", "--name=a"], {}, '"--name=a" is not a valid flag'),
        (["--config-file=x"], {}, "--config-file is not served"),
        (["--force-new-cluster"], {}, "--from-snapshot"),
        (["--discovery=http://x"], {}, "--initial-cluster"),
    ],
)
def test_refused(words: list[str], environment: dict[str, str], text: str) -> None:
    with pytest.raises(Refused, match=text):
        said(*words, **environment)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--name"], "flag needs an argument: -name"),
        (["--=x"], "bad flag syntax: --=x"),
        (["--pre-vote=2"], 'invalid boolean value "2" for -pre-vote: parse error'),
        (["--snapshot-count", "-1"], 'invalid value "-1" for flag -snapshot-count: parse error'),
        (["--corrupt-check-time=5"], 'invalid value "5" for flag -corrupt-check-time: parse error'),
        (["--listen-peer-urls=x"], "URL scheme must be http, https, unix, or unixs: x"),
    ],
)
def test_unreadable_in_gos_words(words: list[str], text: str) -> None:
    with pytest.raises(UsageError, match=f".*{text}"):
        said(*words)


def test_unknown_flag_is_passed_over_with_its_value() -> None:
    given = said("--new", "value", "--newer", "--newest=1", "--name=a")

    assert [facts for _, facts in given.warnings] == [
        {"flag": "new", "value": "value"},
        {"flag": "newer", "value": ""},
        {"flag": "newest", "value": "1"},
    ]
    assert given.text("name") == "a"


def test_unserved_flag_is_warned_about_unless_it_changes_nothing() -> None:
    silent = said("--wal-dir=", "--pre-vote=true", "--max-wals=5", "--force-new-cluster=false")
    loud = said("--wal-dir=w", ETCD_MAX_WALS="6")

    assert silent.warnings == []
    assert [facts["flag"] for _, facts in loud.warnings] == ["max-wals", "wal-dir"]


def test_help_and_version_win_over_the_environment() -> None:
    assert said("--help", "--nonsense", ETCD_ELECTION_TIMEOUT="x").help_wanted
    assert said("--version", ETCD_ELECTION_TIMEOUT="x").switch("version")


@pytest.mark.parametrize("flag", FLAGS.values(), ids=lambda flag: flag.name)
def test_every_flag_is_taken_at_its_default_in_silence(flag: object) -> None:
    each = FLAGS[getattr(flag, "name")]  # noqa: B009
    given = said(f"--{each.name}={each.default}") if each.name != "version" else said()

    assert given.warnings == []
    assert (each.kind is Kind.SWITCH) == (each.default in ("true", "false"))


def test_help_names_every_flag_once_and_says_what_is_not_served() -> None:
    lines = help_lines()

    for flag in FLAGS.values():
        at = lines.index(f"  --{flag.name} '{flag.default}'")
        assert lines.count(lines[at]) == 1
        prefix = {Use.SERVED: "", Use.IDLE: "Has no effect: ", Use.REFUSED: "Refused: "}[flag.use]
        assert lines[at + 1] == f"    {prefix}{flag.help}"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("1h30m", 5400), ("1.5s", 1.5), ("250ms", 0.25), ("-2m", -120), ("3us", 3e-6)],
)
def test_span(text: str, seconds: float) -> None:
    assert read_span(text) == pytest.approx(seconds)


@drawn(st.integers(0, 100), st.integers(0, 59), st.integers(0, 999))
def test_span_is_the_sum_of_its_parts(hours: int, minutes: int, millis: int) -> None:
    assert read_span(f"{hours}h{minutes}m{millis}ms") == pytest.approx(
        3600 * hours + 60 * minutes + millis / 1000
    )


@pytest.mark.parametrize(
    ("text", "address", "bindable"),
    [
        ("http://localhost:2379", "127.0.0.1:2379", True),
        ("http://127.0.0.1:2379", "127.0.0.1:2379", True),
        ("https://[::1]:1", "[::1]:1", True),
        (" http://0.0.0.0:2379", "0.0.0.0:2379", True),
        ("http://etcd0:2379", "etcd0:2379", False),
        ("http://:2379", ":2379", False),
    ],
)
def test_url(text: str, address: str, bindable: bool) -> None:
    url = read_url(text)

    assert (url.address, url.bindable) == (address, bindable)


@pytest.mark.parametrize("text", ["", "x", "http://a", "http://a:x", "http://a:1/", "tcp://a:1"])
def test_url_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        read_url(text)
