"""What flags say together, who the members are, and what is remembered of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.addresses import Introduced, Introduction
from node.config import Limits, Ticks
from tools.etcd.beginning import node_config
from tools.etcd.errors import Refused
from tools.etcd.flag import read
from tools.etcd.flag_table import FLAGS
from tools.etcd.founding import Founder, Founding, check_new, cluster_id, found, joined, member_id
from tools.etcd.place import Place, Record
from tools.etcd.settings import Settings, settle
from tools.etcd.url import Url, read_members, read_urls, texts
from transport.tls.files import ServerFiles

ONE, TWO, THREE = (f"http://127.0.0.1:{port}" for port in (1, 2, 3))

HTTPS = [f"--{what}-client-urls=https://127.0.0.1:1" for what in ("listen", "advertise")]


def settled(*words: str) -> Settings:
    return settle(read(words, {}, FLAGS))


def test_defaults_are_etcds() -> None:
    settings = settled()

    assert settings.directory == Path("default.etcd")
    assert settings.members == {"default": read_urls("http://localhost:2380")}
    assert settings.peer_address == "127.0.0.1:2380"
    assert settings.ticks == Ticks(tick_ms=10, heartbeat=10, election=100)
    assert settings.limits == Limits()


def test_name_alone_names_the_cluster_too() -> None:
    settings = settled("--name=a", "--initial-advertise-peer-urls=http://localhost:9")

    assert settings.members == {"a": read_urls("http://localhost:9")}
    assert settings.directory == Path("a.etcd")


@pytest.mark.parametrize(
    ("heartbeat", "election", "ticks"),
    [
        (100, 1000, Ticks(tick_ms=10, heartbeat=10, election=100)),
        (10, 100, Ticks(tick_ms=10, heartbeat=1, election=10)),
        (5, 50, Ticks(tick_ms=5, heartbeat=1, election=10)),
        (1, 5, Ticks(tick_ms=1, heartbeat=1, election=5)),
        (123, 50_000, Ticks(tick_ms=10, heartbeat=12, election=5000)),
    ],
)
def test_times_become_ticks(heartbeat: int, election: int, ticks: Ticks) -> None:
    words = [f"--heartbeat-interval={heartbeat}", f"--election-timeout={election}"]

    assert settled(*words).ticks == ticks


def test_limits_that_are_named_count() -> None:
    limits = settled(
        "--snapshot-count=100",
        "--max-request-bytes=1000",
        "--max-txn-ops=7",
        "--quota-backend-bytes=-1",
        "--corrupt-check-time=5s",
        "--watch-progress-notify-interval=1m",
        "--max-concurrent-streams=9",
        "--grpc-keepalive-min-time=1s",
        "--grpc-keepalive-interval=1m",
        "--grpc-keepalive-timeout=2s",
    ).limits

    assert (limits.log_entries_max, limits.log_entries_kept) == (100, 50)
    assert (limits.request_bytes_max, limits.txn_operations_max) == (1000, 7)
    assert limits.quota_backend_bytes == -1
    assert (limits.streams_max, limits.keepalive_min_ms) == (9, 1_000)
    assert (limits.keepalive_interval_ms, limits.keepalive_timeout_ms) == (60_000, 2_000)
    assert (limits.state_check_ms, limits.watch_progress_notify_ms) == (5_000, 60_000)


def test_nothing_is_meant_by_a_keepalive_of_nothing() -> None:
    limits = settled("--grpc-keepalive-interval=0s", "--grpc-keepalive-min-time=0s").limits

    assert limits.keepalive_interval_ms > 86_400_000
    assert limits.keepalive_min_ms == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--listen-peer-urls=http://10.0.0.1:2380"], "speak over loopback"),
        (["--listen-peer-urls=https://127.0.0.1:2380"], "without TLS"),
        (["--listen-peer-urls=http://127.0.0.1:1,http://127.0.0.1:2"], "one is served"),
        (["--listen-client-urls=unix://x", "--advertise-client-urls=unix://x"], "no unix sockets"),
        (["--initial-cluster=a=b"], "error setting up initial cluster"),
        (["--log-outputs=default,x"], "is not supported"),
        (["--log-format=xml"], "--log-format"),
        (["--max-request-bytes=99999999"], "limits contradict each other"),
        (["--advertise-client-urls=http://:1"], "unexpected empty host"),
        (["--auth-token=jwt"], "sign-method is one of"),
        (["--auto-compaction-mode=never"], "auto-compaction-mode"),
        (["--auto-compaction-retention=soon"], "auto-compaction-retention"),
        ([*HTTPS, "--cert-file=c"], "must be provided for client url https://127.0.0.1:1"),
        ([*HTTPS, "--cert-file=c", "--key-file=k", "--client-cert-auth"], "--trusted-ca-file"),
        (
            [
                "--listen-client-urls=http://127.0.0.1:1,https://127.0.0.1:2",
                "--advertise-client-urls=http://127.0.0.1:1",
            ],
            "some with TLS, some without",
        ),
    ],
)
def test_refused(words: list[str], text: str) -> None:
    with pytest.raises(Refused, match=text):
        settled(*words)


def test_history_is_compacted_as_the_flags_say() -> None:
    periodic = settled("--auto-compaction-retention=30m").limits
    revision = settled("--auto-compaction-mode=revision", "--auto-compaction-retention=1000").limits

    assert (periodic.auto_compaction_mode, periodic.auto_compaction_retention) == ("periodic", 1800)
    assert (revision.auto_compaction_mode, revision.auto_compaction_retention) == ("revision", 1000)


def test_tokens_and_passwords_are_as_the_flags_say() -> None:
    jwt = "jwt,sign-method=HS256,priv-key=/k,ttl=1h"
    given = settled(f"--auth-token={jwt}", "--auth-token-ttl=60", "--bcrypt-cost=5").limits

    assert (given.auth_token, given.auth_token_ttl_ms, given.bcrypt_cost) == (jwt, 60_000, 5)
    assert settled("--bcrypt-cost=3").limits.bcrypt_cost == 10


def test_certificate_counts_where_a_url_asks_for_it() -> None:
    papers = ["--cert-file=c", "--key-file=k"]
    authority = ["--trusted-ca-file=a", "--client-cert-auth"]

    assert settled(*papers).tls is None
    assert settled(*HTTPS, *papers).tls == ServerFiles(cert_file="c", key_file="k")
    assert settled(*HTTPS, *papers, *authority).tls == ServerFiles(
        cert_file="c", key_file="k", trusted_ca_file="a", client_cert_auth=True
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "127.0.0.1"])
def test_peers_are_listened_to_on_loopback_wherever_they_may_come_from(host: str) -> None:
    assert settled(f"--listen-peer-urls=http://{host}:7").peer_address == "127.0.0.1:7"


# Who the members are.


def members(*urls: str) -> dict[str, tuple[Url, ...]]:
    return read_members(",".join(f"n{at}={url}" for at, url in enumerate(urls, start=1)))


def test_ids_are_etcds() -> None:
    """As a real etcd 3.5 logged them for the cluster x=http://127.0.0.1:34002."""
    own = member_id(["http://127.0.0.1:34002"], "etcd-cluster")

    assert f"{own:x}" == "a3de47322c8e4fb8"
    assert f"{cluster_id([own]):x}" == "b79d3ebec5fa26c3"


def test_all_founders_come_to_the_same_cluster() -> None:
    lists = members(ONE, TWO, THREE)

    each = [found(lists, "t", name, urls) for name, urls in lists.items()]

    assert len({founding.cluster_id for founding in each}) == 1
    assert len({founding.members for founding in each}) == 1
    assert len({founding.member_id for founding in each}) == 3


def test_token_makes_another_cluster() -> None:
    lists = members(ONE)

    ids = [found(lists, token, "n1", lists["n1"]) for token in ("t", "u")]

    assert ids[0].cluster_id != ids[1].cluster_id
    assert ids[0].member_id != ids[1].member_id


@pytest.mark.parametrize(
    ("lists", "advertised", "text"),
    [
        (members(ONE), TWO, "--initial-cluster has n1=.* but missing"),
        (members(ONE), f"{ONE},{TWO}", "--initial-advertise-peer-urls has .* but missing"),
        (members(ONE, ONE), ONE, "duplicate url"),
        (members(ONE, "http://10.0.0.1:2"), ONE, "member n2 at http://10.0.0.1:2 cannot be"),
        (members(ONE, "https://127.0.0.1:2"), ONE, "member n2 .* cannot be reached"),
        ({}, ONE, 'couldn\'t find local name "n1"'),
    ],
)
def test_founding_that_cannot_be(
    lists: dict[str, tuple[Url, ...]], advertised: str, text: str
) -> None:
    with pytest.raises(Refused, match=text):
        found(lists, "t", "n1", read_urls(advertised))


def test_one_alone_may_be_reached_under_any_name() -> None:
    lists = members("http://etcd0:2380")

    assert found(lists, "t", "n1", lists["n1"]).members[0].peer_urls == ("http://etcd0:2380",)


def told(*rows: tuple[int, str, str], cluster: int = 77) -> Introduction:
    each = tuple(Introduced(id=member, name=name, peer_urls=(url,)) for member, name, url in rows)
    return Introduction(cluster_id=cluster, members=each)


def test_joiner_finds_itself_by_its_url() -> None:
    introduction = told((11, "n1", ONE), (22, "", TWO.replace("127.0.0.1", "localhost")))

    founding = joined(members(ONE, TWO), "n2", introduction)

    assert (founding.cluster_id, founding.member_id) == (77, 22)
    assert [member.name for member in founding.members] == ["n1", "n2"]


@pytest.mark.parametrize(
    ("introduction", "text"),
    [
        (told((11, "n1", ONE)), "error validating peerURLs"),
        (told((11, "n1", ONE), (22, "", TWO), (33, "n3", THREE)), "error validating peerURLs"),
        (told((11, "n1", ONE), (22, "other", TWO)), "has already been bootstrapped"),
    ],
)
def test_joiner_that_the_cluster_does_not_expect(introduction: Introduction, text: str) -> None:
    with pytest.raises(Refused, match=text):
        joined(members(ONE, TWO), "n2", introduction)


def test_founder_that_others_have_seen_must_not_begin_anew() -> None:
    founding = found(members(ONE, TWO), "t", "n2", read_urls(TWO))
    own = founding.member_id

    check_new(founding, told((own, "", TWO), cluster=founding.cluster_id))
    check_new(founding, told((own, "n2", TWO), cluster=1))
    with pytest.raises(Refused, match="has already been bootstrapped"):
        check_new(founding, told((own, "n2", TWO), cluster=founding.cluster_id))


# What is remembered, and what the node is told.

FOUNDING = Founding(77, 11, (Founder(11, "n1", (ONE,)), Founder(22, "n2", (TWO,))))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path / "n1.etcd")
    place.take()
    return place


def test_record_comes_back_as_it_was(place: Place) -> None:
    nobody = place.load()
    record = Record(founding=FOUNDING, join=True, served=True)
    place.save(record)

    assert nobody is None
    assert place.load() == record


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format":2}', '{"format":1,"join":false,"served":false,"founding":{}}'],
)
def test_record_that_cannot_be_used_is_refused(place: Place, content: str) -> None:
    (place.database.parent / "conclave.json").write_text(content)

    with pytest.raises(Refused, match=r"conclave\.json"):
        place.load()


@pytest.mark.parametrize(
    ("foreign", "text"),
    [("member/wal", "was made by etcd"), ("member/snap", "made by etcd"), ("cluster.json", "up")],
)
def test_place_of_another_program_is_refused(tmp_path: Path, foreign: str, text: str) -> None:
    (tmp_path / foreign).mkdir(parents=True)

    with pytest.raises(Refused, match=text):
        Place(tmp_path).take()


@pytest.mark.parametrize(
    ("record", "bootstrap", "campaigns"),
    [
        (Record(founding=FOUNDING, join=False), True, True),
        (Record(founding=FOUNDING, join=False, served=True), False, False),
        (Record(founding=FOUNDING, join=True), True, False),
    ],
)
def test_node_is_told_what_the_record_says(
    place: Place, record: Record, bootstrap: bool, campaigns: bool
) -> None:
    config = node_config(settled("--name=other"), place, record)

    assert (config.cluster_id, config.member_id) == (77, 11)
    assert (config.bootstrap, config.campaign_first, config.join) == (
        bootstrap,
        campaigns,
        record.join,
    )
    assert config.spec.name == "other"
    assert config.spec.client_urls == texts(read_urls("http://localhost:2379"))
    assert [spec.peer_urls for spec in config.members] == [(ONE,), (TWO,)]
