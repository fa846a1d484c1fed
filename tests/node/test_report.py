"""What a node says: lines that its log keeps, events that the supervisor may or may not read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from node.raft.ready import Note, NoteKind
from node.report import EVENT_NOTES, QUIET_NOTES, Reporter


@pytest.fixture
def log(tmp_path: Path) -> Iterator[BinaryIO]:
    with (tmp_path / "node.log").open("w+b") as file:
        yield file


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def written(log: BinaryIO) -> list[str]:
    log.seek(0)
    return log.read().decode().splitlines()


def test_report_goesToBoth(log: BinaryIO, pipe: tuple[int, int]) -> None:
    reporter = Reporter(log.fileno(), pipe[1])

    reporter.report("leader.elected", term=7)

    [line] = written(log)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z leader\.elected term=7", line)
    assert json.loads(os.read(pipe[0], 1_000)) == {"event": "leader.elected", "term": 7}


def test_log_staysAtHome(log: BinaryIO, pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[0], False)

    Reporter(log.fileno(), pipe[1]).log("raft.transfer", peer="2")

    assert written(log)[0].endswith(" raft.transfer peer=2")
    with pytest.raises(BlockingIOError):
        os.read(pipe[0], 1)


def test_fullPipe_dropsAndNeverBlocks(log: BinaryIO, pipe: tuple[int, int]) -> None:
    reporter = Reporter(log.fileno(), pipe[1])
    while not reporter.dropped:
        reporter.report("raft.campaign", detail="x" * 1_000)

    heard = os.read(pipe[0], 1 << 20).decode().splitlines()
    reporter.report("raft.campaign", detail="again")

    assert all(json.loads(line)["event"] == "raft.campaign" for line in heard)
    assert json.loads(os.read(pipe[0], 1_000))["detail"] == "again"


def test_goneSupervisor_isNoError(log: BinaryIO) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    reporter = Reporter(log.fileno(), writing)

    reporter.report("serving")
    os.close(writing)

    assert reporter.dropped == 1
    assert len(written(log)) == 1


def test_unwritableLog_isNoError(log: BinaryIO, pipe: tuple[int, int]) -> None:
    """As on a full disk: the event still reaches the supervisor."""
    reporter = Reporter(pipe[0], pipe[1])  # a reading end takes no writes

    reporter.report("serving")

    assert reporter.dropped == 1
    assert b"serving" in os.read(pipe[0], 1_000)


def test_notes_areSortedByWhoMustHear(log: BinaryIO, pipe: tuple[int, int]) -> None:
    reporter = Reporter(log.fileno(), pipe[1])

    reporter.notes(
        [
            Note(NoteKind.MESSAGE_IGNORED, 2, "odd"),
            Note(NoteKind.CAMPAIGN, 0, "pre-vote"),
            Note(NoteKind.VOTE_GRANTED, 0xAB, "Vote term 3"),
        ]
    )

    heard = os.read(pipe[0], 1_000).decode().splitlines()
    assert [json.loads(line) for line in heard] == [
        {"event": "raft.campaign", "detail": "pre-vote"}
    ]
    assert [line.split(" ", 1)[1] for line in written(log)] == [
        "raft.campaign detail=pre-vote",
        "raft.vote_granted peer=ab detail='Vote term 3'",
    ]
    assert reporter.quiet == {NoteKind.MESSAGE_IGNORED: 1}


def test_noNote_isBothAnEventAndQuiet() -> None:
    assert not QUIET_NOTES & EVENT_NOTES.keys()
