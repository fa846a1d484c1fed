"""TLS of a cluster: what a user may choose, and the papers that come of it at a start.

    up --tls                                certificates of the cluster's own, below its directory
    up --cert-file … --key-file …           the user's
    … --client-cert-auth, --trusted-ca-file clients have to show one

The choice is stored with the cluster, so that it comes back as it was; the papers are looked at in
every start, by a handshake such as a client will make. What clients have to be told (`Credentials`)
is found out here too, once for everybody: supervisor, status, environment, command line.

Standard library only at its top: the choice is part of `cluster.config`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import StartFailed
from cluster.limits import require

if TYPE_CHECKING:
    from cluster.document import TlsDocument
    from transport.tls import ClientFiles, ServerFiles

DIRECTORY = "tls"
"""Of the cluster's own certificates, below its data directory."""


class Kind(Enum):
    """Whose certificates there are."""

    PLAIN = auto()
    OWN = auto()
    FILES = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterTls:
    """etcd's flags of the same names; nothing set is plain text. Paths are absolute.

    Raises:
        BadRequest: they contradict each other.
    """

    own: bool = False
    """Certificates of the cluster's own are made once, and used from then on."""
    cert_file: str = ""
    key_file: str = ""
    trusted_ca_file: str = ""
    """Clients have to show a certificate that one of these has signed."""
    client_cert_auth: bool = False
    """The same, and its common name says which user it is."""
    client_cert_file: str = ""
    """Shown by the supervisor and by our tools, where clients have to show one; "" = `cert_file`,
    as in etcd."""
    client_key_file: str = ""

    def __post_init__(self) -> None:
        """Refuse what could not be meant."""
        files = self._files()
        require(
            not (self.own and any(files.values())),
            "--tls makes certificates of the cluster's own: give it, or files, not both",
        )
        require(
            bool(self.cert_file) == bool(self.key_file),
            "--cert-file and --key-file go together",
        )
        require(
            bool(self.client_cert_file) == bool(self.client_key_file),
            "--client-cert-file and --client-key-file go together",
        )
        require(
            self.on or not (any(files.values()) or self.client_cert_auth),
            "TLS needs a certificate: --tls, or --cert-file and --key-file",
        )
        require(
            self.own or self.client_cert_auth <= bool(self.trusted_ca_file),
            "--client-cert-auth needs to know whose certificates: --trusted-ca-file",
        )
        for name, path in files.items():
            require(not path or os.path.isabs(path), f"{name} {path!r} is no absolute path")

    @property
    def on(self) -> bool:
        """Whether clients have to speak TLS."""
        return self.own or bool(self.cert_file)

    @property
    def kind(self) -> Kind:
        """Whose certificates these are."""
        if self.own:
            return Kind.OWN
        return Kind.FILES if self.cert_file else Kind.PLAIN

    @classmethod
    def from_document(cls, document: object) -> ClusterTls:
        """What `dataclasses.asdict` gave.

        Raises:
            BadRequest: it did not give this.
        """
        known = {field.name: type(field.default) for field in fields(cls)}
        good = isinstance(document, Mapping) and all(
            type(value) is known.get(name) for name, value in document.items()
        )
        require(good, f"tls is {document!r}")
        return cls(**document)  # type: ignore[arg-type]

    def _files(self) -> dict[str, str]:
        return {name: value for name, value in asdict(self).items() if name.endswith("_file")}


PLAIN = ClusterTls()


@dataclass(frozen=True, slots=True)
class Credentials:
    """The papers of a cluster that speaks TLS."""

    server: ServerFiles
    client: ClientFiles
    not_after: float
    """When the first of them expires, in seconds since 1970."""

    def document(self) -> TlsDocument:
        """For the status."""
        return {
            "cacert": self.client.cacert,
            "cert": self.client.cert or None,
            "key": self.client.key or None,
            "client_cert_auth": self.server.client_cert_auth,
            "not_after": datetime.fromtimestamp(self.not_after, UTC).isoformat(),
        }


def prepare(tls: ClusterTls, data: Path, cluster: str, host: str) -> Credentials | None:
    """Have papers, made now if they are to be the cluster's own; None = plain text.

    Raises:
        StartFailed: they cannot be made, or no client at `host` would accept them.
    """
    directory = data / DIRECTORY
    if tls.own and not directory.exists():
        from cluster.certificate import make_certificates

        try:
            make_certificates(directory, cluster, host)
        except OSError as error:
            raise StartFailed(f"cannot make certificates: {error}") from error
    return examine(tls, data, host)


def examine(tls: ClusterTls, data: Path, host: str) -> Credentials | None:
    """Look at the papers that there are; None = plain text.

    Raises:
        StartFailed: no client at `host` would accept them, or they cannot be read.
    """
    if not tls.on:
        return None
    from transport.tls.context import BadCertificate

    try:
        return _own(data / DIRECTORY, tls, host) if tls.own else _given(tls, host)
    except BadCertificate as error:
        raise StartFailed(f"TLS: {error}", hint=_hint(tls, data / DIRECTORY)) from error


def _own(directory: Path, tls: ClusterTls, host: str) -> Credentials:
    from transport.tls import ClientFiles, ServerFiles
    from transport.tls.rehearsal import rehearse

    def path(name: str) -> str:
        return str(directory / name)

    strict = tls.client_cert_auth
    server = ServerFiles(
        cert_file=path("server.crt"),
        key_file=path("server.key"),
        trusted_ca_file=path("ca.crt") if strict else "",
        client_cert_auth=strict,
    )
    cert, key = (path("client.crt"), path("client.key")) if strict else ("", "")
    client = ClientFiles(cacert=path("ca.crt"), cert=cert, key=key)
    return Credentials(server, client, rehearse(server, client, host).not_after)


def _given(tls: ClusterTls, host: str) -> Credentials:
    """Clients trust the authority that was named, if it is the server's too, and else what the
    server shows: that is all we know of it."""
    from transport.tls import ClientFiles, ServerFiles
    from transport.tls.context import BadCertificate
    from transport.tls.rehearsal import rehearse

    server = ServerFiles(
        cert_file=tls.cert_file,
        key_file=tls.key_file,
        trusted_ca_file=tls.trusted_ca_file,
        client_cert_auth=tls.client_cert_auth,
    )
    cert, key = tls.client_cert_file, tls.client_key_file
    if tls.trusted_ca_file:
        cert, key = cert or tls.cert_file, key or tls.key_file
        named = ClientFiles(cacert=tls.trusted_ca_file, cert=cert, key=key)
        try:
            return Credentials(server, named, rehearse(server, named, host).not_after)
        except BadCertificate:
            pass  # the way below tells what is wrong, if it is not just another authority
    client = ClientFiles(cacert=tls.cert_file, cert=cert, key=key)
    return Credentials(server, client, rehearse(server, client, host).not_after)


def _hint(tls: ClusterTls, directory: Path) -> str:
    if tls.own:
        return f"rm -r {directory}, and the same command again makes new ones"
    if tls.trusted_ca_file and not tls.client_cert_file:
        return (
            "--client-cert-file and --client-key-file: a certificate for the supervisor; or --tls"
        )
    return "give others: --cert-file, --key-file, --trusted-ca-file; or --tls, or --no-tls"
