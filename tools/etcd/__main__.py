"""`conclave-etcd`: from a command line to a member, in this very process.

    words, environment ──► Given ──► Settings ──► Place, Founding ──► NodeConfig ──► node.live
                           exit 2     exit 1        exit 1                    signal, or exit 1

Whoever starts it finds etcd's behaviour: ports are bound before the data is touched, the log says
when clients are served, and a signal ends it as that signal would have, once it has closed in
order. What a supervisor would give is not there (`node.__main__.Surroundings`).
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from node.config import ETCD_VERSION
from tools.etcd.errors import Refused, UsageError
from tools.etcd.flag import Given, read
from tools.etcd.flag_table import FLAGS, USAGE, help_lines
from tools.etcd.journal import Journal, open_targets
from tools.etcd.settings import Settings, settle
from tools.etcd.url import Url, texts

EXIT_FAILED = 1
EXIT_USAGE = 2
INIT = 1
"""The process id whose signals have no default."""
NAME = "conclave-etcd"
SECURE = "serving client traffic securely"
INSECURE = "serving client traffic insecurely; this is strongly discouraged!"


def main() -> NoReturn:
    """The `conclave-etcd` program."""
    code = EXIT_FAILED
    try:
        code = run(sys.argv[1:], os.environ)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # nothing may run after a member


def run(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Do what was asked for; returns the exit code, if it returns."""
    journal = Journal([2], "info", "json")  # until the flags say something else
    try:
        given = read(words, environment, FLAGS)
    except UsageError as error:
        sys.stderr.write(f"{error}\n{USAGE}\n")
        return EXIT_USAGE
    except Refused as error:
        return refuse(journal, "failed to verify flags", error)
    if given.help_wanted:
        sys.stderr.write(f"{USAGE}\n")
        sys.stdout.write("\n".join(help_lines()) + "\n")
        return 0
    if given.switch("version"):
        sys.stdout.write("\n".join(version_lines()) + "\n")
        return 0
    return start(words, given, journal)


def start(words: Sequence[str], given: Given, journal: Journal) -> int:
    """Start the member; returns the exit code, unless a signal ends it."""
    for message, facts in given.warnings:
        journal.write("warn", message, facts)
    if given.said & {"cert-file", "key-file"}:
        for url in given.urls("listen-client-urls"):
            if not url.secure:
                what = "scheme is http while key and cert files are present; ignoring them"
                journal.write("warn", what, {"client-url": url.text})
    try:
        settings = settle(given)
        targets = open_targets(settings.log_outputs)
    except (Refused, OSError) as error:
        return refuse(journal, "failed to verify flags", error)
    journal = Journal(targets, settings.log_level, settings.log_format)
    journal.write("info", "Running: ", {"args": [NAME, *words]})
    if "data-dir" not in given.said:
        facts = {"data-dir": str(settings.directory)}
        journal.write("warn", "'data-dir' was empty; using default", facts)
    # Here, so that --help and --version do not load a member.
    from tools.etcd.beginning import begin

    journal.write("info", "configuring peer listeners", listening("peer", [settings.peer_url]))
    journal.write("info", "configuring client listeners", listening("client", settings.client_urls))
    try:
        listeners = [listen(url) for url in settings.client_urls]
        place, record = begin(settings, journal)
    except (Refused, OSError) as error:
        return refuse(journal, "failed to start etcd", error)
    from node.__main__ import EXIT_REMOVED, Surroundings, live
    from tools.etcd.beginning import node_config

    def serving() -> None:
        if not record.served:
            place.save(replace(record, served=True))

    journal.on_serving = serving
    journal.ready = lambda: tell_ready(journal, settings)
    with suppress(OSError):
        Path("/proc/self/comm").write_text(NAME)
    config = node_config(settings, place, record)
    end = live(config, Surroundings(journal, listeners=tuple(listeners)))
    journal.write("info", "closed etcd server")
    if end.signal:
        die_of(end.signal)
    return 0 if end.code == EXIT_REMOVED else end.code and EXIT_FAILED


def die_of(number: int) -> None:
    """End as the signal would have ended this process; the first process of a container returns,
    because signals without a handler do not reach it."""
    if os.getpid() != INIT:
        sys.stdout.flush()
        sys.stderr.flush()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def listen(url: Url) -> socket.socket:
    """A socket that listens; clients that come early wait in it.

    Raises:
        OSError: in Go's words; the address is taken, or not ours.
    """
    family = socket.AF_INET6 if ":" in url.bind_host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((url.bind_host, url.port))
        listener.listen(512)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise OSError(error.errno, f"listen tcp {url.address}: bind: {reason}") from error
    return listener


def tell_ready(journal: Journal, settings: Settings) -> None:
    """The lines that programs wait for, and the word for an init daemon."""
    urls = {"ClientURLs": list(texts(settings.advertised_urls)), "Name": settings.name}
    journal.write(
        "info",
        "published local member to cluster through raft",
        {"local-member-attributes": urls},
    )
    notify(journal)
    for url in settings.client_urls:
        journal.write("info", "ready to serve client requests")
        facts = {"traffic": "grpc+http", "address": url.address}
        journal.write("info", SECURE if url.secure else INSECURE, facts)


def notify(journal: Journal) -> None:
    """Tell an init daemon that waits (systemd's Type=notify) that this member is ready."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    journal.write("info", "notifying init daemon")
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.connect("\0" + address[1:] if address.startswith("@") else address)
        daemon.send(b"READY=1")


def refuse(journal: Journal, message: str, error: Refused | OSError) -> int:
    """Say why there is no member."""
    reason = str(error) if isinstance(error, Refused) else error.strerror or str(error)
    facts = {"error": reason}
    if isinstance(error, Refused) and error.hint:
        facts["hint"] = error.hint
    journal.write("fatal", message, facts)
    return EXIT_FAILED


def listening(what: str, urls: Sequence[Url]) -> dict[str, list[str]]:
    """The fact of a line about listeners."""
    return {f"listen-{what}-urls": list(texts(urls))}


def version_lines() -> list[str]:
    """What `--version` prints: the etcd whose behaviour is served, and what serves it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("conclave-cluster")
    except PackageNotFoundError:
        own = "0"
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return [
        f"etcd Version: {ETCD_VERSION}",
        f"Git SHA: conclave-{own}",
        f"Go Version: none (Python {platform.python_version()})",
        f"Go OS/Arch: {sys.platform}/{machine}",
    ]


if __name__ == "__main__":
    main()
