"""A wish for another leader is answered when it leads, or when the time for it is over."""

from __future__ import annotations

from node.machine.errors import Refusal, Timeout
from node.transfers import Transfers
from tests.support.member_cluster import Call

Moved = Call[Refusal | None]


def wish(transfers: Transfers, transferee: int, now: float = 0.0) -> Moved:
    call: Moved = Call()
    transfers.add(transferee, call, now)
    return call


def test_leaderIs_settlesThoseWhoWantedIt() -> None:
    transfers = Transfers(1.0)
    first, second = wish(transfers, 2), wish(transfers, 3)

    transfers.leader_is(0)
    nobody = (first.done, second.done)
    transfers.leader_is(3)
    transfers.leader_is(3)

    assert nobody == (False, False)
    assert not first.done
    assert second.answer is None


def test_expire_settlesTheRest() -> None:
    transfers = Transfers(1.0)
    call = wish(transfers, 2)

    transfers.expire(0.9)
    before = call.done
    transfers.expire(1.0)
    transfers.leader_is(2)

    assert not before
    assert call.answer == Timeout()
