"""A cluster that speaks TLS, from the command that makes it to the clients that are let in."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.api import Cluster
from cluster.tls import ClusterTls
from node.proto import rpc
from tests.support.certificates import Papers
from tests.support.curl import run_curl
from tests.support.etcdctl import BINARY, Etcdctl
from tests.support.live_cluster import LiveCluster, running_cluster
from tools.cli.exit import Exit

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    """Three nodes with certificates of their own, whose clients have to show one."""
    directory = tmp_path_factory.mktemp("strict")
    with running_cluster(directory, "tls", 3, "--tls", "--client-cert-auth") as cluster:
        yield cluster


def curl(cluster: LiveCluster, path: str, *options: str) -> subprocess.CompletedProcess[str]:
    """curl of the first node, trusting the cluster's authority and showing nothing."""
    tls = cluster.tls
    assert tls is not None
    told = ["--cacert", tls.cacert, "-w", "%{http_version}"]
    return run_curl(*told, *options, f"{cluster.endpoints[0]}{path}")


def shown(cluster: LiveCluster) -> list[str]:
    """curl's options for the certificate that a client shows."""
    tls = cluster.tls
    assert tls is not None
    return ["--cert", tls.cert, "--key", tls.key]


# One command.


def test_printed_lines_work_in_a_shell(strict: LiveCluster) -> None:
    lines = [line.strip() for line in strict.up().splitlines()]
    exports = [line for line in lines if line.startswith("export ETCDCTL_")]

    ran = strict.home.shell(
        "\n".join([*exports, "etcdctl put greeting hello; etcdctl get greeting"])
    )

    assert "OK\ngreeting\nhello\n" in ran.stdout, ran.stderr
    assert len(exports) == 2


def test_environment_works_in_a_shell(strict: LiveCluster) -> None:
    ran = strict.home.shell('eval "$(conclave env -c tls)"; etcdctl member list -w json')

    urls = [member["clientURLs"] for member in json.loads(ran.stdout)["members"]]
    assert sorted(urls) == [[endpoint] for endpoint in strict.endpoints]
    assert all(endpoint.startswith("https://127.0.0.1:") for endpoint in strict.endpoints)


def test_documents_say_what_clients_need(strict: LiveCluster) -> None:
    document = strict.home.document(*strict.up_command)

    assert document["endpoints"] == strict.endpoints
    assert document["status"]["tls"] == strict.status()["tls"]
    assert document["status"]["tls"]["client_cert_auth"] is True
    assert strict.node("n1")["client"] == strict.endpoints[0]
    assert all(Path(document["status"]["tls"][name]).exists() for name in ("cacert", "cert", "key"))


def test_our_own_tools_find_their_way(strict: LiveCluster) -> None:
    strict.home.done("kv", "put", "k", "v", "-c", "tls")

    assert strict.home.done("kv", "get", "k", "-c", "tls") == "k\nv\n"
    for workload in ("put", "watch"):
        few = ("--total", "50", "--clients", "4")
        report = strict.home.document("bench", workload, *few, "-c", "tls")
        assert report["errors"] == {}
        assert report["requests"] == (50 if workload == "put" else 200)
    findings = strict.home.document("doctor", "-c", "tls")["findings"]
    (certificates,) = [each for each in findings if each["check"] == "certificates"]
    assert certificates["level"] == "ok"


# Clients.


def test_grpcio_is_served_by_every_node(strict: LiveCluster) -> None:
    for name in strict.names:
        strict.assert_serves(name)


@pytest.mark.parametrize("options", [[], ["--http1.1"], ["--http2"]])
def test_curl_is_served_as_it_comes(strict: LiveCluster, options: list[str]) -> None:
    ran = curl(strict, "/health", *options, *shown(strict))

    assert ran.returncode == 0, ran.stderr
    assert '"health":"true"' in ran.stdout


def test_client_without_certificate_is_refused(strict: LiveCluster) -> None:
    ran = curl(strict, "/health")

    assert ran.returncode != 0
    log = (strict.data / "n1" / "log").read_text()
    assert "client.refused" in log
    assert "no client certificate" in log


def test_client_of_another_authority_is_refused(strict: LiveCluster, tmp_path: Path) -> None:
    tls, other = strict.tls, Papers(tmp_path / "other")
    assert tls is not None
    etcdctl = Etcdctl(strict.endpoints)
    stranger = ["--cert", str(other.client_cert), "--key", str(other.client_key)]
    ran = etcdctl.run(["--cacert", tls.cacert, *stranger, "--dial-timeout=1s", "get", "k"])
    distrustful = strict.home(
        "kv", "get", "k", "--endpoints", strict.endpoints[0], "--cacert", str(other.ca)
    )

    assert ran.code != 0
    assert distrustful.returncode == Exit.NOT_RUNNING
    assert "no TLS connection" in distrustful.stderr


# Its life.


def test_nodes_come_and_go(strict: LiveCluster) -> None:
    leader = strict.leader
    strict.home.done("kill", "leader", "-c", "tls")
    strict.new_leader(leader)
    strict.heal()
    strict.home.done("transfer", "-c", "tls")
    strict.home.done("add", "-c", "tls")
    added = strict.status()["nodes"][-1]
    with strict.api(leader) as api:
        before = api.put(b"k", b"v").header.revision
    strict.home.done("remove", added["name"], "-c", "tls")

    assert added["client"].startswith("https://")
    assert before in [record.mod_revision for record in strict.assert_equal_contents()]


def test_cluster_comes_back_with_the_same_certificates(fresh: Callable[..., LiveCluster]) -> None:
    cluster = fresh(1, "--tls")
    files = {path: path.read_bytes() for path in (cluster.data / "tls").iterdir()}
    with cluster.api("n1") as api:
        api.put(b"k", b"v")
    cluster.down()
    cluster.up()

    assert {path: path.read_bytes() for path in (cluster.data / "tls").iterdir()} == files
    with cluster.api("n1") as api:
        assert api.get(b"k").kvs[0].value == b"v"
    cluster.down()
    cluster.up("--no-tls")
    with cluster.api("n1") as api:
        assert api.get(b"k").kvs[0].value == b"v"
        listed = api.call(
            "/etcdserverpb.Cluster/MemberList", rpc.MemberListRequest(), rpc.MemberListResponse
        )
    assert cluster.tls is None
    assert [list(member.clientURLs) for member in listed.members] == [
        [f"http://{cluster.endpoints[0]}"]
    ]


def test_running_cluster_is_not_called_up_with_another_way(strict: LiveCluster) -> None:
    ran = strict.home(*strict.up_command, "--no-tls")

    assert ran.returncode == Exit.CONFLICT
    assert "conclave down first" in ran.stderr


def test_users_own_certificates(fresh: Callable[..., LiveCluster], tmp_path: Path) -> None:
    papers = Papers(tmp_path / "papers")
    cluster = fresh(
        *(1, "--cert-file", str(papers.cert), "--key-file", str(papers.key)),
        *("--trusted-ca-file", str(papers.ca), "--client-cert-auth"),
        *("--client-cert-file", str(papers.client_cert)),
        *("--client-key-file", str(papers.client_key)),
    )
    cluster.assert_serves("n1")
    cluster.down()
    papers.key.write_text("gone")

    ran = cluster.home(*cluster.up_command)

    assert ran.returncode == Exit.FAILED
    assert "server.key is unusable" in ran.stderr
    assert "try: " in ran.stderr


def test_python_api_tells_whom_to_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strict: LiveCluster
) -> None:
    for name, value in strict.home.environment.items():
        monkeypatch.setenv(name, value)
    chosen: dict[str, Any] = {"ephemeral": True, "port_base": strict.port_base + 8}
    with Cluster.up(1, name="tls-api", tls=ClusterTls(own=True), **chosen) as cluster:
        tls, variables = cluster.tls, cluster.env()
        done = subprocess.run(
            [str(BINARY), "put", "k", "v"],
            env={**strict.home.environment, **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert tls is not None
    assert variables["ETCDCTL_CACERT"] == tls["cacert"]
    assert "ETCDCTL_CERT" not in variables
    assert done.stdout == "OK\n", done.stderr


def test_certificate_is_the_user_where_users_are_known(fresh: Callable[..., LiveCluster]) -> None:
    cluster = fresh(3, "--tls", "--client-cert-auth")
    tls = cluster.tls
    assert tls is not None
    etcdctl = Etcdctl(cluster.endpoints)
    papers = ["--cacert", tls.cacert, "--cert", tls.cert, "--key", tls.key]
    etcdctl.done(*papers, "user", "add", "root:secret")
    etcdctl.done(*papers, "user", "grant-role", "root", "root")
    etcdctl.done(*papers, "auth", "enable")

    # Nobody gives a password any more: neither etcdctl, nor our tools, nor the supervisor.
    assert etcdctl.done(*papers, "put", "k", "v") == "OK\n"
    assert cluster.home.done("kv", "get", "k", "-c", cluster.name) == "k\nv\n"
    leader = cluster.leader
    cluster.home.done("kill", "leader", "-c", cluster.name)
    cluster.new_leader(leader)
    cluster.heal()
    cluster.home.done("add", "-c", cluster.name)
    cluster.home.done("transfer", "-c", cluster.name)
    gateway = curl(cluster, "/v3/kv/range", "-d", '{"key":"aw=="}', *shown(cluster))
    assert "CommonName of client sending a request against gateway" in gateway.stdout
