"""gRPC over HTTP/2 as a codec without I/O, both roles."""

from __future__ import annotations

from transport.grpc.client import GrpcClient
from transport.grpc.event import (
    CallCancelled,
    CallEnded,
    CallStarted,
    ClientEvent,
    ConnectionClosed,
    Drained,
    Draining,
    HalfClosed,
    MessageReceived,
    Metadata,
    ResponseStarted,
    ServerEvent,
    UnaryCall,
    UnaryReply,
)
from transport.grpc.server import GrpcServer
from transport.grpc.status import Status

__all__ = [
    "CallCancelled",
    "CallEnded",
    "CallStarted",
    "ClientEvent",
    "ConnectionClosed",
    "Drained",
    "Draining",
    "GrpcClient",
    "GrpcServer",
    "HalfClosed",
    "MessageReceived",
    "Metadata",
    "ResponseStarted",
    "ServerEvent",
    "Status",
    "UnaryCall",
    "UnaryReply",
]
