"""What the flags say together: one member's settings, checked as etcd checks them. Pure.

Source: etcd server/embed/config.go (Validate, UpdateDefaultClusterFromName).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.limits import origins_of
from node.config import Limits, Ticks
from node.errors import ConfigError
from node.passwords import usable_cost
from node.retention_text import parse_retention
from node.token_option import parse as parse_token_option
from tools.etcd.errors import Refused
from tools.etcd.flag import Given
from tools.etcd.url import Url, read_members, texts
from transport.route import loopback_address
from transport.tls.files import ServerFiles

TICK_MS_MAX = 10
"""Finer than any timeout that makes sense, and cheap."""
ELECTION_MS_MAX = 50_000
NEVER_MS = 365 * 24 * 3_600_000
STREAMS = Limits().streams_max
"""More than this no connection may have, whatever is asked for."""
LEVELS = ("debug", "info", "warn", "error", "dpanic", "panic", "fatal")
LOG_FORMATS = ("json", "console")
DEFAULT_NAME = "default"
ANYWHERE = ("0.0.0.0", "::")  # noqa: S104  recognized, not bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One member as its command line asks for it."""

    name: str
    directory: Path
    client_urls: tuple[Url, ...]
    """Where to listen for clients."""
    advertised_urls: tuple[Url, ...]
    """What clients are told to dial."""
    peer_url: Url
    """Where to listen for other members, as it was given."""
    peer_address: str
    """The port of loopback that is meant by it, "host:port"."""
    peer_urls: tuple[Url, ...]
    """What other members are told to dial."""
    members: dict[str, tuple[Url, ...]]
    """The initial cluster."""
    token: str
    existing: bool
    """Join a cluster that runs."""
    ticks: Ticks
    limits: Limits
    tls: ServerFiles | None
    """What clients are shown; None = they are served in the clear."""
    log_level: str
    log_format: str
    log_outputs: tuple[str, ...]


def settle(given: Given) -> Settings:
    """Check and complete what was given.

    Raises:
        Refused: it contradicts itself, or cannot be served.
    """
    client_urls, peers = given.urls("listen-client-urls"), given.urls("listen-peer-urls")
    _check_bound(peers)
    _check_bound(client_urls)
    _check_hosts("initial-advertise-peer-urls", given.urls("initial-advertise-peer-urls"))
    _check_hosts("advertise-client-urls", given.urls("advertise-client-urls"))
    if "listen-client-urls" in given.said and "advertise-client-urls" not in given.said:
        raise Refused(
            "--advertise-client-urls is required when --listen-client-urls is set explicitly"
        )
    name = given.text("name")
    return Settings(
        name=name,
        directory=Path(given.text("data-dir") or f"{name}.etcd"),
        client_urls=client_urls,
        advertised_urls=given.urls("advertise-client-urls"),
        peer_url=peers[0],
        peer_address=_peer_address(peers),
        peer_urls=given.urls("initial-advertise-peer-urls"),
        members=_members(given, name),
        token=given.text("initial-cluster-token"),
        existing=given.text("initial-cluster-state") == "existing",
        ticks=_ticks(given.number("heartbeat-interval"), given.number("election-timeout")),
        limits=_limits(given),
        tls=_tls(given, client_urls),
        log_level=_one_of("log-level", given.text("log-level"), LEVELS),
        log_format=_one_of("log-format", given.text("log-format"), LOG_FORMATS),
        log_outputs=_log_outputs(given),
    )


def _members(given: Given, name: str) -> dict[str, tuple[Url, ...]]:
    """The initial cluster; when nobody names one, it is this member alone."""
    if "initial-cluster" not in given.said and name != DEFAULT_NAME:
        return {name: given.urls("initial-advertise-peer-urls")}
    try:
        return read_members(given.text("initial-cluster"))
    except ValueError as error:
        raise Refused(f"error setting up initial cluster: {error}") from error


def _peer_address(urls: Sequence[Url]) -> str:
    """The address behind the URL for peers; anywhere means loopback here.

    Raises:
        Refused: it is another one.
    """
    if len(urls) > 1:
        raise Refused(
            f"--listen-peer-urls has {len(urls)} URLs, and one is served", "name the first only"
        )
    [url] = urls
    host = "127.0.0.1" if url.host in ANYWHERE else url.host
    address = "" if url.secure else loopback_address(host, url.port)
    if not address:
        raise Refused(
            f"--listen-peer-urls {url.text} is not served: the members of a cluster live on one "
            "machine, and speak over loopback without TLS",
            f"--listen-peer-urls http://127.0.0.1:{url.port or 2380}",
        )
    return address


def _ticks(heartbeat_ms: int, election_ms: int) -> Ticks:
    if not heartbeat_ms:
        raise Refused("--heartbeat-interval must be >0 (set to 0ms)")
    if not election_ms:
        raise Refused("--election-timeout must be >0 (set to 0ms)")
    if 5 * heartbeat_ms > election_ms:
        raise Refused(
            f"--election-timeout[{election_ms}ms] should be at least as 5 times as "
            f"--heartbeat-interval[{heartbeat_ms}ms]"
        )
    if election_ms > ELECTION_MS_MAX:
        raise Refused(
            f"--election-timeout[{election_ms}ms] is too long, and should be set less than "
            f"{ELECTION_MS_MAX}ms"
        )
    tick_ms = min(TICK_MS_MAX, heartbeat_ms)
    return Ticks(
        tick_ms=tick_ms,
        heartbeat=round(heartbeat_ms / tick_ms),
        election=round(election_ms / tick_ms),
    )


def _limits(given: Given) -> Limits:
    """The limits that were named; those that nobody named stay what they are here."""
    changes: dict[str, Any] = {}

    def millis(flag: str) -> int:
        return round(given.span(flag) * 1000)

    sources: dict[str, tuple[str, Callable[[str], Any]]] = {
        "max-request-bytes": ("request_bytes_max", given.number),
        "max-txn-ops": ("txn_operations_max", given.number),
        "snapshot-count": ("log_entries_max", given.number),
        "snapshot-catchup-entries": ("log_entries_kept", given.number),
        "watch-progress-notify-interval": ("watch_progress_notify_ms", millis),
        "max-concurrent-streams": ("streams_max", lambda flag: min(given.number(flag), STREAMS)),
        "grpc-keepalive-min-time": ("keepalive_min_ms", lambda flag: millis(flag) or 1),
        "grpc-keepalive-interval": ("keepalive_interval_ms", lambda flag: millis(flag) or NEVER_MS),
        "grpc-keepalive-timeout": ("keepalive_timeout_ms", lambda flag: millis(flag) or NEVER_MS),
        "auth-token": ("auth_token", lambda flag: _token_option(given.text(flag))),
        "auth-token-ttl": ("auth_token_ttl_ms", lambda flag: given.number(flag) * 1000),
        "bcrypt-cost": ("bcrypt_cost", lambda flag: usable_cost(given.number(flag))),
        "metrics": (
            "metrics",
            lambda flag: _one_of(flag, given.text(flag), ("basic", "extensive")),
        ),
        "cors": ("cors", lambda flag: origins_of(given.text(flag))),
        "corrupt-check-time": ("state_check_ms", millis),
    }
    for flag, (field, value) in sources.items():
        if flag in given.said and value(flag):
            changes[field] = value(flag)
    entries = changes.get("log_entries_max")
    if entries is not None and "log_entries_kept" not in changes:
        changes["log_entries_kept"] = min(Limits().log_entries_kept, entries // 2)
    if quota := given.number("quota-backend-bytes"):
        changes["quota_backend_bytes"] = quota
    mode = changes["auto_compaction_mode"] = given.text("auto-compaction-mode")
    try:
        retention = parse_retention(mode, given.text("auto-compaction-retention"))
        return Limits(**changes, auto_compaction_retention=retention)
    except (ConfigError, ValueError) as error:
        raise Refused(str(error), "smaller values") from error


def _token_option(text: str) -> str:
    try:
        return str(parse_token_option(text))
    except ConfigError as error:
        raise Refused(str(error), "--auth-token=simple") from error


def _log_outputs(given: Given) -> tuple[str, ...]:
    _one_of("logger", given.text("logger"), ("zap",))
    outputs = tuple(dict.fromkeys(filter(None, given.text("log-outputs").split(","))))
    if "default" in outputs and len(outputs) > 1:
        raise Refused('multi logoutput for "default" is not supported yet')
    return outputs or ("default",)


def _check_bound(urls: Sequence[Url]) -> None:
    for url in urls:
        if not url.bindable:
            raise Refused(f"expected IP in URL for binding ({url.text})")


def _check_hosts(flag: str, urls: Sequence[Url]) -> None:
    for url in urls:
        if not url.unix and not url.host:
            listed = ",".join(texts(urls))
            raise Refused(f'--{flag} "{listed}" must be "host:port" (unexpected empty host)')


def _tls(given: Given, urls: Sequence[Url]) -> ServerFiles | None:
    """The certificate, where the URLs ask for one. Serving in the clear what was asked for with TLS
    would give secrets away, so all are served alike or not at all."""
    for url in urls:
        if url.unix:
            raise Refused(f"client URL {url.text} is not served: no unix sockets", "a TCP port")
    secure = [url for url in urls if url.secure]
    if not secure:
        return None
    if len(secure) < len(urls):
        listed = ",".join(texts(urls))
        raise Refused(f"client URLs {listed} are not served: some with TLS, some without")
    files = ServerFiles(
        cert_file=given.text("cert-file"),
        key_file=given.text("key-file"),
        trusted_ca_file=given.text("trusted-ca-file"),
        client_cert_auth=given.switch("client-cert-auth"),
    )
    if not files.cert_file or not files.key_file:
        raise Refused(
            "TLS key/cert (--cert-file, --key-file) must be provided for client url "
            f"{secure[0].text} with HTTPS scheme"
        )
    if files.client_cert_auth and not files.trusted_ca_file:
        raise Refused("--client-cert-auth needs --trusted-ca-file: who vouches for the clients")
    return files


def _one_of(flag: str, value: str, choices: Sequence[str]) -> str:
    if value not in choices:
        raise Refused(f'--{flag} "{value}" is not one of {", ".join(choices)}')
    return value
