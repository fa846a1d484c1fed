"""The blocking client over TLS: who is trusted, what is shown, and what is said if that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.client import ClientError, EtcdClient, Unreachable
from node.proto import rpc
from tests.support.api_member import ApiMember, ServedMember
from tests.support.certificates import Papers
from transport.tls import ClientFiles


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers") / "p")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_calls_and_watches_go_over_tls(papers: Papers, host: str) -> None:
    files = papers.server_files(client_cert_auth=True)
    with (
        ServedMember(ApiMember(), tls=files) as served,
        EtcdClient([f"https://{host}:{served.port}"], tls=papers.client_files()) as client,
    ):
        client.put(rpc.PutRequest(key=b"k", value=bytes(1_000_000)))
        watch = client.watch(rpc.WatchCreateRequest(key=b"k", start_revision=1))
        seen = [next(watch), next(watch)]
        client.put(rpc.PutRequest(key=b"k", value=b"2"))  # on the connection of before

    assert seen[1].events[0].kv.value == bytes(1_000_000)


def test_idle_connection_is_used_again(papers: Papers) -> None:
    with (
        ServedMember(ApiMember(), tls=papers.server_files()) as served,
        EtcdClient([f"https://{served.address}"], tls=papers.client_files()) as client,
    ):
        for _ in range(3):
            client.status()

        assert served.call(lambda: served.client_port.handshakes.done) == 1


@pytest.mark.parametrize(
    ("strict", "scheme", "shown", "text"),
    [
        (True, "https", False, "certificate required"),
        (False, "http", False, "if it speaks TLS: https://"),
        (None, "https", False, "no TLS connection"),
    ],
)
def test_server_that_wants_another_client_says_so(
    papers: Papers, strict: bool | None, scheme: str, shown: bool, text: str
) -> None:
    files = None if strict is None else papers.server_files(client_cert_auth=strict)
    with (
        ServedMember(ApiMember(), tls=files) as served,
        EtcdClient(
            [f"{scheme}://{served.address}"], timeout_s=3.0, tls=papers.client_files(shown=shown)
        ) as client,
        pytest.raises(Unreachable, match=text),
    ):
        client.range(rpc.RangeRequest(key=b"k"))


def test_server_that_is_not_trusted_is_left_alone(papers: Papers, tmp_path: Path) -> None:
    other = Papers(tmp_path / "other").client_files()
    with (
        ServedMember(ApiMember(), tls=papers.server_files()) as served,
        EtcdClient([f"https://{served.address}"], tls=other) as client,
        pytest.raises(Unreachable, match=r"no TLS connection: .*(issuer|self-signed)"),
    ):
        client.range(rpc.RangeRequest(key=b"k"))


def test_files_that_are_no_use_are_told_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="cannot read authority"):
        EtcdClient(["https://127.0.0.1:1"], tls=ClientFiles(cacert=str(tmp_path / "none")))
