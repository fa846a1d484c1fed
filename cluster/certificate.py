"""Certificates of a cluster's own: an authority, and what it says about the members and a client.

    ca.crt ca.key          the authority; it signs nothing but these, and serves this cluster only
    server.crt server.key  for localhost, 127.0.0.1, ::1 and the host that the members listen on
    client.crt client.key  for root, which is what etcd calls the user who may do everything

They are made once and then used again, for as long as they are valid: whoever has been told of the
authority need not be told again. All or nothing: they appear by one rename. The package
`cryptography` is imported here only, and only when certificates are made (ADR 11); that they are
good is judged by a handshake (`transport.tls.rehearsal`), as it is for anybody's.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

VALID_DAYS = 3_650
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
CLIENT_NAME = "root"
EARLIER = timedelta(hours=1)
"""Valid since a little before, for clients whose clock is a little behind."""


class Authority:
    """Signs certificates; in memory until `write`."""

    def __init__(self, name: str, *, since: datetime | None = None, days: int = VALID_DAYS) -> None:
        """Draw its key; everything that it signs is valid as long as it is itself."""
        self._since = since or datetime.now(UTC) - EARLIER
        self._until = self._since + timedelta(days=days)
        self._name = name
        self.key = new_key()
        self.certificate = self._sign(name, self.key, authority=True)

    def server(self, name: str, hosts: Iterable[str]) -> tuple[x509.Certificate, bytes]:
        """A certificate for hosts or addresses, and its key in PEM."""
        key = new_key()
        return self._sign(name, key, hosts=tuple(hosts)), key_pem(key)

    def client(self, name: str) -> tuple[x509.Certificate, bytes]:
        """A certificate with a common name, and its key in PEM."""
        key = new_key()
        return self._sign(name, key), key_pem(key)

    def _sign(
        self,
        name: str,
        key: EllipticCurvePrivateKey,
        *,
        authority: bool = False,
        hosts: tuple[str, ...] = (),
    ) -> x509.Certificate:
        from cryptography import x509
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.x509.oid import ExtendedKeyUsageOID

        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(self._name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._since)
            .not_valid_after(self._until)
            .add_extension(x509.BasicConstraints(authority, 0 if authority else None), True)
            .add_extension(_usage(authority=authority), True)
            .add_extension(own, False)
            .add_extension(signer, False)
        )
        if not authority:
            purpose = "SERVER_AUTH" if hosts else "CLIENT_AUTH"
            purposes = x509.ExtendedKeyUsage([getattr(ExtendedKeyUsageOID, purpose)])
            builder = builder.add_extension(purposes, False)
        if hosts:
            names = x509.SubjectAlternativeName(map(_host_name, hosts))
            builder = builder.add_extension(names, False)
        return builder.sign(self.key, SHA256())


def make_certificates(directory: Path, cluster: str, host: str) -> None:
    """Make a cluster's own below `directory`, which is not there yet.

    Raises:
        OSError: it cannot be written.
    """
    authority = Authority(f"conclave {cluster}")
    unfinished = directory.with_name(directory.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a supervisor that died here
    unfinished.mkdir(mode=0o700)
    server = authority.server(f"conclave {cluster}", dict.fromkeys((*LOCAL_NAMES, host)))
    client = authority.client(CLIENT_NAME)
    for name, (certificate, key) in {
        "ca": (authority.certificate, key_pem(authority.key)),
        "server": server,
        "client": client,
    }.items():
        write_private(unfinished / f"{name}.crt", certificate_pem(certificate))
        write_private(unfinished / f"{name}.key", key)
    os.replace(unfinished, directory)
    _sync(directory)
    _sync(directory.parent)


def new_key() -> EllipticCurvePrivateKey:
    """Draw a key: P-256, which every client knows and which signs fastest."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """As it stands in a file."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def key_pem(key: EllipticCurvePrivateKey) -> bytes:
    """As it stands in a file, in the clear: whoever may read it may use it."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_private(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read, durably."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _named(name: str) -> x509.Name:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _host_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
