"""Work that takes turns: its share of a pass, its order, and a member that has much of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from node.api.line import Line
from node.proto import rpc
from tests.support.api_client import ApiClient
from tests.support.api_member import ServedMember
from tests.support.raw_client import RawClient
from transport.grpc import CallEnded, ClientEvent, UnaryReply

SHARE = 5.0


class Passes:
    """An event loop that turns when the test says so, and a clock that only work moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.done: list[str] = []
        self._soon: list[Callable[[], None]] = []
        self.line = Line(SHARE, lambda: self.now, self._soon.append)

    def work(self, name: str, steps: int, seconds: float) -> Callable[[], None]:
        """Work in so many steps, each of which takes so long and lines up again."""

        def step() -> None:
            nonlocal steps
            self.now += seconds
            self.done.append(name)
            steps -= 1
            if steps:
                self.line.queue(step)

        return step

    def turn(self) -> list[str]:
        """One pass; what was done in it."""
        soon, self._soon[:] = list(self._soon), []
        before = len(self.done)
        for call in soon:
            call()
        return self.done[before:]


@pytest.mark.parametrize(
    ("seconds", "passes"),
    [
        (2.0, [["a", "b", "c"], ["a", "b", "c"], []]),
        (SHARE, [["a"], ["b"], ["c"], ["a"], ["b"], ["c"], []]),
        (100.0, [["a"], ["b"], ["c"], ["a"], ["b"], ["c"], []]),
        (0.1, [["a", "b", "c", "a", "b", "c"], []]),
    ],
)
def test_all_have_their_share_of_a_pass_together(seconds: float, passes: list[list[str]]) -> None:
    loop = Passes()

    for name in "abc":
        loop.line.queue(loop.work(name, 2, seconds))

    assert loop.done == []
    assert [loop.turn() for _ in passes] == passes
    assert len(loop.line) == 0


# A member.

STREAMS = 40
RANGE = rpc.RangeRequest(key=b"k", range_end=b"l", serializable=True).SerializeToString()


def test_many_streams_of_keys_do_not_hold_up_others(
    served: ServedMember, client: ApiClient
) -> None:
    """Each gave others their turn, but all had a page in each pass: a leader lost its office."""
    client.put(b"k", b"v")
    with RawClient(served.port) as raw:
        for _ in range(STREAMS):
            raw.grpc.send(raw.grpc.start("/etcdserverpb.KV/RangeStream"), RANGE)
        other = raw.grpc.unary("/etcdserverpb.KV/Range", RANGE)
        raw.flush()
        events = raw.wait(lambda events: len(ended(events)) > STREAMS)

    assert ended(events)[0] == other


def ended(events: list[ClientEvent]) -> list[int]:
    """Calls in the order in which they ended."""
    return [event.call_id for event in events if isinstance(event, CallEnded | UnaryReply)]
