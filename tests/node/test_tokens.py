"""Tokens that members remember, and who a token stands for."""

from __future__ import annotations

import pytest

from node import tokens as module
from node.machine.answer import TokenChange, TokenChangeKind
from node.machine.envelope import MEMBER, Credential
from node.tokens import Keeper, SimpleTokens, assigned_at

TTL = 10.0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def assigned(token: str, name: str = "alice") -> TokenChange:
    return TokenChange(TokenChangeKind.ASSIGNED, name, token)


def test_token_lives_from_its_last_use() -> None:
    clock = Clock()
    tokens = SimpleTokens(TTL, clock)
    tokens.note([assigned("a.1"), assigned("b.2", "bob")])

    clock.now += 9
    assert tokens.find("a.1", 7) == Credential("alice", 7)
    clock.now += 9
    assert tokens.find("a.1", 8) == Credential("alice", 8)
    assert tokens.find("b.2", 8) is None
    clock.now += 10
    assert tokens.find("a.1", 8) is None


def test_silent_tokens_are_forgotten() -> None:
    clock = Clock()
    tokens = SimpleTokens(TTL, clock)
    tokens.note([assigned("a.1"), assigned("a.2"), assigned("a.3")])
    clock.now += 5
    tokens.find("a.1", 1)

    clock.now += 5
    tokens.expire()

    assert len(tokens) == 1
    assert tokens.find("a.1", 1) is not None


def test_users_tokens_end_together() -> None:
    tokens = SimpleTokens(TTL, Clock())
    tokens.note([assigned("a.1"), assigned("b.2", "bob"), assigned("a.3")])

    tokens.note([TokenChange(TokenChangeKind.USER_REVOKED, "alice")])

    assert tokens.find("a.1", 1) is tokens.find("a.3", 1) is None
    assert tokens.find("b.2", 1) is not None
    tokens.note([TokenChange(TokenChangeKind.ALL_REVOKED)])
    assert len(tokens) == 0


def test_who_is_silent_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOKENS_MAX", 3)
    tokens = SimpleTokens(TTL, Clock())
    tokens.note([assigned("a.1"), assigned("a.2"), assigned("a.3")])
    tokens.find("a.1", 1)

    tokens.note([assigned("a.4")])

    assert tokens.find("a.2", 1) is None
    assert all(tokens.find(f"a.{number}", 1) for number in (1, 3, 4))


def test_supervisors_token_stands_for_the_member_itself() -> None:
    tokens = SimpleTokens(TTL, Clock())
    tokens.note([assigned("a.1")])
    keeper = Keeper(tokens, "own")

    assert keeper.find("own", 1) is MEMBER
    assert keeper.find("a.1", 1) == Credential("alice", 1)
    assert keeper.find("", 1) is None
    assert Keeper(tokens).find("", 1) is None


@pytest.mark.parametrize(
    ("token", "index"),
    [
        ("word.17", 17),
        ("word.0", 0),
        ("word", None),
        ("word.", None),
        (".17", None),
        ("word.x", None),
        ("word.-1", None),
        ("word.1.2", None),
        ("word.²", None),
        ("word." + "9" * 5_000, 10**20 - 1),
    ],
)
def test_token_says_which_entry_it_is_from(token: str, index: int | None) -> None:
    assert assigned_at(token) == index
