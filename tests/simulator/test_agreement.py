"""The digests' invariant: silent while members agree, loud when one does not."""

from __future__ import annotations

import pytest

from node.config import Limits
from node.consistency import CORRUPT
from node.machine.alarm import NOBODY
from node.machine.answer import Answer, Applied
from node.machine.envelope import RequestKind
from node.proto import rpc
from tests.simulator.observer import SimulationFailed
from tests.simulator.test_invariants import Watched


def test_membersThatAgree_areLeftAlone_acrossRestartsAndSnapshots() -> None:
    watched = Watched(limits=Limits(log_entries_max=6, log_entries_kept=2, state_check_ms=500))
    cluster = watched.cluster
    cluster.put(4)
    cluster[2].kill()
    cluster.put(20)
    watched.tick(100)
    cluster.put(20)
    watched.tick(100)
    cluster[2].start()
    watched.tick(200)
    watched.restart(1, 3)
    cluster.put(4)
    watched.tick(100)

    watched.inspection.calmed()

    assert any(node.journal.count("raft.snapshot_installed") for node in cluster)


def test_answerOfItsOwn_isFoundAtOnce(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()
    watched.lead(1)
    odd = Applied(Answer(99, b""))
    monkeypatch.setitem(watched.cluster[2].machine._apply, RequestKind.COMPACT, lambda *_: odd)
    watched.cluster[1].compact(5)

    with pytest.raises(SimulationFailed, match="digests differ"):
        watched.tick(20)


@pytest.mark.parametrize("member", [NOBODY, 2])
def test_soundMemberThatIsAccused_isFoundInTheEnd(member: int) -> None:
    watched = Watched()
    watched.lead(1)
    request = rpc.AlarmRequest(action="ACTIVATE", memberID=member, alarm=CORRUPT)
    call = watched.cluster[1].propose(RequestKind.ALARM, request.SerializeToString())
    watched.cluster.until(lambda: call.done)
    watched.cluster.converge()

    with pytest.raises(SimulationFailed, match="a sound member is accused"):
        watched.inspection.calmed()
