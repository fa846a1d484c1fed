"""Certificates for tests: an authority in a folder of its own, and whatever it is asked to sign."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from cluster.certificate import LOCAL_NAMES, Authority, certificate_pem, write_private
from transport.tls import ClientFiles, ServerFiles


class Papers:
    """One authority, a server and a client that it vouches for, all valid now unless asked."""

    def __init__(self, directory: Path, *, expired: bool = False, name: str = "alice") -> None:
        """Write the files into `directory`, which is made."""
        directory.mkdir(parents=True)
        self.directory = directory
        since = datetime.now(UTC) - timedelta(days=30) if expired else None
        self.authority = Authority("a test", since=since, days=20)
        self.ca = directory / "ca.crt"
        write_private(self.ca, certificate_pem(self.authority.certificate))
        self.cert, self.key = self.server("server", LOCAL_NAMES)
        self.client_cert, self.client_key = self.client("client", name)

    def server(self, file: str, hosts: Iterable[str]) -> tuple[Path, Path]:
        """Sign a certificate for hosts."""
        return self._write(file, *self.authority.server("a server", hosts))

    def client(self, file: str, name: str) -> tuple[Path, Path]:
        """Sign a certificate for a user."""
        return self._write(file, *self.authority.client(name))

    def server_files(self, *, client_cert_auth: bool = False) -> ServerFiles:
        """What a member is told."""
        return ServerFiles(
            cert_file=str(self.cert),
            key_file=str(self.key),
            trusted_ca_file=str(self.ca) if client_cert_auth else "",
            client_cert_auth=client_cert_auth,
        )

    def client_files(self, *, shown: bool = True) -> ClientFiles:
        """What a client is told."""
        if not shown:
            return ClientFiles(cacert=str(self.ca))
        cert, key = str(self.client_cert), str(self.client_key)
        return ClientFiles(cacert=str(self.ca), cert=cert, key=key)

    def _write(self, file: str, certificate: x509.Certificate, key: bytes) -> tuple[Path, Path]:
        paths = self.directory / f"{file}.crt", self.directory / f"{file}.key"
        write_private(paths[0], certificate_pem(certificate))
        write_private(paths[1], key)
        return paths
