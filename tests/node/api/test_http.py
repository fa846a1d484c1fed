"""The plain HTTP endpoints, asked by the standard library's client."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from node.status import Alarm
from tests.support.api_client import ApiClient
from tests.support.api_member import ApiMember, ServedMember


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
        "/readyz check passed\n"
    )


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

    assert "[-]non_learner failed" in get(served, "/readyz").body


def test_probe_warns_of_an_unknown_exclusion(served: ServedMember) -> None:
    page = get(served, "/livez?verbose&exclude=sunshine")

    assert page.status == 200
    assert "no matches for 'sunshine'" in page.body


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
    samples = {
        (sample.name, sample.labels.get("grpc_method", ""), sample.labels.get("grpc_code", "")): (
            sample.value
        )
        for family in families
        for sample in family.samples
    }

    assert samples["etcd_server_has_leader", "", ""] == 1
    assert samples["etcd_server_is_leader", "", ""] == 1
    assert samples["etcd_server_proposals_applied_total", "", ""] == 1
    assert samples["etcd_mvcc_db_total_size_in_bytes", "", ""] == 4096
    assert samples["etcd_disk_wal_fsync_duration_seconds_count", "", ""] == 4
    assert samples["grpc_server_started_total", "Put", ""] == 2
    assert samples["grpc_server_handled_total", "Put", "OK"] == 1
    assert samples["grpc_server_handled_total", "Put", "InvalidArgument"] == 1
    assert samples["conclave_client_connections", "", ""] == 2
