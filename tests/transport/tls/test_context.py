"""Files that are papers, and files that are none: what is said about each."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support.certificates import Papers
from transport.tls import ClientFiles, ServerFiles
from transport.tls.context import BadCertificate, client_context, common_name_of, server_context
from transport.tls.rehearsal import rehearse

HOST = "127.0.0.1"


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path / "p")


def encrypt(path: Path) -> None:
    """Give a key a password."""
    key = load_pem_private_key(path.read_bytes(), None)
    sealed = BestAvailableEncryption(b"secret")
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed))


def swap_keys(papers: Papers) -> None:
    """Give the server the client's key."""
    papers.key.write_bytes(papers.client_key.read_bytes())


SPOILS: list[tuple[Callable[[Papers], object], str]] = [
    (lambda p: p.cert.unlink(), "cannot read certificate .*server.crt: No such file"),
    (lambda p: p.key.unlink(), "cannot read key .*server.key: No such file"),
    (lambda p: p.ca.unlink(), "cannot read authority .*ca.crt: No such file"),
    (lambda p: p.cert.write_text("no"), "certificate .*server.crt or its key .* is unusable"),
    (lambda p: p.key.write_bytes(b""), "certificate .*server.crt or its key .* is unusable"),
    (lambda p: p.ca.write_text("no"), "authority .*ca.crt is unusable: no certificate or crl"),
    (lambda p: encrypt(p.key), "key .*server.key is encrypted"),
    (swap_keys, "key .*server.key does not belong to certificate .*server.crt"),
]


@pytest.mark.parametrize(("spoil", "text"), SPOILS)
def test_file_that_is_no_use_is_named(
    papers: Papers, spoil: Callable[[Papers], object], text: str
) -> None:
    spoil(papers)

    with pytest.raises(BadCertificate, match=text):
        server_context(papers.server_files(client_cert_auth=True))


@pytest.mark.parametrize("which", ["cert", "key", "ca"])
def test_file_that_goes_while_it_is_read_is_named(papers: Papers, which: str) -> None:
    """Certificates are replaced while members run, and not everybody does it by a rename."""
    path: Path = getattr(papers, which)
    content = path.read_bytes()
    path.unlink()
    os.mkfifo(path)

    def show_once() -> None:
        with open(path, "wb") as reader_is_there:
            path.unlink()
            reader_is_there.write(content)

    writer = threading.Thread(target=show_once, daemon=True)
    writer.start()
    with pytest.raises(BadCertificate, match=f"cannot read .*{path.name}.*: No such file"):
        server_context(papers.server_files(client_cert_auth=True))
    writer.join()


@pytest.mark.parametrize("field", ["cert", "key"])
def test_half_a_client_is_refused(papers: Papers, field: str) -> None:
    half = ClientFiles(cacert=str(papers.ca), **{field: str(papers.client_cert)})

    with pytest.raises(BadCertificate, match="of no use without"):
        client_context(half)


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (None, ""),
        ({}, ""),
        ({"subject": ()}, ""),
        ({"subject": ((("organizationName", "o"),),)}, ""),
        ({"subject": ((("organizationName", "o"),), (("commonName", "alice"),))}, "alice"),
        ({"subject": ((("commonName", "a"), ("commonName", "b")), (("commonName", "c"),))}, "c"),
    ],
)
def test_common_name_of(certificate: object, name: str) -> None:
    assert common_name_of(certificate) == name


# Rehearsals.


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
@pytest.mark.parametrize("strict", [False, True])
def test_papers_that_fit_tell_their_facts(papers: Papers, host: str, strict: bool) -> None:
    server = papers.server_files(client_cert_auth=strict)
    facts = rehearse(server, papers.client_files(shown=strict), host)

    assert facts.common_name == ("alice" if strict else "")
    assert facts.not_after == papers.authority.certificate.not_valid_after_utc.timestamp()


def test_certificate_is_trusted_by_itself(papers: Papers) -> None:
    facts = rehearse(papers.server_files(), ClientFiles(cacert=str(papers.cert)), HOST)

    assert facts.common_name == ""


def misfits(tmp_path: Path) -> list[tuple[ServerFiles, ClientFiles, str, str]]:
    good, other = Papers(tmp_path / "good"), Papers(tmp_path / "other")
    old = Papers(tmp_path / "old", expired=True)
    elsewhere, key = good.server("elsewhere", ["etcd.example"])
    strict = good.server_files(client_cert_auth=True)
    return [
        (old.server_files(), old.client_files(), HOST, "expired"),
        (
            ServerFiles(cert_file=str(elsewhere), key_file=str(key)),
            good.client_files(),
            HOST,
            "IP address mismatch.*127.0.0.1",
        ),
        (good.server_files(), other.client_files(), HOST, "unable to get local issuer|self-signed"),
        (strict, good.client_files(shown=False), HOST, "without a certificate is refused"),
        (
            strict,
            ClientFiles(
                cacert=str(good.ca), cert=str(other.client_cert), key=str(other.client_key)
            ),
            HOST,
            "client.crt is refused: ",
        ),
        (
            strict,
            ClientFiles(cacert=str(good.ca), cert=str(good.cert), key=str(good.key)),
            HOST,
            "server.crt is refused: un(suitable|supported) certificate purpose",
        ),
    ]


@pytest.mark.parametrize("number", range(6))
def test_papers_that_do_not_fit_say_why(tmp_path: Path, number: int) -> None:
    server, client, host, text = misfits(tmp_path)[number]

    with pytest.raises(BadCertificate, match=text):
        rehearse(server, client, host)
