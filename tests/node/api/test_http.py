"""The plain HTTP endpoints, asked by the standard library's client."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from node.config import Limits
from node.proto import rpc
from node.status import Alarm
from tests.support.api_client import ApiClient
from tests.support.api_member import ApiMember, ServedMember
from tests.support.auth_client import enable, make_users
from tests.support.etcd_process import EtcdProcess, running_etcd


@dataclass(frozen=True)
class Page:
    """What came back."""

    status: int
    body: str
    content_type: str


def get(served: ServedMember, target: str, method: str = "GET") -> Page:
    """Ask for one page."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        content_type = response.getheader("content-type") or ""
        return Page(response.status, response.read().decode(), content_type)
    finally:
        connection.close()


def test_health_of_a_sound_member(served: ServedMember) -> None:
    page = get(served, "/health")

    assert (page.status, page.content_type) == (200, "application/json")
    assert json.loads(page.body) == {"health": "true", "reason": ""}


def test_health_without_leader(served: ServedMember) -> None:
    served.call(served.member.lose_leader)

    assert json.loads(get(served, "/health").body) == {
        "health": "false",
        "reason": "RAFT NO LEADER",
    }
    assert get(served, "/health").status == 503
    assert get(served, "/health?serializable=true").status == 200


@pytest.mark.parametrize(("kind", "name"), [(1, "NOSPACE"), (2, "CORRUPT")])
def test_health_with_an_alarm(served: ServedMember, kind: int, name: str) -> None:
    served.member.alarms = (Alarm(0xA1, kind),)

    page = get(served, "/health")

    assert page.status == 503
    assert json.loads(page.body)["reason"] == f"ALARM {name}"
    assert get(served, f"/health?exclude={name}").status == 200


def test_health_tells_why_its_read_failed() -> None:
    with ServedMember(ApiMember(timeout_seconds=0.05)) as served:
        served.member.hold = True

        reason = json.loads(get(served, "/health").body)["reason"]

    assert reason == "RANGE ERROR:etcdserver: request timed out"


@pytest.mark.parametrize("target", ["/livez", "/readyz", "/readyz/linearizable_read"])
def test_probes_of_a_sound_member(served: ServedMember, target: str) -> None:
    page = get(served, target)

    assert (page.status, page.body) == (200, "ok\n")


def test_verbose_probe_lists_its_checks(served: ServedMember) -> None:
    assert get(served, "/readyz?verbose").body == (
        "[+]data_corruption ok\n"
        "[+]serializable_read ok\n"
        "[+]linearizable_read ok\n"
        "[+]non_learner ok\n"
        "ok\n"
    )
    assert get(served, "/readyz/non_learner?verbose").body == "[+]non_learner ok\nok\n"


def test_probe_without_quorum_is_alive_but_not_ready() -> None:
    with ServedMember(ApiMember(timeout_seconds=0.05)) as served:
        served.call(served.member.lose_leader)

        page = get(served, "/readyz")

        assert page.status == 503
        assert "[-]linearizable_read failed: etcdserver: request timed out" in page.body
        assert get(served, "/livez").status == 200
        assert get(served, "/readyz?exclude=linearizable_read").status == 200
        assert get(served, "/readyz/linearizable_read").status == 503


def test_probe_of_a_learner(served: ServedMember) -> None:
    served.member.is_learner = True

    page = get(served, "/readyz/non_learner")

    assert (page.status, page.body) == (503, "[-]non_learner failed: not supported for learner\n\n")
    assert get(served, "/readyz?exclude=non_learner").status == 200


@pytest.mark.parametrize("kind", [1, 2])
def test_probe_with_an_alarm_fails_for_corruption_only(served: ServedMember, kind: int) -> None:
    served.member.alarms = (Alarm(0xA1, kind),)

    page = get(served, "/readyz/data_corruption")

    if kind == 1:
        assert (page.status, page.body) == (200, "ok\n")
    else:
        failed = "[-]data_corruption failed: alarm activated: CORRUPT\n\n"
        assert (page.status, page.body) == (503, failed)
    assert get(served, "/livez").status == 200


def test_probe_takes_no_notice_of_an_unknown_exclusion(served: ServedMember) -> None:
    page = get(served, "/livez?verbose&exclude=sunshine")

    assert (page.status, page.body) == (200, "[+]serializable_read ok\nok\n")


def test_outcomes_are_counted(served: ServedMember) -> None:
    for target in ("/health", "/livez", "/readyz/non_learner"):
        get(served, target)
    served.member.is_learner = True
    get(served, "/readyz/non_learner")
    served.member.alarms = (Alarm(0xA1, 1),)
    get(served, "/health")

    found = samples(served)

    assert found["etcd_server_health_success", ()] == 1
    assert found["etcd_server_health_failures", ()] == 1
    livez, readyz = (
        (("name", name), ("type", kind))
        for kind, name in (("livez", "serializable_read"), ("readyz", "non_learner"))
    )
    assert found["etcd_server_healthcheck", livez] == 1
    assert found["etcd_server_healthcheck", readyz] == 0
    for labels, status in ((livez, "success"), (readyz, "success"), (readyz, "error")):
        labelled = tuple(sorted((*labels, ("status", status))))
        assert found["etcd_server_healthchecks_total", labelled] == 1


def samples(served: ServedMember) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All of /metrics by name and sorted labels."""
    families = text_string_to_metric_families(get(served, "/metrics").body)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_variables_tell_of_raft_and_the_process(served: ServedMember, client: ApiClient) -> None:
    client.put(b"k")

    page = get(served, "/debug/vars")

    found = json.loads(page.body)
    assert page.content_type == "application/json; charset=utf-8"
    assert list(found) == sorted(found)
    assert found["cmdline"]
    assert found["file_descriptor_limit"] > 0
    assert found["memstats"]["Sys"] > 1 << 20
    assert found["raft.status"] == {
        "id": "a1",
        "term": 2,
        "vote": "a1",
        "commit": 1,
        "lead": "a1",
        "raftState": "StateLeader",
        "applied": 1,
        "progress": {"a1": {"match": 1, "next": 2, "state": "StateReplicate"}},
        "leadtransferee": "0",
    }


ORIGINS: list[tuple[tuple[str, ...], str, str | None]] = [
    (("*",), "http://a", "*"),
    (("*",), "", "*"),
    ((), "http://a", "*"),
    (("http://a", "http://b:80"), "http://b:80", "http://b:80"),
    (("http://a",), "http://b", None),
    (("http://a",), "", None),
]


@pytest.mark.parametrize(("origins", "asking", "allowed"), ORIGINS)
@pytest.mark.parametrize(("method", "target"), [("GET", "/health"), ("OPTIONS", "/v3/kv/put")])
def test_pages_may_read_if_their_origin_may(
    origins: tuple[str, ...], asking: str, allowed: str | None, method: str, target: str
) -> None:
    with ServedMember(ApiMember(Limits(cors=origins))) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        connection.request(method, target, headers={"Origin": asking} if asking else {})
        response = connection.getresponse()
        connection.close()

    assert response.status == 200
    assert response.getheader("access-control-allow-origin") == allowed
    assert (response.getheader("access-control-allow-methods") is None) is (allowed is None)


# Beside a real etcd.


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcess]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as running:
        yield running


NAMES = (
    "allow",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
)


def told(address: str, method: str, target: str) -> tuple[int, list[str | None], bytes]:
    """Status, the headers that clients act on, body."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, target, headers={"Origin": "http://somewhere"})
        response = connection.getresponse()
        return response.status, [response.getheader(name) for name in NAMES], response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/health"),
        ("GET", "/health?exclude=NOSPACE"),
        ("GET", "/health?exclude=&exclude=NOSPACE"),
        ("GET", "/health?serializable=true"),
        ("GET", "/health?serializable=perhaps"),
        ("POST", "/health"),
        ("DELETE", "/health"),
        ("HEAD", "/health"),
        ("OPTIONS", "/health"),
        ("OPTIONS", "/nothing"),
        ("OPTIONS", "/v3/kv/range"),
        ("POST", "/version"),
        ("PUT", "/debug/vars"),
        ("GET", "/nothing"),
        ("GET", "/health/"),
        ("GET", "/version/x"),
    ],
)
def test_answer_is_that_of_etcd(
    served: ServedMember, etcd: EtcdProcess, method: str, target: str
) -> None:
    assert told(served.address, method, target) == told(etcd.address, method, target)


def test_alarm_is_told_as_by_etcd(served: ServedMember, etcd: EtcdProcess) -> None:
    alarm = rpc.AlarmRequest(action=rpc.AlarmRequest.ACTIVATE, alarm=rpc.AlarmType.NOSPACE)
    for address in (served.address, etcd.address):
        with ApiClient(address) as client:
            client.call("/etcdserverpb.Maintenance/Alarm", alarm, rpc.AlarmResponse)

    try:
        for target in ("/health", "/health?exclude=NOSPACE", "/health?exclude=CORRUPT"):
            ours, theirs = (told(each, "GET", target) for each in (served.address, etcd.address))
            assert ours == theirs
    finally:
        alarm.action = rpc.AlarmRequest.DEACTIVATE
        etcd.call("/etcdserverpb.Maintenance/Alarm", alarm, rpc.AlarmResponse)


def test_variables_are_those_of_etcd(served: ServedMember, etcd: EtcdProcess) -> None:
    ours, theirs = (
        json.loads(told(address, "GET", "/debug/vars")[2])
        for address in (served.address, etcd.address)
    )

    assert ours.keys() == theirs.keys()
    assert ours["raft.status"].keys() == theirs["raft.status"].keys()
    assert ours["raft.status"]["raftState"] == theirs["raft.status"]["raftState"]
    assert ours["memstats"].keys() <= theirs["memstats"].keys()
    (our_peer,), (their_peer,) = (
        each["raft.status"]["progress"].values() for each in (ours, theirs)
    )
    assert our_peer.keys() == their_peer.keys()
    assert our_peer["state"] == their_peer["state"]


def test_version_is_dotted_integers(served: ServedMember) -> None:
    assert json.loads(get(served, "/version").body) == {
        "etcdserver": "3.6.11",
        "etcdcluster": "3.6.0",
        "storage": "3.6.0",
    }


@pytest.mark.parametrize("target", ["/health", "/livez", "/readyz", "/version", "/metrics"])
def test_other_verbs_are_not_allowed(served: ServedMember, target: str) -> None:
    assert get(served, target, "POST").status == 405


@pytest.mark.parametrize("target", ["/", "/nothing", "/livez/nothing", "/health/x"])
def test_unknown_page_is_not_found(served: ServedMember, target: str) -> None:
    assert get(served, target).status == 404


def test_metrics_carry_etcds_names_and_true_figures(
    served: ServedMember, client: ApiClient
) -> None:
    client.put(b"k")
    client.raw("/etcdserverpb.KV/Put", b"")

    page = get(served, "/metrics")
    families = text_string_to_metric_families(page.body)
    found = {
        (sample.name, sample.labels.get("grpc_method", ""), sample.labels.get("grpc_code", "")): (
            sample.value
        )
        for family in families
        for sample in family.samples
    }

    assert found["etcd_server_has_leader", "", ""] == 1
    assert found["etcd_server_is_leader", "", ""] == 1
    assert found["etcd_server_proposals_applied_total", "", ""] == 1
    assert found["etcd_mvcc_db_total_size_in_bytes", "", ""] == 4096
    assert found["etcd_disk_wal_fsync_duration_seconds_count", "", ""] == 4
    assert found["grpc_server_started_total", "Put", ""] == 2
    assert found["grpc_server_handled_total", "Put", "OK"] == 1
    assert found["grpc_server_handled_total", "Put", "InvalidArgument"] == 1
    assert found["conclave_client_connections", "", ""] == 2


def test_probes_need_no_user(served: ServedMember, client: ApiClient) -> None:
    make_users(client)
    enable(client)

    for target in ("/health", "/livez", "/readyz", "/version", "/metrics", "/debug/vars"):
        assert get(served, target).status == 200, target
