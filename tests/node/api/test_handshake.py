"""The pace of handshakes, certificates that change, and what is said about who was sent away."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from node.api.handshake import HANDSHAKE_SECONDS, LOG_SECONDS, LOOK_SECONDS, Handshakes, Refusals
from node.api.handshake import Papers as PortPapers
from tests.support.certificates import Papers
from tests.support.tls_client import Socket
from transport.tls import ServerFiles
from transport.tls.context import BadCertificate


class Time:
    """A clock that stands still, the calls that wait for the next pass, and a log."""

    def __init__(self) -> None:
        self.now = 100.0
        self.soon: list[Callable[[], None]] = []
        self.said: list[tuple[str, dict[str, object]]] = []

    def log(self, event: str, **facts: object) -> None:
        self.said.append((event, facts))

    def pass_once(self) -> None:
        """One pass of the event loop."""
        due, self.soon = self.soon, []
        for call in due:
            call()


@pytest.fixture
def time() -> Time:
    return Time()


def handshakes(time: Time) -> Handshakes:
    refusals = Refusals(time.log, lambda: time.now)
    return Handshakes(refusals, lambda: time.now, lambda go_on: time.soon.append(go_on))


# Pace.


@pytest.mark.parametrize(
    ("share", "each_pass"),
    [
        pytest.param(0.0, [12], id="quick ones go on at once"),
        pytest.param(0.3, [4, 4, 4], id="a pass has room for some"),
        pytest.param(3.0, [1] * 12, id="a slow one has a pass of its own"),
    ],
)
def test_handshakes_share_the_time_of_a_pass(
    time: Time, share: float, each_pass: list[int]
) -> None:
    order: list[int] = []
    pace = handshakes(time)

    def shake(number: int) -> Callable[[], None]:
        def go_on() -> None:
            order.append(number)
            time.now += share * HANDSHAKE_SECONDS

        return go_on

    for number in range(12):
        pace.admit(shake(number), begun=False)
    found = [len(order)]
    while pace.waiting:
        time.pass_once()
        found.append(len(order) - sum(found))

    assert order == list(range(12))
    assert found == each_pass


def test_who_has_begun_stands_before_who_has_not(time: Time) -> None:
    pace, order = handshakes(time), list[str]()

    def slow() -> None:
        order.append("first")
        time.now += 2 * HANDSHAKE_SECONDS

    pace.admit(slow, begun=False)
    pace.admit(lambda: order.append("new"), begun=False)
    time.now -= 2 * HANDSHAKE_SECONDS  # as if there were time again
    pace.admit(lambda: order.append("newer"), begun=False)
    pace.admit(lambda: order.append("begun"), begun=True)
    before = list(order)
    time.pass_once()

    assert (before, order) == (["first"], ["first", "begun", "new", "newer"])


# What is said.


def test_log_has_a_line_a_second_and_counts_the_rest(time: Time) -> None:
    refusals = Refusals(time.log, lambda: time.now)
    for _ in range(1_000):
        refusals.note(Socket(), "not tls", "http request")
    time.now += LOG_SECONDS
    refusals.note(Socket(), "timed out", "no handshake in time")

    told = [(facts["peer"], facts["cause"], facts["count"]) for _, facts in time.said]
    assert told == [("127.0.0.1:40000", "'not tls'", 1), ("127.0.0.1:40000", "'timed out'", 1_000)]
    assert refusals.causes == {"not tls": 1_000, "timed out": 1}


# Certificates.


def test_changed_certificates_serve_the_next_client(time: Time, tmp_path: Path) -> None:
    old, new = Papers(tmp_path / "old"), Papers(tmp_path / "new")
    papers = PortPapers(old.server_files(), lambda: time.now, time.log)
    before = papers.context()
    os.replace(new.cert, old.cert)
    os.replace(new.key, old.key)
    at_once = papers.context()
    time.now += LOOK_SECONDS

    assert at_once is before
    assert papers.context() is not before
    assert [event for event, _ in time.said] == ["tls.renewed"]


def test_certificates_that_become_unusable_change_nothing(time: Time, tmp_path: Path) -> None:
    files = Papers(tmp_path / "p")
    papers = PortPapers(files.server_files(), lambda: time.now, time.log)
    before = papers.context()
    files.key.unlink()
    time.now += LOOK_SECONDS
    after = papers.context()
    time.now += LOOK_SECONDS
    papers.context()

    assert after is before
    assert [event for event, _ in time.said] == ["tls.unchanged"]  # once for each change


def test_certificates_that_are_no_use_are_refused_at_once(time: Time, tmp_path: Path) -> None:
    missing = ServerFiles(cert_file=str(tmp_path / "no.crt"), key_file=str(tmp_path / "no.key"))

    with pytest.raises(BadCertificate, match=r"no\.crt"):
        PortPapers(missing, lambda: time.now, time.log)
