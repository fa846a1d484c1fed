"""Configuration, identity and paths."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.config import (
    SOCKET_PATH_MAX,
    ClusterConfig,
    Identity,
    load,
    paths_of,
    runtime_root,
    save,
    settle,
    write_json,
)
from cluster.errors import BadRequest, Conflict


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "../etc"},
        {"name": ""},
        {"name": "n" * 33},
        {"nodes": 0},
        {"nodes": 17},
        {"restart_policy": "sometimes"},
        {"port_base": 80},
        {"port_base": 65_535},
        {"first_leader": "n4"},
        {"heartbeat_ticks": 20},
        {"ephemeral": True, "directory": "/data"},
        {"colour": "blue"},
    ],
    ids=str,
)
def test_config_out_of_range_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        ClusterConfig.from_document(settings)


def test_config_document_round_trip() -> None:
    config = ClusterConfig(name="demo", nodes=5, restart_policy="on-failure", port_base=4000)

    assert ClusterConfig.from_document(json.loads(json.dumps(config.document()))) == config


def test_identity_draws_distinct_nonzero_ids() -> None:
    identity = Identity.draw(tuple(f"n{n}" for n in range(1, 17)))

    ids = {member for _, member in identity.members}
    assert len(ids) == 16
    assert all(0 < member < 1 << 64 for member in ids)


def test_save_then_load_gives_the_same(tmp_path: Path) -> None:
    config = ClusterConfig(nodes=3)
    identity = Identity.draw(config.names)

    save(tmp_path / "cluster.json", config, identity)

    assert load(tmp_path / "cluster.json") == (config, identity)


def test_load_without_file_is_none(tmp_path: Path) -> None:
    assert load(tmp_path / "cluster.json") is None


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format": 99}', '{"format": 1}', '{"format": 1, "members": 3}', "\xff"]
)
def test_load_damaged_or_newer_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cluster.json"
    path.write_text(content, encoding="latin-1")

    with pytest.raises(Conflict):
        load(path)


def test_written_document_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file before it gets its name, the name before anybody relies on it."""
    synced: list[tuple[Path, list[str]]] = []

    def note(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path, sorted(found.name for found in tmp_path.iterdir())))

    monkeypatch.setattr("os.fsync", note)
    write_json(tmp_path / "some.json", {"a": 1})

    assert synced == [(tmp_path / "some.new", ["some.new"]), (tmp_path, ["some.json"])]


def test_settle_keeps_who_the_nodes_are() -> None:
    stored = ClusterConfig(nodes=3, first_leader="n2")

    settled = settle(ClusterConfig(nodes=3, restart_policy="always"), stored)

    assert settled.first_leader == "n2"
    assert settled.restart_policy == "always"


def test_settle_other_size_is_refused() -> None:
    with pytest.raises(Conflict) as refusal:
        settle(ClusterConfig(nodes=5), ClusterConfig(nodes=3))

    assert refusal.value.exit_code == 7
    assert refusal.value.data == {"nodes": 3}


def test_paths_default_to_xdg() -> None:
    environment = {"XDG_DATA_HOME": "/home/u/data", "XDG_RUNTIME_DIR": "/run/user/7"}

    paths = paths_of(ClusterConfig(name="demo"), environment)

    assert paths.data == Path("/home/u/data/conclave/demo")
    assert paths.socket == Path("/run/user/7/conclave/demo/ctl.sock")


def test_paths_given_directory_wins() -> None:
    paths = paths_of(ClusterConfig(directory="/srv/c"), {"XDG_RUNTIME_DIR": "/run"})

    assert paths.data == Path("/srv/c")
    assert paths.database("n2") == Path("/srv/c/n2/db")


def test_runtime_root_too_long_for_a_socket_is_passed_over() -> None:
    root = runtime_root({"XDG_RUNTIME_DIR": "/" + "r" * 80})

    longest = root / ("n" * 32) / ("f" * 16 + ".2")
    assert len(str(longest)) <= SOCKET_PATH_MAX
    assert str(root).startswith("/tmp/")


def test_identity_with_nodes_that_come_and_go(tmp_path: Path) -> None:
    founding = Identity(7, (("n1", 11), ("n2", 22), ("n3", 33)))

    less = founding.strike("n2")
    again = less.enlist(less.free_name(), 44)
    more = again.enlist(again.free_name(), 55)

    assert not founding.changed
    assert less == Identity(7, (("n1", 11), ("n3", 33)), changed=True)
    assert again.members == (("n1", 11), ("n2", 44), ("n3", 33))
    assert more.members[-1] == ("n4", 55)
    config = ClusterConfig(nodes=2)
    save(tmp_path / "cluster.json", config, less)
    assert load(tmp_path / "cluster.json") == (config, less)
