"""From the cluster's configuration to one node's."""

from __future__ import annotations

from pathlib import Path

from cluster.config import ClusterConfig, ClusterPaths, Identity
from cluster.layout import Shared, node_config

CONFIG = ClusterConfig(nodes=3, tick_ms=5, heartbeat_ticks=4, election_ticks=40)
IDENTITY = Identity(77, (("n1", 11), ("n2", 22), ("n3", 33)))
PATHS = ClusterPaths(Path("/data"), Path("/run"))
SHARED = {
    name: Shared(port, f"/page/{name}", f"/arena/{name}")
    for name, port in (("n1", 2379), ("n2", 22379), ("n3", 32379))
}


def test_node_config_names_this_node_and_all_members() -> None:
    told = node_config(
        CONFIG,
        IDENTITY,
        PATHS,
        SHARED,
        "n2",
        bootstrap=True,
        own_token="of the supervisor",
        campaign_first=False,
    )

    assert (told.cluster_id, told.member_id) == (77, 22)
    assert told.spec.client_url == "http://127.0.0.1:22379"
    assert [member.id for member in told.members] == [11, 22, 33]
    assert [member.arena_path for member in told.members] == [
        "/arena/n1",
        "/arena/n2",
        "/arena/n3",
    ]
    assert told.page_path == "/page/n2"
    assert told.own_token == "of the supervisor"
    assert told.data_directory == "/data/n2/db"
    assert told.log_path == "/data/n2/log"
    assert told.run_directory == "/run"
    assert (told.ticks.tick_ms, told.ticks.heartbeat, told.ticks.election) == (5, 4, 40)
    assert told.bootstrap
    assert not told.campaign_first
