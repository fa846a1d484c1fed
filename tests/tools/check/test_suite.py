"""The judges are judged: good histories pass, each kind of broken one is caught by its check."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import count, islice
from random import Random

import pytest

from tests.tools.check.client_mutations import AGREEMENT_MUTATIONS, REVISION_MUTATIONS
from tests.tools.check.generator import GRACE_NS, Generator
from tests.tools.check.lease_mutations import LEASE_MUTATIONS, REVOKE_MUTATIONS
from tests.tools.check.surgery import Mutation, Run
from tests.tools.check.watch_mutations import WATCH_MUTATIONS
from tools.check import Bounds, History, Result, check_history, describe_verdict, result_of

_BOUNDS = Bounds(expiry_grace_ns=GRACE_NS)
_GOOD_SEEDS = 200
_BROKEN_PER_MUTATION = 4
_ATTEMPTS_MAX = 300

_MUTATIONS: list[tuple[str, str, Mutation]] = [
    *(("revision", *each) for each in REVISION_MUTATIONS + REVOKE_MUTATIONS),
    *(("agreement", *each) for each in AGREEMENT_MUTATIONS),
    *(("watch", *each) for each in WATCH_MUTATIONS),
    *(("lease", *each) for each in LEASE_MUTATIONS),
]


@cache
def _make_run(seed: int) -> Run:
    generator = Generator(seed)
    return Run(generator.run(), generator.store)


def _explain(history: History) -> str:
    return "\n".join(map(describe_verdict, check_history(history, _BOUNDS)))


@pytest.mark.parametrize("first", range(0, _GOOD_SEEDS, 50))
def test_good_histories_pass(first: int) -> None:
    for seed in range(first, first + 50):
        history = _make_run(seed).history

        assert result_of(check_history(history, _BOUNDS)) == Result.OK, (
            f"seed {seed}\n{_explain(history)}"
        )


def test_good_histories_pass_without_watchers() -> None:
    for seed in range(1000, 1020):
        whole = _make_run(seed).history
        history = History(whole.operations, (), (), whole.baseline)

        assert result_of(check_history(history, _BOUNDS)) == Result.OK, (
            f"seed {seed}\n{_explain(history)}"
        )


def _broken(mutation: Mutation) -> Iterator[tuple[int, History]]:
    for seed in islice(count(), _ATTEMPTS_MAX):
        broken = mutation(Random(seed), _make_run(seed))
        if broken is not None:
            yield seed, broken


@pytest.mark.parametrize(
    ("check", "rule", "mutation"), _MUTATIONS, ids=[each.__name__ for *_, each in _MUTATIONS]
)
def test_broken_histories_are_caught(check: str, rule: str, mutation: Mutation) -> None:
    caught = 0
    for seed, history in islice(_broken(mutation), _BROKEN_PER_MUTATION):
        verdicts = {verdict.check: verdict for verdict in check_history(history, _BOUNDS)}
        caught += 1

        assert verdicts[check].result == Result.VIOLATED, f"seed {seed}\n{_explain(history)}"
        rules = {finding.rule for finding in verdicts[check].findings}
        assert rule in rules, f"seed {seed}\n{_explain(history)}"
    assert caught == _BROKEN_PER_MUTATION, "the generator offers too few places for this mutation"


def test_mutations_are_enough() -> None:
    names = {each.__name__ for *_, each in _MUTATIONS}

    assert len(names) == len(_MUTATIONS) >= 40
    assert len(names) * _BROKEN_PER_MUTATION >= 200
