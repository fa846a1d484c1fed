"""A real etcd, one member on loopback, as a judge of semantics."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import Message

from node.proto import rpc

M = TypeVar("M", bound=Message)
BINARY = Path(sys.executable).with_name("etcd")
START_SECONDS_MAX = 30.0


class EtcdProcess:
    """Calls by method path and message class; errors surface as their text."""

    def __init__(self, channel: grpc.Channel, address: str) -> None:
        self.address = address
        """host:port of its clients."""
        self._channel = channel
        self._methods: dict[str, Callable[..., Any]] = {}

    def call(self, path: str, request: Message, response: type[M]) -> M | str:
        """The response, or the error's text."""
        method = self._methods.get(path)
        if method is None:
            method = self._methods[path] = self._channel.unary_unary(
                path,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=response.FromString,
            )
        try:
            answer: M = method(request, timeout=10)
        except grpc.RpcError as error:
            return str(error.details())
        return answer

    def watch(self, requests: Iterator[rpc.WatchRequest]) -> Iterator[rpc.WatchResponse]:
        """Open a watch stream; cancel it by closing the returned call."""
        stream: Iterator[rpc.WatchResponse] = self._channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=rpc.WatchRequest.SerializeToString,
            response_deserializer=rpc.WatchResponse.FromString,
        )(requests, timeout=10)
        return stream


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on right now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def running_etcd(directory: Path, *flags: str) -> Iterator[EtcdProcess]:
    """Start etcd with its data below `directory`, wait until it serves, stop it in the end."""
    client, peer = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    command = [
        str(BINARY),
        "--unsafe-no-fsync",
        "--log-level=panic",
        "--heartbeat-interval=10",
        "--election-timeout=100",
        f"--data-dir={directory / 'data'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        *flags,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = client.removeprefix("http://")
        with grpc.insecure_channel(address) as channel:
            etcd = EtcdProcess(channel, address)
            _await_service(etcd, process)
            yield etcd
    finally:
        process.kill()
        process.wait()


def _await_service(etcd: EtcdProcess, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    probe = rpc.RangeRequest(key=b"probe")
    while not _serves(etcd.call("/etcdserverpb.KV/Range", probe, rpc.RangeResponse)):
        assert process.poll() is None, "etcd ended at its start"
        assert time.monotonic() < deadline, "etcd does not serve"


def _serves(answer: object) -> bool:
    """Whether it answers, be it that it knows us not: a restored one may have users."""
    return not isinstance(answer, str) or "user name is empty" in answer
