"""The papers of either side, by the names that etcd's options have. Plain values."""

from __future__ import annotations

import msgspec


class ServerFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What a member shows its clients, and what it wants to be shown; all files are PEM.

    Source: etcd client/pkg/transport/listener.go (TLSInfo).
    """

    cert_file: str
    """The certificate, followed by those between it and its authority."""
    key_file: str
    trusted_ca_file: str = ""
    """Authorities of clients. As in etcd every client must show a certificate when this is given;
    "" = none is asked for."""
    client_cert_auth: bool = False
    """A client's common name says which user it is, where users are known at all."""


class ClientFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What a client trusts, and what it shows; etcdctl's --cacert, --cert and --key."""

    cacert: str = ""
    """Authorities, or the very certificate of the server; "" = those that the system trusts."""
    cert: str = ""
    """"" = it shows none."""
    key: str = ""
