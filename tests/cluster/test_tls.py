"""What a user may choose about TLS, and the papers that come of it."""

from __future__ import annotations

import stat
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import load_pem_x509_certificate

from cluster.certificate import make_certificates
from cluster.config import ClusterConfig
from cluster.errors import BadRequest, StartFailed
from cluster.tls import PLAIN, ClusterTls, examine, prepare
from tests.support.certificates import Papers

HOST = "127.0.0.1"
OWN = ClusterTls(own=True)
STRICT = ClusterTls(own=True, client_cert_auth=True)


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path / "papers")


def given(papers: Papers, **more: Any) -> ClusterTls:
    """A user's own certificate."""
    return ClusterTls(cert_file=str(papers.cert), key_file=str(papers.key), **more)


# The choice.


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"own": True, "cert_file": "/c", "key_file": "/k"}, "not both"),
        ({"own": True, "trusted_ca_file": "/ca"}, "not both"),
        ({"cert_file": "/c"}, "--cert-file and --key-file go together"),
        ({"key_file": "/k"}, "--cert-file and --key-file go together"),
        ({"client_cert_auth": True}, "TLS needs a certificate"),
        ({"trusted_ca_file": "/ca"}, "TLS needs a certificate"),
        ({"cert_file": "/c", "key_file": "/k", "client_cert_auth": True}, "--trusted-ca-file"),
        ({"cert_file": "/c", "key_file": "/k", "client_cert_file": "/x"}, "--client-key-file"),
        ({"cert_file": "c", "key_file": "/k"}, "no absolute path"),
    ],
)
def test_choice_that_contradicts_itself_is_refused(choice: dict[str, Any], text: str) -> None:
    with pytest.raises(BadRequest, match=text):
        ClusterTls(**choice)


@pytest.mark.parametrize(
    "tls",
    [
        PLAIN,
        OWN,
        STRICT,
        ClusterTls(cert_file="/c", key_file="/k", trusted_ca_file="/ca", client_cert_auth=True),
    ],
)
def test_choice_is_stored_with_the_cluster(tls: ClusterTls) -> None:
    config = ClusterConfig(tls=tls)

    assert ClusterConfig.from_document(config.document()) == config
    assert ClusterTls.from_document(asdict(tls)) == tls


def test_cluster_of_an_earlier_release_speaks_plain_text() -> None:
    document = ClusterConfig().document()
    del document["tls"]

    assert ClusterConfig.from_document(document).tls == PLAIN


@pytest.mark.parametrize("found", [None, [], "own", {"own": 1}, {"cert_file": None}, {"more": ""}])
def test_stored_choice_that_is_none_is_refused(found: object) -> None:
    with pytest.raises(BadRequest, match="tls is"):
        ClusterConfig.from_document({"tls": found})


# A cluster's own.


def test_plain_text_needs_no_papers(tmp_path: Path) -> None:
    assert prepare(PLAIN, tmp_path, "c", HOST) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tls", [OWN, STRICT])
def test_own_papers_are_made_once_and_for_their_owner_only(tmp_path: Path, tls: ClusterTls) -> None:
    first = prepare(tls, tmp_path, "c", HOST)
    files = {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()}
    again = prepare(tls, tmp_path, "c", HOST)

    assert first is not None
    assert again == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()} == files
    assert sorted(files) == [
        *("ca.crt", "ca.key", "client.crt", "client.key", "server.crt", "server.key")
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tls").iterdir()} == {0o600}
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    shown = (str(tmp_path / "tls/client.crt"), str(tmp_path / "tls/client.key"))
    assert (first.client.cert, first.client.key) == (shown if tls is STRICT else ("", ""))


def test_papers_that_were_half_made_are_made_again(tmp_path: Path) -> None:
    (tmp_path / "tls.new").mkdir()
    (tmp_path / "tls.new/ca.crt").write_text("half")

    assert prepare(OWN, tmp_path, "c", HOST) is not None
    assert not (tmp_path / "tls.new").exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.2", "etcd.example"])
def test_own_papers_are_for_this_host(tmp_path: Path, host: str) -> None:
    assert prepare(STRICT, tmp_path, "c", host) is not None


def test_own_client_is_root(tmp_path: Path) -> None:
    make_certificates(tmp_path / "tls", "c", HOST)
    client = load_pem_x509_certificate((tmp_path / "tls/client.crt").read_bytes())

    assert client.subject.rfc4514_string() == "CN=root"


@pytest.mark.parametrize("spoilt", ["server.key", "ca.crt"])
def test_own_papers_that_are_no_use_are_named_with_the_way_out(tmp_path: Path, spoilt: str) -> None:
    prepare(OWN, tmp_path, "c", HOST)
    (tmp_path / "tls" / spoilt).write_text("")

    with pytest.raises(StartFailed, match=spoilt) as raised:
        prepare(OWN, tmp_path, "c", HOST)
    assert raised.value.hint.startswith(f"rm -r {tmp_path / 'tls'}")


# A user's.


def test_certificate_alone_is_what_clients_trust(papers: Papers, tmp_path: Path) -> None:
    found = prepare(given(papers), tmp_path, "c", HOST)

    assert found is not None
    assert (found.client.cacert, found.client.cert) == (str(papers.cert), "")
    assert found.document()["cert"] is None
    assert not (tmp_path / "tls").exists()


def test_authority_of_both_sides_is_what_clients_trust(papers: Papers, tmp_path: Path) -> None:
    tls = given(
        papers,
        trusted_ca_file=str(papers.ca),
        client_cert_file=str(papers.client_cert),
        client_key_file=str(papers.client_key),
    )
    found = prepare(tls, tmp_path, "c", HOST)

    assert found is not None
    assert found.document() == {
        "cacert": str(papers.ca),
        "cert": str(papers.client_cert),
        "key": str(papers.client_key),
        "client_cert_auth": False,
        "not_after": papers.authority.certificate.not_valid_after_utc.isoformat(),
    }


def test_authority_of_clients_need_not_be_the_servers(papers: Papers, tmp_path: Path) -> None:
    clients = Papers(tmp_path / "clients")
    tls = given(
        papers,
        trusted_ca_file=str(clients.ca),
        client_cert_auth=True,
        client_cert_file=str(clients.client_cert),
        client_key_file=str(clients.client_key),
    )
    found = examine(tls, tmp_path, HOST)

    assert found is not None
    assert found.client.cacert == str(papers.cert)


def test_supervisor_without_a_certificate_of_its_own_says_so(
    papers: Papers, tmp_path: Path
) -> None:
    # As in etcd it shows the server's, which is good for servers only.
    with pytest.raises(StartFailed, match=r"server\.crt is refused") as raised:
        prepare(given(papers, trusted_ca_file=str(papers.ca)), tmp_path, "c", HOST)

    assert "--client-cert-file" in raised.value.hint


@pytest.mark.parametrize(
    ("hosts", "expired", "text"),
    [([HOST], True, "expired"), (["etcd.example"], False, "mismatch.*127.0.0.1")],
)
def test_certificate_that_no_client_would_accept_is_refused(
    tmp_path: Path, hosts: list[str], expired: bool, text: str
) -> None:
    papers = Papers(tmp_path / "bad", expired=expired)
    cert, key = papers.server("bad", hosts)

    with pytest.raises(StartFailed, match=text) as raised:
        prepare(ClusterTls(cert_file=str(cert), key_file=str(key)), tmp_path, "c", HOST)
    assert "--no-tls" in raised.value.hint
