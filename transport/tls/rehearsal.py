"""A handshake in memory: would a client with these papers and a member with those agree?

Whoever is about to start members asks first, because a member with papers that nobody accepts
looks healthy and serves nobody. What is wrong is told in the words that a client would hear.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from transport.tls.context import (
    BadCertificate,
    client_context,
    common_name_of,
    reason_of,
    server_context,
)
from transport.tls.files import ClientFiles, ServerFiles


@dataclass(frozen=True, slots=True)
class Facts:
    """What was learnt of the papers; times are seconds since 1970."""

    not_after: float
    """The first of the certificates shown expires then."""
    common_name: str
    """Of the client's certificate; "" = it showed none."""


def rehearse(server: ServerFiles, client: ClientFiles, host: str) -> Facts:
    """Shake hands as a client does that dials `host`.

    Raises:
        BadCertificate: a file cannot be used, or one side refuses the other.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client_context(client).wrap_bio(to_client, to_server, server_hostname=host)
    there = server_context(server).wrap_bio(to_server, to_client, server_side=True)
    arrived = False
    while not arrived:
        answered = _step(here, f"a client at {host} refuses {server.cert_file}")
        arrived = _step(there, f"{client.cert or 'a client without a certificate'} is refused")
        arrived = arrived and answered
    shown = [each.getpeercert() for each in (here, there)]
    return Facts(min(map(_expiry, filter(None, shown))), common_name_of(shown[1]))


def _step(side: ssl.SSLObject, refusal: str) -> bool:
    """Go on with what came; whether this side is done."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError as error:
        raise BadCertificate(f"{refusal}: {reason_of(error)}") from error
    return True


def _expiry(certificate: dict[str, Any]) -> float:
    return float(ssl.cert_time_to_seconds(certificate["notAfter"]))
