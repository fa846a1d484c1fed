"""How several opinions on one index are weighed."""

import pytest

from node.opinion import Verdict, judge

A, B, C = "a", "b", "c"


@pytest.mark.parametrize(
    ("opinions", "voters", "expected"),
    [
        ({1: A, 2: A, 3: A}, (1, 2, 3), Verdict(A)),
        ({1: A, 2: A, 3: B}, (1, 2, 3), Verdict(A, (3,))),
        ({1: B, 2: A, 3: A}, (1, 2, 3), Verdict(A, (1,))),
        ({1: A, 2: A}, (1, 2, 3), Verdict(A)),
        ({1: A, 2: B}, (1, 2, 3), Verdict(torn=True)),
        ({1: A, 2: B, 3: C}, (1, 2, 3), Verdict(torn=True)),
        ({1: A, 2: B}, (1, 2), Verdict(torn=True)),
        ({1: A}, (1, 2, 3), Verdict()),
        ({}, (1, 2, 3), Verdict()),
        ({1: A}, (1,), Verdict(A)),
        ({1: A, 2: A, 3: A, 4: B, 5: C}, (1, 2, 3, 4, 5), Verdict(A, (4, 5))),
        ({1: A, 2: A, 3: B, 4: B}, (1, 2, 3, 4), Verdict(torn=True)),
    ],
)
def test_opinions_ofVoters(
    opinions: dict[int, str], voters: tuple[int, ...], expected: Verdict[str]
) -> None:
    assert judge(opinions, voters) == expected


def test_learner_isAccused_butMakesNoMajority() -> None:
    assert judge({1: A, 2: A, 9: B}, (1, 2, 3)) == Verdict(A, (9,))
    assert judge({1: A, 9: A, 3: B}, (1, 2, 3)) == Verdict(torn=True)
