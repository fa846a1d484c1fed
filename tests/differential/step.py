"""What a run asks of a server: one step after the other, the same of every side.

Revisions in steps count from the beginning of an episode (1 = its empty store), and leases whose
ids the server chooses are numbers from `CHOSEN` on, in the order in which they are granted. Each
side translates both, so that a step means the same on servers with different pasts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message
from google.protobuf.text_format import MessageToString

from node.machine.validate import is_read_only, is_serializable
from node.proto import rpc

CHOSEN = 1001
"""The first lease of an episode whose id the server chose."""
TOGETHER_MAX = 8
LONG = re.compile(r'"([^" ]{60})[^" ]{200,}"')
"""A value that nobody wants to read."""

CALLS: dict[type[Message], tuple[str, type[Message]]] = {
    rpc.PutRequest: ("/etcdserverpb.KV/Put", rpc.PutResponse),
    rpc.DeleteRangeRequest: ("/etcdserverpb.KV/DeleteRange", rpc.DeleteRangeResponse),
    rpc.RangeRequest: ("/etcdserverpb.KV/Range", rpc.RangeResponse),
    rpc.TxnRequest: ("/etcdserverpb.KV/Txn", rpc.TxnResponse),
    rpc.CompactionRequest: ("/etcdserverpb.KV/Compact", rpc.CompactionResponse),
    rpc.LeaseGrantRequest: ("/etcdserverpb.Lease/LeaseGrant", rpc.LeaseGrantResponse),
    rpc.LeaseRevokeRequest: ("/etcdserverpb.Lease/LeaseRevoke", rpc.LeaseRevokeResponse),
    rpc.LeaseTimeToLiveRequest: (
        "/etcdserverpb.Lease/LeaseTimeToLive",
        rpc.LeaseTimeToLiveResponse,
    ),
    rpc.LeaseLeasesRequest: ("/etcdserverpb.Lease/LeaseLeases", rpc.LeaseLeasesResponse),
    rpc.LeaseKeepAliveRequest: (
        "/etcdserverpb.Lease/LeaseKeepAlive",
        rpc.LeaseKeepAliveResponse,
    ),
}
"""Method path and type of the answer."""


@dataclass(frozen=True)
class Ask:
    """A request with one answer."""

    request: Message

    @property
    def reads(self) -> bool:
        """Whether it changes nothing, so that it may be under way together with others."""
        match self.request:
            case rpc.RangeRequest():
                return True
            case rpc.TxnRequest() as txn:
                return is_read_only(txn)
            case _:
                return False

    @property
    def local(self) -> bool:
        """Whether a member answers from what it has itself, fresh or not."""
        match self.request:
            case rpc.RangeRequest() as asked:
                return asked.serializable
            case rpc.TxnRequest() as txn:
                return is_read_only(txn) and is_serializable(txn)
            case (
                rpc.LeaseTimeToLiveRequest()
                | rpc.LeaseLeasesRequest()
                | rpc.LeaseKeepAliveRequest()  # its header is this member's, as far as it is
            ):
                return True
            case _:
                return False

    def __str__(self) -> str:
        return f"{type(self.request).__name__}({line(self.request)})"


@dataclass(frozen=True)
class Watch:
    """A request on one of the episode's watch streams."""

    stream: int
    request: rpc.WatchRequest

    def __str__(self) -> str:
        return f"watch stream {self.stream}: {line(self.request)}"


Step = Ask | Watch


def line(message: Message) -> str:
    """A message in one line; long values are cut."""
    return LONG.sub(r'"\1…"', MessageToString(message, as_one_line=True))


def groups(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Steps in order; reads that follow each other come together, because no order binds them."""
    group: list[Step] = []
    for step in steps:
        together = isinstance(step, Ask) and step.reads
        if group and (not together or len(group) == TOGETHER_MAX):
            yield group
            group = []
        if together:
            group.append(step)
        else:
            yield [step]
    if group:
        yield group


def whole_state() -> list[Step]:
    """What is asked at the end of an episode: everything that there is."""
    everything = rpc.RangeRequest(key=b"\0", range_end=b"\0")
    leases = [1, 2, CHOSEN, CHOSEN + 1]
    return [
        Ask(everything),
        Ask(rpc.LeaseLeasesRequest()),
        *(Ask(rpc.LeaseTimeToLiveRequest(ID=lease, keys=True)) for lease in leases),
    ]
