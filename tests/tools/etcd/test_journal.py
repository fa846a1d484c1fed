"""The log in etcd's form, and when it says that clients are served."""

from __future__ import annotations

import fcntl
import json
import os
import select
import threading
from collections.abc import Iterator

import pytest

from tools.etcd.journal import Journal, console_line, json_line, stamp


class Written:
    """A journal and what it has written."""

    def __init__(self, level: str = "info", form: str = "json") -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self.journal = Journal([self.writer], level, form, clock=lambda: 0.0)

    def text(self) -> str:
        try:
            return os.read(self._reader, 1 << 16).decode()
        except BlockingIOError:
            return ""

    def messages(self) -> list[str]:
        return [json.loads(line)["msg"] for line in self.text().splitlines()]

    def close(self) -> None:
        for descriptor in (self._reader, self.writer):
            os.close(descriptor)


@pytest.fixture
def written() -> Iterator[Written]:
    written = Written()
    yield written
    written.close()


@pytest.mark.parametrize("order", [["serving", "published"], ["published", "serving"]])
def test_ready_is_told_once_both_the_port_and_the_name_are_there(
    written: Written, order: list[str]
) -> None:
    told: list[str] = []
    written.journal.ready = lambda: told.append("ready")

    written.journal.report(order[0])
    after_one = list(told)
    written.journal.report(order[1])
    written.journal.report(order[0])

    assert (after_one, told) == ([], ["ready"])


def test_lines_below_the_level_are_not_written() -> None:
    written = Written("warn")
    written.journal.write("info", "no")
    written.journal.write("warn", "yes")
    written.journal.write("fatal", "last")

    assert written.messages() == ["yes", "last"]
    written.close()


def test_last_words_are_fatal_and_have_their_reason(written: Written) -> None:
    written.journal.report("quarantined", reason="the disk lost its tail")

    [line] = [json.loads(line) for line in written.text().splitlines()]
    assert (line["level"], line["error"]) == ("fatal", "the disk lost its tail")


def test_signal_and_removal_are_told_in_etcds_words(written: Written) -> None:
    written.journal.report("stopping", signal="SIGINT")
    written.journal.report("removed", reason="x")

    messages = written.messages()
    assert "received signal; shutting down" in messages
    assert "the member has been permanently removed from the cluster" in messages


def test_target_that_is_gone_is_not_waited_for() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    journal = Journal([writer], "info", "json")

    journal.write("info", "to nobody")

    assert journal.dropped == 1
    os.close(writer)


@pytest.mark.parametrize("size", [10, 3 * select.PIPE_BUF])
def test_target_whose_reader_has_stopped_is_not_waited_for(size: int) -> None:
    """A fixture that never reads the pipe of its member's errors must not stop the member."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 2 * select.PIPE_BUF)
    journal = Journal([writer], "info", "json")

    def write_more_than_fits() -> None:
        while not journal.dropped:
            journal.write("info", "x" * size)

    writing = threading.Thread(target=write_more_than_fits, daemon=True)
    writing.start()
    writing.join(30)

    assert not writing.is_alive()
    assert os.get_blocking(writer)  # it may be the terminal of somebody else as well
    assert len(os.read(reader, 4 * select.PIPE_BUF)) > select.PIPE_BUF
    os.close(reader)
    os.close(writer)


def test_forms() -> None:
    moment = stamp(1_000_000_000.000001)

    assert moment == "2001-09-09T01:46:40.000001Z"
    assert json_line(moment, "info", "m", {"a": 1}) == (
        '{"level":"info","ts":"2001-09-09T01:46:40.000001Z","msg":"m","a":1}\n'
    )
    assert console_line(moment, "info", "m", {"a": 1}) == f'{moment}\tinfo\tm\t{{"a": 1}}\n'
    assert console_line(moment, "info", "m", {}) == f"{moment}\tinfo\tm\n"
