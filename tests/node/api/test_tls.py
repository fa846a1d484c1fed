"""The client port with certificates, as real clients find it."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from node.api.call import Call
from node.config import Limits
from node.proto import rpc
from tests.support.api_client import ApiClient, Failed
from tests.support.api_member import ApiMember, ServedMember
from tests.support.auth_client import enable, make_users
from tests.support.certificates import Papers
from tests.support.curl import run_curl
from tests.support.etcdctl import Etcdctl
from tests.support.raw_client import RawClient
from transport.grpc import ClientEvent, MessageReceived
from transport.http2.limits import Limits as Http2Limits
from transport.tls.connection import BAD_CERTIFICATE, NO_CERTIFICATE, NOT_TLS
from transport.tls.context import client_context

RANGE = "/etcdserverpb.KV/Range"
READ = rpc.RangeRequest(key=b"k", serializable=True).SerializeToString()
WATCH = "/etcdserverpb.Watch/Watch"
UNAVAILABLE = 14


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers") / "p")


@pytest.fixture
def secure(papers: Papers) -> Iterator[ServedMember]:
    """A member that shows a certificate and asks for none."""
    with ServedMember(ApiMember(), tls=papers.server_files()) as served:
        yield served


@pytest.fixture
def strict(papers: Papers) -> Iterator[ServedMember]:
    """A member whose clients have to show one."""
    with ServedMember(ApiMember(), tls=papers.server_files(client_cert_auth=True)) as served:
        yield served


def curl(papers: Papers, served: ServedMember, path: str, *options: str) -> tuple[str, str]:
    """Body and HTTP version that curl gets; it fails the test if it gets none."""
    told = ["--cacert", str(papers.ca), "-w", "\n%{http_version}"]
    done = run_curl(*told, *options, f"https://127.0.0.1:{served.port}{path}")
    assert done.returncode == 0, done.stderr
    body, _, version = done.stdout.rpartition("\n")
    return body, version


def causes(served: ServedMember) -> dict[str, int]:
    """Why clients were sent away so far."""
    return served.call(lambda: dict(served.client_port.refusals.causes))


def cut_off(connection: socket.socket) -> bytes:
    """All that the server says before it closes, in whatever way."""
    said = b""
    try:
        while piece := connection.recv(4096):
            said += piece
    except ConnectionResetError:
        pass
    return said


# Real clients.


def test_grpcio_calls_and_watches(secure: ServedMember, papers: Papers) -> None:
    tls = papers.client_files(shown=False)
    with ApiClient(f"localhost:{secure.port}", tls) as client:
        client.put(b"k", bytes(1_000_000))
        found = client.get(b"k")

    assert found.kvs[0].value == bytes(1_000_000)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("trusted", ["ca", "cert"])
def test_etcdctl_puts_and_gets(
    strict: ServedMember, papers: Papers, host: str, trusted: str
) -> None:
    shown = papers.client_files()
    etcdctl = Etcdctl([f"https://{host}:{strict.port}"])
    cacert = str(getattr(papers, trusted))  # the certificate itself will do
    options = ["--cacert", cacert, "--cert", shown.cert, "--key", shown.key]

    assert etcdctl.done(*options, "put", "k", "v") == "OK\n"
    assert etcdctl.done(*options, "get", "k") == "k\nv\n"


@pytest.mark.parametrize("options", [[], ["--http1.1"], ["--http2"]])
def test_curl_is_served_as_it_comes(
    secure: ServedMember, papers: Papers, options: list[str]
) -> None:
    body, version = curl(papers, secure, "/version", *options)

    assert json.loads(body)["etcdserver"]
    assert version == "1.1"


def test_http_2_carries_grpc_only(secure: ServedMember, papers: Papers) -> None:
    options = ("--http2-prior-knowledge", "--no-alpn", "-o", "/dev/null")
    status, version = curl(
        papers, secure, "/version", *options, "-w", "%{http_code}\n%{http_version}"
    )

    assert (status, version) == ("415", "2")


def test_gateway_is_served(secure: ServedMember, papers: Papers) -> None:
    body, _ = curl(papers, secure, "/v3/kv/put", "--http1.1", "-d", '{"key":"aw==","value":"dg=="}')

    assert json.loads(body)["header"]["revision"] == "2"


def test_client_with_another_authority_finds_no_server(
    secure: ServedMember, tmp_path: Path
) -> None:
    other = Papers(tmp_path / "other").client_files()
    with ApiClient(f"localhost:{secure.port}", other) as client:
        answer = client.raw(RANGE, READ)

    assert isinstance(answer, Failed)
    assert answer.code == UNAVAILABLE


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_renegotiation_is_refused(secure: ServedMember, papers: Papers) -> None:
    command = ["openssl", "s_client", "-tls1_2", "-CAfile", str(papers.ca)]
    done = subprocess.run(
        [*command, "-connect", f"127.0.0.1:{secure.port}"],
        input="R\nR\n",
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert "Secure Renegotiation IS supported" in done.stdout  # it could, if we would
    assert "no renegotiation" in done.stderr


# Who may come in.


def test_client_without_certificate_is_refused(strict: ServedMember, papers: Papers) -> None:
    with ApiClient(f"localhost:{strict.port}", papers.client_files(shown=False)) as client:
        answer = client.raw(RANGE, READ)

    assert isinstance(answer, Failed)
    assert answer.code == UNAVAILABLE
    assert set(causes(strict)) == {NO_CERTIFICATE}
    event, facts = strict.said[0]
    assert (event, facts["cause"]) == ("client.refused", repr(NO_CERTIFICATE))


def test_expired_client_certificate_is_refused(
    strict: ServedMember, papers: Papers, tmp_path: Path
) -> None:
    old = Papers(tmp_path / "old", expired=True).client_files()
    context = client_context(papers.client_files(shown=False))
    context.load_cert_chain(old.cert, old.key)
    # With TLS 1.3 the client is done before the server has seen its certificate.
    with RawClient(strict.port, tls=context) as client, pytest.raises(ssl.SSLError):
        client.wait(bool)

    assert causes(strict) == {BAD_CERTIFICATE: 1}


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n"])
def test_plain_text_is_closed_and_counted(secure: ServedMember, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), timeout=10) as connection:
        connection.sendall(said)

        assert b"HTTP" not in cut_off(connection)
    assert causes(secure) == {NOT_TLS: 1}
    secure.wait(lambda: secure.client_port.connections == 0)


def test_tls_on_a_plain_port_is_closed_and_counted(served: ServedMember, papers: Papers) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        RawClient(served.port, tls=client_context(papers.client_files()))

    assert causes(served) == {"tls in plain text": 1}
    served.wait(lambda: served.client_port.connections == 0)


def test_handshakes_count_as_connections(papers: Papers) -> None:
    member = ApiMember(Limits(connections_max=1))
    with (
        ServedMember(member, tls=papers.server_files()) as served,
        socket.create_connection(("127.0.0.1", served.port), timeout=10) as silent,
    ):
        served.wait(lambda: served.client_port.connections == 1)
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as other:
            assert cut_off(other) == b""
        silent.close()
        served.wait(lambda: served.client_port.connections == 0)
        with RawClient(served.port, tls=client_context(papers.client_files())) as client:
            client.unary(RANGE, READ)
            client.wait(bool)

        assert served.call(lambda: served.client_port.refused) == 1


# Who is there.


@pytest.mark.parametrize(
    ("way", "required", "name"),
    [("grpc", True, "alice"), ("grpc", False, ""), ("gateway", True, "")],
)
def test_common_name_reaches_a_call(papers: Papers, way: str, required: bool, name: str) -> None:
    files = papers.server_files(client_cert_auth=required)
    with ServedMember(ApiMember(), tls=files) as served:
        unary = served.client_port.services.unary
        method, handler = unary[RANGE]
        found: list[str] = []

        def noting(call: Call, message: bytes) -> None:
            found.append(call.link.common_name)
            handler(call, message)

        unary[RANGE] = (method, noting)
        if way == "grpc":
            with ApiClient(f"localhost:{served.port}", papers.client_files()) as client:
                client.get(b"k")
        else:
            tls = client_context(papers.client_files())
            tls.set_alpn_protocols(["http/1.1"])
            connection = http.client.HTTPSConnection("127.0.0.1", served.port, context=tls)
            with closing(connection):
                connection.request("POST", "/v3/kv/range", '{"key":"aw=="}')
                assert connection.getresponse().status == 200

    assert found == [name]


def test_session_that_goes_on_has_the_name_of_before(papers: Papers) -> None:
    files = papers.server_files(client_cert_auth=True)
    context = client_context(papers.client_files())
    with ServedMember(ApiMember(), tls=files) as served:
        unary = served.client_port.services.unary
        method, handler = unary[RANGE]
        found: list[tuple[str, bool]] = []

        def noting(call: Call, message: bytes) -> None:
            found.append((call.link.common_name, bool(resumed)))
            handler(call, message)

        unary[RANGE] = (method, noting)
        resumed = None
        for _ in range(2):
            plain = socket.create_connection(("127.0.0.1", served.port), timeout=10)
            over = context.wrap_socket(plain, server_hostname="127.0.0.1", session=resumed)
            with RawClient(served.port, over=over) as client:
                client.unary(RANGE, READ)
                client.wait(bool)
                assert over.session_reused is (resumed is not None)
                resumed = over.session

    assert found == [("alice", False), ("alice", True)]


# Back pressure.


def watched(events: list[ClientEvent]) -> list[int]:
    """The revisions of the events that a watch delivered."""
    answers = [event.message for event in events if isinstance(event, MessageReceived)]
    responses = [rpc.WatchResponse.FromString(answer) for answer in answers]
    return [event.kv.mod_revision for response in responses for event in response.events]


def test_watch_of_a_client_that_does_not_read_is_paused(papers: Papers) -> None:
    wide = Http2Limits(stream_window_bytes=1 << 30, connection_window_bytes=1 << 30)
    member = ApiMember(Limits(watch_backlog_bytes_max=1 << 20))
    tls = client_context(papers.client_files())
    with (
        ServedMember(member, tls=papers.server_files()) as served,
        RawClient(served.port, wide, receive_buffer=65_536, tls=tls) as slow,
        ApiClient(f"localhost:{served.port}", papers.client_files()) as writer,
    ):
        create = rpc.WatchCreateRequest(key=b"k", start_revision=1)
        asked = rpc.WatchRequest(create_request=create).SerializeToString()
        slow.grpc.send(slow.grpc.start(WATCH), asked)
        slow.flush()
        served.wait(lambda: served.member.open_watches == 1)
        for _ in range(120):
            writer.put(b"k", bytes(100_000))
        served.wait(lambda: bool(served.member.paused))
        held = served.call(
            lambda: max(one.get_write_buffer_size() for one in served.client_port._transports)
        )
        events = slow.wait(lambda events: len(watched(events)) == 120)

        assert watched(events) == list(range(2, 122))
        # The bound, and what one flush may add to it; without a brake it would be 12 MB.
        assert held < 4 << 20
        served.wait(lambda: not served.member.paused)


def test_gateway_and_a_certificate_that_names_a_user(strict: ServedMember, papers: Papers) -> None:
    def ask(path: str, body: str) -> tuple[int, str]:
        tls = client_context(papers.client_files())
        tls.set_alpn_protocols(["http/1.1"])
        connection = http.client.HTTPSConnection("127.0.0.1", strict.port, context=tls)
        with closing(connection):
            connection.request("POST" if body else "GET", path, body)
            response = connection.getresponse()
            return response.status, response.read().decode()

    assert ask("/v3/kv/range", '{"key":"aw=="}')[0] == 200

    with ApiClient(f"localhost:{strict.port}", papers.client_files()) as client:
        make_users(client)
        enable(client)

    status, text = ask("/v3/kv/range", '{"key":"aw=="}')
    assert status == 400
    assert text.startswith("CommonName of client sending a request against gateway")
    assert ask("/health", "")[0] == 200
