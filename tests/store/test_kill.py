"""kill -9 while writing: what was acknowledged is there, and nothing is half there."""

import random
import subprocess
import sys
from pathlib import Path

from store.boot import Store
from store.log import Position
from tests.support.store_parts import entries, open_at

ROUNDS = 6

WRITE = """
import os, sys
from pathlib import Path
from tests.support.store_parts import appended, open_at, wait_durable
store = open_at(Path(sys.argv[1]))
writer, view, index = store.writer, store.view, store.image.last.index
sealed = {}
while True:
    while writer.depth()[0] < 20:
        index += 1
        view.stage([(b"count", b"%d" % index), (b"%020d" % index, b"x" * 200)])
        seq = writer.submit(appended(index, index + 1, effects=view.seal(writer.next_seq)))
        sealed[seq] = index
    durable = seq - 10
    wait_durable(writer, durable)
    view.retire(durable)
    os.write(1, b"%d\\n" % sealed[durable])
"""

INSTALL = """
import os, sys
from pathlib import Path
from store.installer import Installer
from store.log import HardState, Position
from tests.support.store_parts import MEMBER, open_at, wait_durable
store = open_at(Path(sys.argv[1]))
index = store.image.last.index
while True:
    index += 10
    installer = Installer(store.engine, store.writer)
    for lo in range(0, 60, 20):
        installer.add([(b"%04d" % n, b"%d" % index) for n in range(lo, lo + 20)])
    seq = installer.finish(Position(index, 1), b"%d" % index, HardState(1, MEMBER, index))
    wait_durable(store.writer, seq)
    store.view.adopt(installer.generation)
    os.write(1, b"%d\\n" % index)
"""


def killed_after(script: str, path: Path, acknowledgements: int) -> int:
    """Run the script, kill it after so many acknowledgements; returns the last that it printed."""
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        heard = [child.stdout.readline() for _ in range(acknowledgements)]
        child.kill()
        heard += child.stdout.readlines()
    assert child.returncode == -9
    return max(int(line) for line in heard if line.endswith("\n"))


def state_of(store: Store) -> dict[bytes, bytes]:
    return dict(store.view.scan(b"", b""))


def test_killed_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(20)
    for _ in range(ROUNDS):
        acknowledged = killed_after(WRITE, tmp_path / "n1", chance.randrange(1, 60))
        store = open_at(tmp_path / "n1", first=False)
        last = store.image.last.index
        count = b"%d" % last
        names = {b"%020d" % index for index in range(1, last + 1)}

        assert last >= acknowledged
        assert store.image.applied == Position(last, 1)
        assert state_of(store).keys() == names | {b"count"}
        assert store.view.get(b"count") == count
        assert store.log.entries(1, last + 1, 10**9) == entries(1, last + 1)
        store.close()


def test_killed_install_leaves_one_whole_state(tmp_path: Path) -> None:
    chance = random.Random(21)
    for _ in range(ROUNDS):
        acknowledged = killed_after(INSTALL, tmp_path / "n1", chance.randrange(1, 30))
        store = open_at(tmp_path / "n1", first=False)
        index = store.image.applied.index

        assert index >= acknowledged
        assert state_of(store) == {b"%04d" % number: b"%d" % index for number in range(60)}
        assert store.image.conf == b"%d" % index
        assert store.image.last == store.image.boundary == Position(index, 1)
        store.close()
