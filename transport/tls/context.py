"""From files to `ssl` contexts, with errors that name the file and what is wrong with it.

TLS 1.2 is the least, as in etcd. Renegotiation is refused, as Go's servers refuse it: it lets a
client make a server work, and in the middle of a stream that nobody reads.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from transport.errors import TransportError
from transport.tls.files import ClientFiles, ServerFiles

ALPN: Final = ("http/1.1", "h2")
"""In the order of preference. gRPC clients offer the second only, and gRPC is what it carries here;
who offers both (curl, Prometheus, browsers) means the plain endpoints, which are HTTP/1.1."""


class BadCertificate(TransportError):
    """A certificate, a key or an authority that cannot be used; the text names the file."""


def server_context(files: ServerFiles) -> ssl.SSLContext:
    """What a member accepts clients with.

    Raises:
        BadCertificate: a file cannot be read or used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(ALPN)
    _load_chain(context, files.cert_file, files.key_file)
    if files.trusted_ca_file:
        _load_authorities(context, files.trusted_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(files: ClientFiles) -> ssl.SSLContext:
    """What a client of ours connects with; it checks the name or address that it dialled.

    A certificate in `cacert` is trusted although it is no authority's, as Go's clients do it, so
    that a certificate signed by itself needs no authority beside it.

    Raises:
        BadCertificate: a file cannot be read or used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["h2"])
    if files.cacert:
        _load_authorities(context, files.cacert)
    else:
        context.load_default_certs()
    if bool(files.cert) != bool(files.key):
        given, lacking = ("certificate", "key") if files.cert else ("key", "certificate")
        raise BadCertificate(f"a client's {given} is of no use without its {lacking}")
    if files.cert:
        _load_chain(context, files.cert, files.key)
    return context


def common_name_of(certificate: object) -> str:
    """The common name of a verified certificate, as `SSLObject.getpeercert` describes it.

    The last one counts if there are several; "" if there is none, or no certificate.
    Source: Go crypto/x509/pkix (Name.FillFromRDNSequence).
    """
    if not isinstance(certificate, dict):
        return ""
    names = [
        value
        for parts in certificate.get("subject", ())
        for name, value in parts
        if name == "commonName"
    ]
    return str(names[-1]) if names else ""


def reason_of(error: ssl.SSLError) -> str:
    """What OpenSSL has to say, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    return (error.reason or str(error)).lower().replace("_", " ")


def _load_chain(context: ssl.SSLContext, cert_file: str, key_file: str) -> None:
    _readable("certificate", cert_file)
    _readable("key", key_file)

    def refuse_password() -> str:
        raise BadCertificate(f"key {key_file} is encrypted, and nobody is there to type a password")

    try:
        context.load_cert_chain(cert_file, key_file, refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            text = f"key {key_file} does not belong to certificate {cert_file}"
        else:
            text = f"certificate {cert_file} or its key {key_file} is unusable: {reason_of(error)}"
        raise BadCertificate(text) from error
    except OSError as error:  # gone since: somebody is about to replace them
        text = f"cannot read certificate {cert_file} or its key {key_file}: {error.strerror}"
        raise BadCertificate(text) from error


def _load_authorities(context: ssl.SSLContext, path: str) -> None:
    _readable("authority", path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise BadCertificate(f"authority {path} is unusable: {reason_of(error)}") from error
    except OSError as error:  # gone since
        raise BadCertificate(f"cannot read authority {path}: {error.strerror}") from error


def _readable(what: str, path: str) -> None:
    """`ssl` does not say which of its files it could not read."""
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise BadCertificate(f"cannot read {what} {path}: {error.strerror}") from error
