"""All checks over one history, and what the two main ones say about each other.

The revision check and the black-box check must agree where both can decide: a history that is not
linearizable per key has no order of writes either. If only the black box objects, one of the two
checks is wrong, which matters as much as a bug of the cluster.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from tools.check.agreement import check_hashes
from tools.check.history import History
from tools.check.lease import check_leases
from tools.check.linearizability import CONFIGURATIONS_MAX, check_linearizability
from tools.check.revision import check_revisions
from tools.check.timeline import STEPS_MAX
from tools.check.verdict import Finding, Result, Verdict, judge
from tools.check.watch import check_watches


class Bounds(Struct, frozen=True, kw_only=True):
    """How far the checks may search, and what the harness knows of the run.

    `steps_max` bounds the search for the order of writes, `configurations_max` that for one key.
    `expiry_grace_ns` is how long after its time a lease may live on in this run; None: not judged.
    """

    steps_max: int = STEPS_MAX
    configurations_max: int = CONFIGURATIONS_MAX
    expiry_grace_ns: int | None = None


DEFAULT_BOUNDS: Final = Bounds()


def check_history(history: History, bounds: Bounds = DEFAULT_BOUNDS) -> list[Verdict]:
    """Judge a history by every check, the revision check first."""
    report = check_revisions(history, steps_max=bounds.steps_max)
    black_box = check_linearizability(history, configurations_max=bounds.configurations_max)
    return [
        report.verdict,
        black_box,
        check_watches(history, report.timeline),
        check_leases(history, report.timeline, expiry_grace_ns=bounds.expiry_grace_ns),
        check_hashes(history),
        _cross_check(report.verdict, black_box),
    ]


def result_of(verdicts: list[Verdict]) -> Result:
    """Give the result of a whole run: a violation first, then what was not decided."""
    results = {verdict.result for verdict in verdicts}
    for result in (Result.VIOLATED, Result.UNKNOWN):
        if result in results:
            return result
    return Result.OK


def _cross_check(revision: Verdict, black_box: Verdict) -> Verdict:
    agree = not (revision.result == Result.OK and black_box.result == Result.VIOLATED)
    text = "the black box objects to a history whose revisions are in order"
    return judge("cross-check", () if agree else [Finding("checks agree", text)])
