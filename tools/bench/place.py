"""Where the load goes: endpoints, and how to be let in there."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from node.client import Address, ClientError
from node.client_link import tls_context
from tools.bench.errors import BenchFailed
from tools.bench.plan import Plan
from transport.grpc import GrpcClient


@dataclass(frozen=True, slots=True)
class Place:
    """One endpoint."""

    address: Address
    context: ssl.SSLContext | None
    """None = plain text."""

    def codec(self) -> GrpcClient:
        """The codec for one connection."""
        return GrpcClient(str(self.address), secure=self.context is not None)

    async def connect(self, protocol: asyncio.Protocol) -> None:
        """Have `protocol` connected.

        Raises:
            OSError: nobody is there, or the two sides do not come to terms.
        """
        host, port = self.address.host, self.address.port
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: protocol, host, port, ssl=self.context)


def places_of(plan: Plan) -> list[Place]:
    """The endpoints of a plan.

    Raises:
        BenchFailed: an endpoint is none, or a file for TLS is no use.
    """
    try:
        addresses = [Address.parse(endpoint) for endpoint in plan.endpoints]
        secure = any(address.secure for address in addresses)
        context = tls_context(plan.tls) if secure else None
    except ClientError as error:
        raise BenchFailed(str(error)) from error
    return [Place(address, context if address.secure else None) for address in addresses]
