"""Plain HTTP on the client port, for probes and people.

    /health /livez /readyz   see `node.api.probe`
    /version                 what is served, for clients that pick features by it
    /metrics                 Prometheus text
    /debug/vars              figures as JSON, see `node.api.debug`

What is below /v3/ goes to the JSON gateway. Browsers' questions beforehand (OPTIONS) are answered
for any path, and every answer says whether the page that asked may read it; by default any may.
Source: etcd server/embed/serve.go (accessController), server/etcdserver/api/etcdhttp/version.go.
"""

from __future__ import annotations

from typing import Final

import msgspec

from node.api import debug
from node.api.gateway import Gateway
from node.api.member import Member
from node.api.metrics import CONTENT_TYPE, Metrics
from node.api.probe import JSON, TEXT, Endpoint, Probes
from node.config import minor_version
from transport.http1 import Headers, Request, Responder

ANY_ORIGIN: Final = "*"
NAME_IGNORED: Final = (
    b"CommonName of client sending a request against gateway will be ignored "
    b"and not used as expected\n"
)
"""etcd's words: through the gateway only a token says who asks, and who shows a certificate that
names a user would take another for granted."""


class HttpEndpoints:
    """Answers HTTP/1.1 requests about one member."""

    def __init__(self, member: Member, metrics: Metrics, probes: Probes, gateway: Gateway) -> None:
        """Serve `member`; `metrics` renders /metrics."""
        self._gateway = gateway
        self._member = member
        self._metrics = metrics
        self._origins = frozenset(member.limits.cors or (ANY_ORIGIN,))
        self._endpoints: dict[str, Endpoint] = {
            **probes.endpoints,
            "/version": self._version,
            "/metrics": self._scrape,
            "/debug/vars": self._variables,
        }

    def handle(self, request: Request, responder: Responder, common_name: str = "") -> None:
        """Answer one request, now or once a check has its verdict.

        `common_name` is that of the certificate which counts as a user's; "" = none does.
        """
        gateway = self._gateway.serves(request.path)
        if gateway and common_name and self._member.machine.auth.enabled:
            responder.respond(400, TEXT, NAME_IGNORED)
            return
        responder.always = self._permission(request.headers.get("origin", ""))
        if request.method == "OPTIONS":
            responder.respond(200)
        elif gateway:
            self._gateway.handle(request, responder)
        elif request.path not in self._endpoints:
            responder.respond(404, TEXT, b"404 page not found\n")
        elif request.method != "GET":
            responder.respond(405, (("allow", "GET"), *TEXT), b"Method Not Allowed\n")
        else:
            self._endpoints[request.path](request, responder)

    def _permission(self, origin: str) -> Headers:
        """What tells a browser that a page of this origin may read the answer; else nothing."""
        if ANY_ORIGIN in self._origins:
            return permission(ANY_ORIGIN)
        return permission(origin) if origin in self._origins else ()

    def _version(self, request: Request, responder: Responder) -> None:
        version = self._member.identity.version
        minor = minor_version(version)
        body = {"etcdserver": version, "etcdcluster": minor, "storage": minor}
        responder.respond(200, JSON, msgspec.json.encode(body))

    def _scrape(self, request: Request, responder: Responder) -> None:
        responder.respond(200, (("content-type", CONTENT_TYPE),), self._metrics.render())

    def _variables(self, request: Request, responder: Responder) -> None:
        content_type = (("content-type", debug.CONTENT_TYPE),)
        responder.respond(200, content_type, debug.variables(self._member))


def permission(origin: str) -> Headers:
    """The headers by which pages of an origin may read an answer."""
    return (
        ("access-control-allow-methods", "POST, GET, OPTIONS, PUT, DELETE"),
        ("access-control-allow-origin", origin),
        ("access-control-allow-headers", "accept, content-type, authorization"),
    )
