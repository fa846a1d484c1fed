"""The server's end of TLS: what a client may say in which pieces, and what becomes of nonsense."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.certificates import Papers
from tests.support.tls_client import Socket, TlsClient
from transport.tls import ClientFiles
from transport.tls.connection import (
    BAD_CERTIFICATE,
    CUT_OFF,
    NO_AGREEMENT,
    NO_CERTIFICATE,
    NOT_TLS,
    SERVER_REFUSED,
    TIMED_OUT,
    TlsConnection,
)
from transport.tls.context import client_context, common_name_of, server_context


class Above(asyncio.Protocol):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.heard = b""
        self.pieces = 0
        self.told: list[str] = []
        self.stays = False
        """After the client's farewell."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.pieces += 1

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.stays

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


class Pace:
    """Lets everybody go on at once, or later when `line` is a list."""

    def __init__(self) -> None:
        self.line: list[Callable[[], None]] | None = None
        self.steps: list[bool] = []
        self.done = 0
        self.causes: list[str] = []

    def admit(self, go_on: Callable[[], None], *, begun: bool) -> None:
        self.steps.append(begun)
        if self.line is None:
            go_on()
        else:
            self.line.append(go_on)

    def agreed(self) -> None:
        self.done += 1

    def failed(self, connection: TlsConnection, cause: str, detail: str) -> None:
        assert detail
        self.causes.append(cause)


class Scene:
    """One connection with a client before it."""

    def __init__(self, papers: Papers, client: ssl.SSLContext, *, strict: bool = False) -> None:
        self.above, self.pace, self.socket = Above(), Pace(), Socket()
        context = server_context(papers.server_files(client_cert_auth=strict))
        self.connection = TlsConnection(context, self.above, self.pace)
        self.connection.connection_made(self.socket)
        self.client = TlsClient(client, self.connection, self.socket)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers") / "p")


@pytest.fixture(scope="module")
def trusting(papers: Papers) -> ssl.SSLContext:
    """A client that shows a certificate when it is asked for one."""
    return client_context(papers.client_files())


@pytest.fixture
def scene(papers: Papers, trusting: ssl.SSLContext) -> Scene:
    return Scene(papers, trusting)


def older(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same without TLS 1.3."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


# The handshake.


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_client_and_server_agree(papers: Papers, version: str, strict: bool) -> None:
    context = client_context(papers.client_files())
    scene = Scene(papers, older(context) if version == "TLSv1.2" else context, strict=strict)

    assert scene.client.shake_hands()
    assert scene.client.tls.version() == version
    assert scene.client.tls.selected_alpn_protocol() == "h2"
    assert (scene.connection.established, scene.pace.done, scene.pace.causes) == (True, 1, [])
    assert scene.pace.steps == [False, True]
    name = common_name_of(scene.connection.get_extra_info("peercert"))
    assert name == ("alice" if strict else "")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["h2"], "h2"),
        (["grpc-exp", "h2"], "h2"),
        (["http/1.1"], "http/1.1"),
        (["h2", "http/1.1"], "http/1.1"),
        ([], None),
    ],
)
def test_who_speaks_both_versions_means_plain_http(
    papers: Papers, offered: list[str], chosen: str | None
) -> None:
    context = client_context(papers.client_files())
    context.set_alpn_protocols(offered)
    scene = Scene(papers, context)

    assert scene.client.shake_hands()
    assert scene.client.tls.selected_alpn_protocol() == chosen
    assert scene.connection.get_extra_info("alpn") == chosen


@given(
    texts=st.lists(st.binary(max_size=40_000), max_size=4),
    pieces=st.integers(1, 5_000),
    strict=st.booleans(),
)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_bytes_arrive_whole_however_they_are_cut(
    papers: Papers, trusting: ssl.SSLContext, texts: list[bytes], pieces: int, strict: bool
) -> None:
    scene = Scene(papers, trusting, strict=strict)
    assert scene.client.shake_hands(pieces)
    for text in texts:
        scene.client.say(text, pieces)
        scene.connection.write(text)

    assert scene.above.heard == b"".join(texts)
    assert scene.client.hear() == b"".join(texts)


def test_what_comes_with_the_end_of_the_handshake_is_heard(scene: Scene) -> None:
    client = scene.client
    while not client._step():
        client.give(client.outgoing.read())
        client.incoming.write(scene.socket.take())
    client.say(b"at once")  # in the same bytes as the last of the handshake

    assert scene.above.heard == b"at once"


def test_handshake_that_is_put_off_reads_no_more(scene: Scene) -> None:
    line: list[Callable[[], None]] = []
    scene.pace.line = line
    scene.client._step()
    scene.client.give(scene.client.outgoing.read())

    assert (scene.socket.reading, scene.socket.sent, len(line)) == (False, b"", 1)

    scene.pace.line = None
    line[0]()
    scene.client.incoming.write(scene.socket.take())

    assert scene.socket.reading
    assert scene.client.shake_hands()


def test_error_above_ends_a_connection_whose_handshake_was_put_off(scene: Scene) -> None:
    client = scene.client
    line: list[Callable[[], None]] = []
    while not client._step():
        client.give(client.outgoing.read())
        client.incoming.write(scene.socket.take())
    scene.pace.line = line
    client.say(b"a request")

    def fail(data: bytes) -> None:
        raise ZeroDivisionError

    scene.above.data_received = fail  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        line[0]()

    # Nobody below hears of it here, who would close the socket.
    assert scene.socket.aborted


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n", NOT_TLS),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NOT_TLS),
        (b"\x00" * 64, NOT_TLS),
        (b"\xff" * 64, NOT_TLS),
        (b"\x16\x03\x01\x40\x00" + bytes(0x4000), NOT_TLS),
        (b"", CUT_OFF),
        (b"\x16\x03\x01", CUT_OFF),
    ],
)
def test_client_that_speaks_no_tls_is_sent_away(scene: Scene, said: bytes, cause: str) -> None:
    scene.connection.data_received(said)
    closed = scene.socket.closed
    scene.connection.connection_lost(None)

    assert closed is (cause == NOT_TLS)
    assert scene.pace.causes == [cause]
    assert scene.above.told == ["made", "lost"]
    assert scene.above.heard == b""


def test_silent_client_is_cut_off(scene: Scene) -> None:
    scene.connection.expire()
    scene.connection.connection_lost(None)

    assert scene.socket.aborted
    assert scene.pace.causes == [TIMED_OUT]


def test_client_cut_off_by_us_is_no_failure_of_its_own(scene: Scene) -> None:
    scene.connection.abort()
    scene.connection.connection_lost(None)

    assert scene.pace.causes == []


def test_client_without_a_certificate_is_refused_where_one_is_required(papers: Papers) -> None:
    context = client_context(papers.client_files(shown=False))
    scene = Scene(papers, context, strict=True)
    scene.client.shake_hands()

    assert (scene.pace.causes, scene.socket.closed) == ([NO_CERTIFICATE], True)


def test_client_of_another_authority_is_refused(papers: Papers, tmp_path: Path) -> None:
    other = Papers(tmp_path / "other")
    files = ClientFiles(
        cacert=str(papers.ca), cert=str(other.client_cert), key=str(other.client_key)
    )
    scene = Scene(papers, client_context(files), strict=True)
    scene.client.shake_hands()

    assert (scene.pace.causes, scene.socket.closed) == ([BAD_CERTIFICATE], True)


def test_server_certificate_is_no_client_certificate(papers: Papers) -> None:
    files = ClientFiles(cacert=str(papers.ca), cert=str(papers.cert), key=str(papers.key))
    scene = Scene(papers, client_context(files), strict=True)
    scene.client.shake_hands()

    assert scene.pace.causes == [BAD_CERTIFICATE]


def test_client_that_does_not_trust_us_says_so(papers: Papers, tmp_path: Path) -> None:
    context = client_context(Papers(tmp_path / "other").client_files())
    scene = Scene(papers, context)
    scene.client.shake_hands()

    assert scene.client.reasons == ["CERTIFICATE_VERIFY_FAILED"]
    assert scene.pace.causes == [SERVER_REFUSED]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_client_of_an_older_tls_is_refused(papers: Papers) -> None:
    context = client_context(papers.client_files())
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    scene = Scene(papers, context)
    scene.client.shake_hands()

    assert (scene.pace.causes, scene.pace.done) == ([NO_AGREEMENT], 0)


# Afterwards.


def test_farewell_is_answered_by_closing(scene: Scene) -> None:
    scene.client.shake_hands()
    with pytest.raises(ssl.SSLWantReadError):
        scene.client.tls.unwrap()
    scene.client.give(scene.client.outgoing.read())

    assert (scene.above.told, scene.socket.closed) == (["made", "eof"], True)


def test_client_that_said_farewell_still_hears_what_it_waits_for(scene: Scene) -> None:
    scene.client.shake_hands()
    scene.client.hear()
    scene.above.stays = True
    with pytest.raises(ssl.SSLWantReadError):
        scene.client.tls.unwrap()
    scene.client.give(scene.client.outgoing.read())
    stays = scene.connection.eof_received()
    scene.connection.write(b"late")
    scene.connection.close()

    assert stays
    assert scene.above.told == ["made", "eof"]
    assert b"late" not in scene.socket.sent
    assert len(scene.socket.sent) > len(b"late")


def test_end_without_a_farewell_ends_the_connection(scene: Scene) -> None:
    scene.client.shake_hands()

    assert not scene.connection.eof_received()
    assert scene.above.told == ["made"]


def test_close_says_farewell_after_what_was_written(scene: Scene) -> None:
    scene.client.shake_hands()
    scene.connection.write(b"last words")
    scene.connection.close()
    scene.connection.write(b"too late")

    assert scene.client.hear() == b"last words"
    assert scene.client.farewell
    assert scene.socket.closed


@pytest.mark.parametrize("position", [0, 5, 20, -1])
def test_record_that_was_tampered_with_ends_the_connection(scene: Scene, position: int) -> None:
    scene.client.shake_hands()
    scene.client.tls.write(b"a request")
    sealed = bytearray(scene.client.outgoing.read())
    sealed[position] ^= 0xFF
    scene.connection.data_received(bytes(sealed))

    assert scene.above.heard == b""
    assert scene.socket.closed
    assert scene.pace.causes == []  # the handshake was well


# Back pressure.


def test_nothing_is_read_while_nothing_can_be_written(scene: Scene) -> None:
    scene.client.shake_hands()
    scene.connection.pause_writing()
    paused = not scene.socket.reading
    scene.connection.resume_reading()  # whoever is above wants to, the socket is full all the same
    still = not scene.socket.reading
    scene.connection.resume_writing()

    assert (paused, still, scene.socket.reading) == (True, True, True)
    assert scene.above.told == ["made", "pause", "resume"]


def test_who_is_above_may_stop_the_reading(scene: Scene) -> None:
    scene.client.shake_hands()
    scene.connection.pause_reading()
    scene.connection.pause_reading()
    paused = not scene.socket.reading
    scene.connection.resume_reading()

    assert (paused, scene.socket.reading) == (True, True)


def test_limits_are_those_of_the_socket(scene: Scene) -> None:
    scene.connection.set_write_buffer_limits(high=8 << 20)

    assert scene.socket.limits == (8 << 20, None)


def test_large_write_leaves_no_large_buffer(scene: Scene) -> None:
    scene.client.shake_hands()
    text = bytes(5 << 20)
    scene.connection.write(text)

    # All of it waits in the socket's buffer, where it counts; nothing is left in between.
    assert scene.connection._outgoing.pending == 0
    assert scene.client.hear() == text
