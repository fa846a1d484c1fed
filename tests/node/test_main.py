"""One member as a real process: it serves, keeps what it has promised, and says why it ends."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from node.__main__ import EXIT_CONFIG, EXIT_HELD
from node.client import EtcdClient
from node.config import MemberSpec, NodeConfig
from node.process import EXIT_LIFELINE
from node.proto import rpc
from node.telemetry import create_page
from store.config import StoreConfig
from store.fatal import EXIT_QUARANTINE
from store.leveldb import LevelDBEngine
from transport.claim import Claim

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 30.0
"""Only ends a hang: no test looks at how long anything took."""
CHILD = """
import sys, msgspec
from node.__main__ import run
from node.config import NodeConfig
config = msgspec.json.decode(sys.argv[1], type=NodeConfig)
run(config, int(sys.argv[2]), int(sys.argv[3]))
"""


class Child:
    """One life of the member, with the supervisor's ends of its two pipes."""

    def __init__(self, config: NodeConfig) -> None:
        lifeline, self.lifeline = os.pipe()
        self.report, report = os.pipe()
        words = [msgspec.json.encode(config).decode(), str(lifeline), str(report)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, *words],
            cwd=ROOT,
            pass_fds=(lifeline, report),
            stderr=subprocess.DEVNULL,
        )
        os.close(lifeline)
        os.close(report)
        self._heard = b""

    def wait_for(self, event: str) -> dict[str, object]:
        """The next such event."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            line, newline, rest = self._heard.partition(b"\n")
            if newline:
                self._heard = rest
                told: dict[str, object] = json.loads(line)
                if told["event"] == event:
                    return told
                continue
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.report], [], [], max(0.0, left))
            data = os.read(self.report, 65_536) if ready else b""
            assert data, f"no {event}"
            self._heard += data

    def serving(self) -> EtcdClient:
        """A client, once the member serves and leads."""
        port = self.wait_for("serving")["client_port"]
        return EtcdClient([f"127.0.0.1:{port}"], timeout_s=DEADLINE_SECONDS)

    def ended(self) -> int:
        """Its exit code."""
        return self.process.wait(DEADLINE_SECONDS)

    def end(self) -> None:
        for fd in (self.lifeline, self.report):
            os.close(fd)
        self.process.kill()
        self.process.wait()


class Place:
    """Directories and page of one member."""

    def __init__(self, path: Path, run: str) -> None:
        self.children: list[Child] = []
        page = path / "page"
        page.touch()
        create_page(str(page))
        spec = MemberSpec(id=1, name="n1", client_host="127.0.0.1", client_port=0)
        self.config = NodeConfig(
            cluster_id=1,
            member_id=1,
            members=(spec,),
            data_directory=str(path / "n1" / "db"),
            run_directory=run,
            log_path="",
            page_path=str(page),
            bootstrap=True,
            campaign_first=True,
        )
        (path / "n1").mkdir()

    def start(self, **changes: object) -> Child:
        child = Child(msgspec.structs.replace(self.config, **changes))
        self.children.append(child)
        return child


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="cn-", dir="/tmp") as run:
        place = Place(tmp_path, run)
        yield place
        for child in place.children:
            child.end()


def put(client: EtcdClient, key: bytes, value: bytes) -> None:
    client.put(rpc.PutRequest(key=key, value=value))


def value(client: EtcdClient, key: bytes) -> bytes:
    return bytes(client.range(rpc.RangeRequest(key=key)).kvs[0].value)


def test_killed_keepsWhatItAcknowledged(place: Place) -> None:
    first = place.start()
    with first.serving() as client:
        for number in range(50):
            put(client, b"a", b"%d" % number)
    first.process.kill()

    second = place.start(bootstrap=False, campaign_first=False)
    with second.serving() as client:
        found = value(client, b"a")

    assert found == b"49"


def test_terminated_endsInOrder(place: Place) -> None:
    child = place.start()
    with child.serving() as client:
        put(client, b"a", b"1")

        child.process.send_signal(signal.SIGTERM)
        child.wait_for("stopping")

        assert child.ended() == 0


def test_supervisorGone_endsAtOnce(place: Place) -> None:
    child = place.start()
    child.wait_for("serving")

    os.close(child.lifeline)
    child.lifeline = os.open(os.devnull, os.O_RDONLY)

    assert child.ended() == EXIT_LIFELINE


def test_emptyDirectory_ofAMemberWithAHistory_isQuarantined(place: Place) -> None:
    child = place.start(bootstrap=False)

    reason = child.wait_for("quarantined")["reason"]

    assert "no data" in str(reason)
    assert child.ended() == EXIT_QUARANTINE


def test_stateThatDoesNotReadAtTheStart_isQuarantined(place: Place) -> None:
    """Boot has verified the log; the machine loads its members from between two blocks of it."""
    child = place.start()
    with child.serving() as client:
        for number in range(9):
            put(client, b"key %d" % number, b"value %d " % number * 300)
    child.process.send_signal(signal.SIGTERM)
    assert child.ended() == 0
    directory = Path(place.config.data_directory)
    engine = LevelDBEngine(directory, StoreConfig())
    engine.compact(b"", b"")
    engine.close()
    (table,) = directory.glob("*.ldb")
    content = bytearray(table.read_bytes())
    content[content.rindex(b"value 0")] ^= 1
    table.write_bytes(content)

    child = place.start()
    reason = child.wait_for("quarantined")["reason"]

    assert str(reason) == "found while starting: Corruption: block checksum mismatch"
    assert child.ended() == EXIT_QUARANTINE


def test_addressInUse_isRefused(place: Place) -> None:
    claim = Claim(f"{place.config.run_directory}/{1:016x}.lock")

    child = place.start()
    child.wait_for("refused")

    assert child.ended() == EXIT_HELD
    claim.close()


def test_pageMissing_isAConfigurationError(place: Place) -> None:
    child = place.start(page_path="/nowhere")

    child.wait_for("refused")

    assert child.ended() == EXIT_CONFIG
