"""Options about TLS: what `up` makes of them, and what a client of ours goes with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.document import TlsDocument
from cluster.errors import BadRequest
from cluster.tls import PLAIN, ClusterTls
from tests.support.command import RunConclave, document_of
from tests.support.management_server import ManagementServer
from tests.support.status_document import status_document
from tools.cli.exit import Exit
from tools.cli.progress import Launch, ready_lines
from tools.cli.tls_options import FIELDS, chosen_tls, client_files
from transport.tls import ClientFiles

OWN = ClusterTls(own=True)
STRICT = ClusterTls(own=True, client_cert_auth=True)
FILES = ClusterTls(cert_file="/c", key_file="/k", trusted_ca_file="/ca", client_cert_auth=True)
KNOWN: TlsDocument = {
    "cacert": "/d/ca.crt",
    "cert": "/d/client crt",
    "key": "/d/client.key",
    "client_cert_auth": True,
    "not_after": "2036-01-01T00:00:00+00:00",
}


def typed(**options: Any) -> dict[str, Any]:
    """What click hands over."""
    return {**dict.fromkeys(FIELDS), **options}


@pytest.mark.parametrize(
    ("stored", "options", "chosen"),
    [
        (PLAIN, {}, PLAIN),
        (OWN, {}, OWN),
        (FILES, {}, FILES),
        (PLAIN, {"own": True}, OWN),
        (OWN, {"client_cert_auth": True}, STRICT),
        (STRICT, {"client_cert_auth": False}, OWN),
        (STRICT, {"own": True}, STRICT),
        (STRICT, {"own": False}, PLAIN),
        (
            FILES,
            {"cert_file": "/c2", "key_file": "/k2"},
            replace(FILES, cert_file="/c2", key_file="/k2"),
        ),
        (OWN, {"own": False}, PLAIN),
        (FILES, {"own": False}, PLAIN),
        (FILES, {"own": True}, OWN),
        (OWN, {"cert_file": "/c", "key_file": "/k"}, ClusterTls(cert_file="/c", key_file="/k")),
    ],
)
def test_what_was_typed_changes_what_was_stored(
    stored: ClusterTls, options: dict[str, Any], chosen: ClusterTls
) -> None:
    assert chosen_tls(typed(**options), stored) == chosen


@pytest.mark.parametrize("options", [{"client_cert_auth": True}, {"own": True, "cert_file": "/c"}])
def test_options_that_contradict_each_other(options: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        chosen_tls(typed(**options), PLAIN)


def test_up_refuses_what_it_cannot_mean(run: RunConclave) -> None:
    result = run("up", "--client-cert-auth")

    assert result.exit_code == Exit.USAGE
    assert "TLS needs a certificate" in result.stderr


@pytest.mark.parametrize(
    ("known", "options", "expected"),
    [
        (None, {}, ClientFiles()),
        (None, {"cacert": "/x"}, ClientFiles(cacert="/x")),
        (KNOWN, {}, ClientFiles(cacert="/d/ca.crt", cert="/d/client crt", key="/d/client.key")),
        (
            KNOWN,
            {"cert": "/a", "key_file": "/b"},
            ClientFiles(cacert="/d/ca.crt", cert="/a", key="/b"),
        ),
        ({**KNOWN, "cert": None, "key": None}, {}, ClientFiles(cacert="/d/ca.crt")),
    ],
)
def test_client_goes_with_what_was_typed_or_the_cluster_says(
    known: TlsDocument | None, options: dict[str, Any], expected: ClientFiles
) -> None:
    status = status_document()
    status["tls"] = known

    assert client_files({"cacert": None, "cert": None, "key_file": None, **options}, status) == (
        expected
    )


# What is printed.


def test_env_tells_etcdctl_whom_to_trust(run: RunConclave, server: ManagementServer) -> None:
    server.status["tls"] = KNOWN

    lines = run("env").stdout.splitlines()

    assert "export ETCDCTL_CACERT=/d/ca.crt" in lines
    assert "export ETCDCTL_CERT='/d/client crt'" in lines
    assert document_of(run("env", "--json"))["variables"]["ETCDCTL_KEY"] == "/d/client.key"


def test_env_forgets_what_another_cluster_left(
    run: RunConclave, server: ManagementServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCDCTL_CACERT", "/of/another")

    assert "unset ETCDCTL_CACERT" in run("env").stdout.splitlines()
    assert "unset ETCDCTL_CERT" not in run("env").stdout


def test_env_unset_needs_no_cluster(run: RunConclave) -> None:
    lines = run("env", "--unset").stdout.splitlines()

    assert {"unset ETCDCTL_ENDPOINTS", "unset ETCDCTL_CACERT", "unset ETCDCTL_KEY"} <= set(lines)


def test_ready_lines_can_be_pasted_as_they_are(tmp_path: Path) -> None:
    status = status_document()
    status["tls"] = KNOWN

    lines = ready_lines(Launch(), status)

    assert lines[2] == (
        "  export ETCDCTL_CACERT=/d/ca.crt ETCDCTL_CERT='/d/client crt' ETCDCTL_KEY=/d/client.key"
    )
