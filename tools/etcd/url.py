"""URLs as etcd takes them: a scheme that it knows, host and port, no path.

Source: etcd client/pkg/types/urls.go (NewURLs), urlsmap.go (NewURLsMap), server/embed/config.go
(checkBindURLs).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

SCHEMES = ("http", "https", "unix", "unixs")


@dataclass(frozen=True, slots=True, order=True)
class Url:
    """One URL; sorted by its text, as etcd sorts them."""

    text: str
    scheme: str
    host: str
    """Without the brackets of IPv6; "" for a unix socket."""
    port: int

    @property
    def secure(self) -> bool:
        """Whether it asks for TLS."""
        return self.scheme in ("https", "unixs")

    @property
    def unix(self) -> bool:
        """Whether it is a unix socket."""
        return self.scheme in ("unix", "unixs")

    @property
    def bind_host(self) -> str:
        """The address to listen at; localhost is 127.0.0.1, as Go prefers it."""
        return "127.0.0.1" if self.host == "localhost" else self.host

    @property
    def address(self) -> str:
        """host:port as Go writes it."""
        host = f"[{self.bind_host}]" if ":" in self.bind_host else self.bind_host
        return f"{host}:{self.port}"

    @property
    def bindable(self) -> bool:
        """Whether the host is one that may be listened at: an address, or localhost."""
        try:
            ipaddress.ip_address(self.bind_host)
        except ValueError:
            return self.unix
        return True


def read_url(text: str) -> Url:
    """Read one URL.

    Raises:
        ValueError: in etcd's words.
    """
    text = text.strip()
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"URL scheme must be http, https, unix, or unixs: {text}")
    if parts.scheme in ("unix", "unixs"):
        return Url(text, parts.scheme, "", 0)
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        port = None
    if port is None:
        raise ValueError(f'URL address does not have the form "host:port": {text}')
    if parts.path:
        raise ValueError(f"URL must not contain a path: {text}")
    return Url(text, parts.scheme, host, port)


def read_urls(text: str) -> tuple[Url, ...]:
    """Read a list with commas; sorted, and each once.

    Raises:
        ValueError: one of them is none.
    """
    return tuple(sorted({read_url(part) for part in text.split(",")}))


def read_members(text: str) -> dict[str, tuple[Url, ...]]:
    """Read an initial cluster: `name=url` with commas; a name may stand there more than once.

    Raises:
        ValueError: a URL is none.
    """
    found: dict[str, list[Url]] = {}
    for part in filter(None, text.split(",")):
        name, _, url = part.partition("=")
        found.setdefault(name, []).append(read_url(url))
    return {name: tuple(sorted(urls)) for name, urls in found.items()}


def texts(urls: Iterable[Url]) -> tuple[str, ...]:
    """The URLs as they were written."""
    return tuple(url.text for url in urls)
