"""Nodes that come and go, as far as it needs no members: what is refused, what is kept.

Whole changes, with members that agree on them, are in tests/e2e.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.config import ClusterConfig, ClusterPaths, Identity, load, save
from cluster.errors import BadRequest, ClusterError
from cluster.event import EventLog
from cluster.ports import reserve
from cluster.record import ServiceRecord
from cluster.roll import Roll
from tests.cluster.test_ports import HOST, free_ports
from tests.support.cluster_daemon import Daemon


def test_last_node_stays(tmp_path: Path) -> None:
    with Daemon(tmp_path, nodes=1) as daemon:
        with pytest.raises(ClusterError, match="the last node stays"):
            daemon.client.remove(["n1"])

        assert daemon.client.status()["state"] == "READY"


def test_unknown_parameter_is_refused(tmp_path: Path) -> None:
    with Daemon(tmp_path, nodes=1) as daemon, pytest.raises(BadRequest):
        daemon.client.call("add", lerner=True)


def test_roll_keeps_what_must_outlive_the_supervisor(tmp_path: Path) -> None:
    """Also that a name has one port for ever, and that old files do not come back."""
    paths = ClusterPaths(tmp_path, tmp_path / "run")
    config, identity = ClusterConfig(nodes=2), Identity(7, (("n1", 11), ("n2", 22)))
    save(paths.config, config, identity)
    events = EventLog(paths.events, lambda: 0.0, lambda: 0.0)
    record = ServiceRecord(paths.started, events)
    for name in ("n1", "n2"):
        events.append("node.serving", name)
    reservation = reserve(HOST, free_ports(2))
    roll = Roll(config, identity, paths, reservation, record)
    rows = {row.name: row for row in roll.rows()}
    roll.payload("n2", anybody_serves=True)
    paths.log("n2").write_text("last words")

    roll.strike(rows["n2"])
    struck = load(paths.config)
    roll.prepare("n2")
    row = roll.enlist("n2", 33)
    roll.prepare(roll.free_name())

    assert struck is not None
    assert struck[0].nodes == 1
    assert struck[1] == Identity(7, (("n1", 11),), changed=True)
    assert (row.member_id, row.learner) == (33, True)
    assert row.endpoint == rows["n2"].endpoint
    assert not record.has_served("n2")
    assert (paths.removed("n2", 22) / "log").read_text() == "last words"
    assert len(reservation.ports) == 3
    assert load(paths.config) == (roll.config, Identity(7, (("n1", 11), ("n2", 33)), changed=True))
    roll.close()
    reservation.close()
    events.close()
