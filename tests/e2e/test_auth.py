"""Users and roles in a running cluster, as etcdctl and other clients meet them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from node.proto import rpc
from tests.support.api_client import ApiClient, Failed
from tests.support.auth_client import (
    BAD_TOKEN,
    DENIED,
    KV,
    AuthClient,
    authenticate,
    enable,
    log_in,
    make_users,
)
from tests.support.auth_tour import take_auth_tour
from tests.support.etcd_process import running_etcd
from tests.support.etcdctl import Etcdctl
from tests.support.etcdutl import etcdutl
from tests.support.live_cluster import LiveCluster
from tools.bench.etcd import EtcdCluster

pytestmark = pytest.mark.e2e

FAST = ["--unsafe-no-fsync", "--heartbeat-interval=50", "--election-timeout=3000"]


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdCluster]:
    """Three members of the real etcd."""
    with EtcdCluster(tmp_path / "etcd", flags=FAST) as running:
        yield running


@pytest.fixture
def guarded(fresh: Callable[..., LiveCluster]) -> LiveCluster:
    """A cluster that knows root, alice and bob, and judges requests."""
    cluster = fresh()
    with cluster.api("n1") as api:
        make_users(api)
        enable(api)
    return cluster


def test_tour_reads_as_on_etcd(fresh: Callable[..., LiveCluster], etcd: EtcdCluster) -> None:
    expected = take_auth_tour(etcd.endpoints)

    found = take_auth_tour(fresh().endpoints)

    if found != expected:
        pytest.fail("\n".join(difflib.unified_diff(expected, found, "etcd", "conclave", n=2)))


def assert_judges(cluster: LiveCluster, node: str) -> None:
    """A member knows its users: by password, by right, and by a token."""
    with ApiClient(cluster.node(node)["client"]) as api:
        alice, root = log_in(api, "alice"), log_in(api, "root")
        assert isinstance(alice.put(b"a/" + node.encode()), bytes)
        assert alice.put(b"b") == DENIED
        assert isinstance(root.put(b"b"), bytes)
        assert isinstance(authenticate(api, "alice", "wrong"), Failed)
        assert isinstance(AuthClient(api).put(b"b"), Failed)


def test_every_member_knows_users_and_their_tokens(guarded: LiveCluster) -> None:
    """A token that one member gave out is good at all of them, at once."""
    for giver in guarded.names:
        with guarded.api(giver) as api:
            token = log_in(api, "alice").token
        for taker in guarded.names:
            with guarded.api(taker) as api:
                alice = AuthClient(api, token)
                assert isinstance(alice.put(b"a/1"), bytes)
                assert isinstance(alice.get(b"a/1", serializable=True), bytes)
                assert alice.get(b"b", serializable=True) == DENIED
    for node in guarded.names:
        assert_judges(guarded, node)


def test_users_survive_the_death_of_all_members(guarded: LiveCluster) -> None:
    for _ in range(2):
        guarded.client.kill(["all"])
        guarded.heal()
        for node in guarded.names:
            assert_judges(guarded, node)


def test_supervisor_works_whatever_users_there_are(guarded: LiveCluster) -> None:
    """Readiness, hand-over and changes of the members need none of them; a member that comes new
    knows them from a snapshot."""
    guarded.home.done("-c", guarded.name, "kill", "leader")
    guarded.heal()
    guarded.client.wait("ready")
    guarded.home.done("-c", guarded.name, "transfer", guarded.followers[0])
    guarded.home.done("-c", guarded.name, "add")
    guarded.client.wait("converged")
    assert_judges(guarded, "n4")
    guarded.home.done("-c", guarded.name, "replace", "n2")
    guarded.client.wait("converged")
    assert_judges(guarded, "n2")
    guarded.home.done("-c", guarded.name, "remove", "n4")

    guarded.client.wait("ready")
    for row in guarded.status()["nodes"]:
        assert_judges(guarded, row["name"])


def test_lease_ends_whatever_users_there_are(guarded: LiveCluster) -> None:
    with guarded.api("n2") as api:
        alice = log_in(api, "alice")
        grant = rpc.LeaseGrantRequest(ID=5, TTL=2)
        alice.call("/etcdserverpb.Lease/LeaseGrant", grant, rpc.LeaseGrantResponse)
        assert isinstance(alice.put(b"a/brief", lease=5), bytes)

        def gone() -> bool:
            request = rpc.RangeRequest(key=b"a/brief")
            return not alice.call(f"{KV}/Range", request, rpc.RangeResponse).kvs

        guarded.await_true(gone, "the key goes with its lease")


def test_users_go_to_an_etcd_and_come_back(
    guarded: LiveCluster, fresh: Callable[..., LiveCluster], tmp_path: Path
) -> None:
    """Passwords, roles and permissions, and that they count."""
    with guarded.api("n1") as api:
        assert isinstance(log_in(api, "alice").put(b"a/1", b"kept"), bytes)
    saved, again = tmp_path / "saved.db", tmp_path / "again.db"
    root = "--user=root:secret"
    Etcdctl([guarded.endpoints[1]]).done("snapshot", "save", str(saved), root)
    etcdutl("snapshot", "restore", str(saved), "--data-dir", str(tmp_path / "data"))
    with running_etcd(tmp_path) as etcd:
        there = Etcdctl([etcd.address])
        assert there.done("get", "a/1", "--user=alice:tea") == "a/1\nkept\n"
        assert "permission denied" in there.run(["get", "b", "--user=alice:tea"]).error
        assert "invalid user ID" in there.run(["get", "a/1", "--user=alice:coffee"]).error
        assert there.done("user", "list", root).split() == ["alice", "bob", "root"]
        there.done("user", "add", "carol:cocoa", root)
        there.done("user", "grant-role", "carol", "a", root)
        there.done("snapshot", "save", str(again), root)

    returned = fresh(3, "--from-snapshot", str(again))
    for endpoint in returned.endpoints:
        here = Etcdctl([endpoint])
        assert here.done("get", "a/1", "--user=carol:cocoa") == "a/1\nkept\n"
        assert "permission denied" in here.run(["put", "b", "x", "--user=carol:cocoa"]).error
        assert "user name is empty" in here.run(["get", "a/1"]).error
    assert_judges(returned, "n1")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key that all members of a cluster have."""
    path = tmp_path / "private.pem"
    private = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def test_signed_tokens_are_good_until_users_or_roles_change(
    fresh: Callable[..., LiveCluster], key: Path
) -> None:
    """Also at a member that has started since: there is nothing to remember."""
    option = f"jwt,sign-method=ES256,priv-key={key},ttl=1h"
    cluster = fresh(3, "--auth-token", option, "--bcrypt-cost", "4")
    with cluster.api("n1") as api:
        make_users(api)
        enable(api)
        token = log_in(api, "alice").token
    cluster.client.kill(["all"])
    cluster.heal()

    for node in cluster.names:
        with cluster.api(node) as api:
            assert isinstance(AuthClient(api, token).put(b"a/1"), bytes)
            assert AuthClient(api, token).put(b"b") == DENIED
            assert AuthClient(api, token + "x").put(b"a/1") == BAD_TOKEN
    Etcdctl(cluster.endpoints).done("role", "add", "another", "--user=root:secret")
    with cluster.api("n2") as api:
        answer = AuthClient(api, token).put(b"a/1")
        assert isinstance(answer, Failed)
        assert answer.text == "etcdserver: revision of auth store is old"
    assert_judges(cluster, "n3")


def test_key_that_is_not_there_is_told_before_anything_serves(
    fresh: Callable[..., LiveCluster], tmp_path: Path
) -> None:
    option = f"jwt,sign-method=ES256,priv-key={tmp_path}/missing.pem"

    with pytest.raises(AssertionError, match=r"missing\.pem cannot be read: No such file"):
        fresh(1, "--auth-token", option)


def test_certificate_says_which_user_a_client_is(fresh: Callable[..., LiveCluster]) -> None:
    """Where clients have to show one; that which `up` makes is root's. A token counts more."""
    cluster = fresh(3, "--tls", "--client-cert-auth", "--bcrypt-cost", "4")
    with cluster.api("n1") as api:
        make_users(api)
        enable(api)

    for node in cluster.names:
        with cluster.api(node) as api:
            assert isinstance(AuthClient(api).put(b"anything"), bytes)
            assert log_in(api, "alice").put(b"anything") == DENIED
    cluster.home.done("-c", cluster.name, "transfer", cluster.followers[0])
    cluster.client.wait("ready")
    cluster.home.done("-c", cluster.name, "kv", "put", "anything", "else")
    alice = ("--user", "alice:tea")
    refused = cluster.home("-c", cluster.name, "kv", "put", "anything", "else", *alice)
    assert "permission denied" in refused.stderr
