"""A gRPC client that is not ours: grpcio, called with our messages.

Errors come back as values (`Failed`), so that a test reads as request, answer, comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import Message

from node.proto import rpc
from transport.tls import ClientFiles

M = TypeVar("M", bound=Message)

DEADLINE_SECONDS = 10.0
Metadata = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Failed:
    """How a call ended badly: numeric gRPC code and text."""

    code: int
    text: str


def credentials(tls: ClientFiles) -> grpc.ChannelCredentials:
    """grpcio's view of a client's papers."""
    trusted, shown, key = (
        Path(path).read_bytes() if path else None for path in (tls.cacert, tls.cert, tls.key)
    )
    return grpc.ssl_channel_credentials(trusted, key, shown)


class ApiClient:
    """One connection."""

    def __init__(self, address: str, tls: ClientFiles | None = None) -> None:
        """Connect on first use."""
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if tls is None:
            self.channel = grpc.insecure_channel(address, options=options)
        else:
            self.channel = grpc.secure_channel(address, credentials(tls), options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.channel.close()

    def raw(
        self,
        path: str,
        message: bytes,
        *,
        timeout: float = DEADLINE_SECONDS,
        metadata: Metadata = (),
    ) -> bytes | Failed:
        """Make a unary call with bytes."""
        try:
            answer: bytes = self.channel.unary_unary(path)(
                message, timeout=timeout, metadata=metadata
            )
        except grpc.RpcError as error:
            return failure(error)
        return answer

    def call(self, path: str, request: Message, response: type[M]) -> M:
        """Make a unary call that is expected to end well."""
        answer = self.raw(path, request.SerializeToString())
        assert isinstance(answer, bytes), answer
        return response.FromString(answer)

    def refused(self, path: str, request: Message) -> Failed:
        """Make a unary call that is expected to fail."""
        answer = self.raw(path, request.SerializeToString())
        assert isinstance(answer, Failed), answer
        return answer

    def stream(
        self, path: str, requests: Iterable[bytes], metadata: Metadata = ()
    ) -> Any:  # grpcio's call object: iterator of bytes, cancel(), code(), details()
        """Open a bidirectional call."""
        return self.channel.stream_stream(path)(
            iter(requests), timeout=DEADLINE_SECONDS, metadata=metadata
        )

    # The requests that most tests need.

    def put(self, key: bytes, value: bytes = b"", lease: int = 0) -> rpc.PutResponse:
        """Put a key."""
        request = rpc.PutRequest(key=key, value=value, lease=lease)
        return self.call("/etcdserverpb.KV/Put", request, rpc.PutResponse)

    def range(self, request: rpc.RangeRequest) -> rpc.RangeResponse:
        """Read keys."""
        return self.call("/etcdserverpb.KV/Range", request, rpc.RangeResponse)

    def get(self, key: bytes) -> rpc.RangeResponse:
        """Read one key."""
        return self.range(rpc.RangeRequest(key=key))

    def txn(self, request: rpc.TxnRequest) -> rpc.TxnResponse:
        """Run a txn."""
        return self.call("/etcdserverpb.KV/Txn", request, rpc.TxnResponse)


def failure(error: Any) -> Failed:
    """What a grpcio error says."""
    return Failed(error.code().value[0], error.details())


def messages(call: Any, response: type[M]) -> Iterator[M]:
    """Decode the messages of a stream as they come."""
    for message in call:
        yield response.FromString(message)
