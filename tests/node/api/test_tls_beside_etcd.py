"""Who is let in, by this client port and by a real etcd with the same certificates."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.api_member import ApiMember, ServedMember
from tests.support.certificates import Papers
from tests.support.etcd_process import BINARY, START_SECONDS_MAX, free_ports
from transport.tls import ClientFiles, ServerFiles
from transport.tls.context import client_context

GET = b"GET /version HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
Client = Callable[["Cast"], ssl.SSLContext | None]


@dataclass(frozen=True)
class Cast:
    """All papers that play a part."""

    good: Papers
    other: Papers
    expired: Papers


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Cast:
    directory = tmp_path_factory.mktemp("papers")
    return Cast(
        Papers(directory / "good"),
        Papers(directory / "other"),
        Papers(directory / "expired", expired=True),
    )


def shows(trusted: Path, cert: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """A client of HTTP/1.1 with these papers."""
    files = ClientFiles(
        cacert=str(trusted), cert=str(cert) if cert else "", key=str(key) if key else ""
    )
    context = client_context(files)
    context.set_alpn_protocols(["http/1.1"])
    return context


def at_most_1_1(cast: Cast) -> ssl.SSLContext:
    """A client from before TLS 1.2."""
    context = shows(cast.good.ca, cast.good.client_cert, cast.good.client_key)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def at_most_1_2(cast: Cast) -> ssl.SSLContext:
    context = shows(cast.good.ca, cast.good.client_cert, cast.good.client_key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


CLIENTS: dict[str, Client] = {
    "plain": lambda cast: None,
    "shows nothing": lambda cast: shows(cast.good.ca),
    "shows its own": lambda c: shows(c.good.ca, c.good.client_cert, c.good.client_key),
    "shows another's": lambda c: shows(c.good.ca, c.other.client_cert, c.other.client_key),
    "shows an old one": lambda c: shows(c.good.ca, c.expired.client_cert, c.expired.client_key),
    "shows the server's": lambda c: shows(c.good.ca, c.good.cert, c.good.key),
    "trusts another": lambda c: shows(c.other.ca, c.good.client_cert, c.good.client_key),
    "speaks TLS 1.2": at_most_1_2,
    "speaks TLS 1.1": at_most_1_1,
}


def server_files(cast: Cast, kind: str) -> ServerFiles | None:
    """What a server of a kind is told."""
    if kind == "plain":
        return None
    return ServerFiles(
        cert_file=str(cast.good.cert),
        key_file=str(cast.good.key),
        trusted_ca_file=str(cast.good.ca) if kind != "TLS" else "",
        client_cert_auth=kind == "client-cert-auth",
    )


def let_in(port: int, context: ssl.SSLContext | None) -> bool:
    """Whether a client gets an answer."""
    said = b""
    with (
        contextlib.suppress(ssl.SSLError, ConnectionError),
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        contextlib.ExitStack() as stack,
    ):
        over = plain
        if context is not None:
            over = stack.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
        over.sendall(GET)
        while piece := over.recv(4096):
            said += piece
    return said.startswith(b"HTTP/1.1 200")


@contextlib.contextmanager
def secure_etcd(directory: Path, files: ServerFiles | None) -> Iterator[int]:
    """A real etcd with these papers; gives the port of its clients."""
    client, peer = free_ports(2)
    url = f"{'http' if files is None else 'https'}://localhost:{client}"
    command = [
        *(str(BINARY), "--unsafe-no-fsync", "--log-level=panic", f"--data-dir={directory}/data"),
        f"--listen-client-urls={url.replace('localhost', '127.0.0.1')}",
        f"--advertise-client-urls={url}",
        *(
            f"--{what}-peer-urls=http://127.0.0.1:{peer}"
            for what in ("listen", "initial-advertise")
        ),
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
    ]
    if files is not None:
        command += [f"--cert-file={files.cert_file}", f"--key-file={files.key_file}"]
        command += [f"--trusted-ca-file={files.trusted_ca_file}"] if files.trusted_ca_file else []
        command += ["--client-cert-auth"] if files.client_cert_auth else []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield client
    finally:
        process.kill()
        process.wait()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("kind", ["plain", "TLS", "trusted-ca-file", "client-cert-auth"])
def test_the_same_clients_are_let_in(cast: Cast, kind: str, tmp_path: Path) -> None:
    files = server_files(cast, kind)
    welcome = CLIENTS["plain" if kind == "plain" else "shows its own"]
    with ServedMember(ApiMember(), tls=files) as served:
        ours = {name: let_in(served.port, make(cast)) for name, make in CLIENTS.items()}
    with secure_etcd(tmp_path, files) as port:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not let_in(port, welcome(cast)):
            assert time.monotonic() < deadline, "etcd does not serve"
        theirs = {name: let_in(port, make(cast)) for name, make in CLIENTS.items()}

    assert ours == theirs
    assert {True, False} == set(ours.values())
