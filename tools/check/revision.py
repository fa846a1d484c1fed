"""The revision-guided check: revisions order all writes, and everything told agrees with the order.

Judged here, in O(n log n) while outcomes are known:

    unique revision     no two writes are told the same one
    explained revision  each revision has its write, acknowledged or with an open outcome, or a
                        lease that ran out; so a write that certainly failed never shows
    state at revision   every answer (read, compare, prev_kv, count) is that of the state at its
                        revision, which is the fold of all writes up to there
    real-time order     no answer is older than what anybody had been shown before it was asked
    compaction          what is compacted is refused, and only that

Serializable reads, keep-alives and questions for a lease's time may be old, never from the future.
Trusts revisions; `linearizability` is the second opinion that does not.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from tools.check.evidence import Evidence
from tools.check.history import (
    COMPACTED,
    Compact,
    CompactResponse,
    History,
    Operation,
    Range,
    TxnOperationResponse,
)
from tools.check.model import changes_anything, may_be_old
from tools.check.sighting import Sightings, describe_sighting
from tools.check.text import describe_operation
from tools.check.timeline import STEPS_MAX, Contradiction, Exhausted, Timeline, reconstruct
from tools.check.verdict import Finding, Verdict, judge

CHECK = "revision"


class RevisionReport(Struct, frozen=True):
    """The verdict, and the order of writes for the checks that build upon it (None: not found).

    Where no order agrees with watches and leases, the order is one that ignores them, so that their
    own checks can tell more.
    """

    verdict: Verdict
    timeline: Timeline | None


def check_revisions(history: History, *, steps_max: int = STEPS_MAX) -> RevisionReport:
    """Judge a history by its revisions."""
    evidence = Evidence(history)
    findings = [
        *_below_baseline(history),
        *evidence.clashes,
        *_real_time(history, evidence.sightings),
        *_compaction(history),
    ]
    found = reconstruct(evidence, timely=True, watched=True, steps_max=steps_max)
    undecided = ""
    match found:
        case Contradiction():
            findings.append(found.finding)
        case Exhausted():
            undecided = f"no order of writes found in {found.steps} steps"
        case Timeline():
            return RevisionReport(judge(CHECK, findings), found)
    return RevisionReport(judge(CHECK, findings, undecided), _relax(evidence, steps_max))


def _relax(evidence: Evidence, steps_max: int) -> Timeline | None:
    """Doubt the time of leases first, then the word of watches."""
    for watched in (True, False):
        found = reconstruct(evidence, timely=False, watched=watched, steps_max=steps_max)
        if isinstance(found, Timeline):
            return found
    return None


def _below_baseline(history: History) -> Iterator[Finding]:
    lowest = history.baseline.revision
    for operation in history.operations:
        if operation.response is not None and operation.response.revision < lowest:
            text = f"the store began at revision {lowest}; {describe_operation(operation)}"
            yield Finding("revision below the first", text, (operation.id,))


def _real_time(history: History, sightings: Sightings) -> Iterator[Finding]:
    for operation in history.operations:
        response = operation.response
        before = sightings.highest_before(operation.start_ns)
        if response is None or before is None or may_be_old(operation.request):
            continue
        writes = isinstance(response, TxnOperationResponse) and changes_anything(response)
        if response.revision >= before.revision + writes:
            continue
        text = (
            f"revision {before.revision} had been shown before, by {describe_sighting(before)}; "
            f"then {describe_operation(operation)}"
        )
        ids = [operation.id]
        if isinstance(before.source, Operation):
            ids.insert(0, before.source.id)
        yield Finding("real-time order", text, tuple(ids))


def _compaction(history: History) -> Iterator[Finding]:
    asked = [
        each
        for each in history.operations
        if isinstance(each.request, Compact) and each.outcome != "failed"
    ]
    for operation in history.operations:
        match operation.request:
            case Range(revision=revision) if revision and operation.error == COMPACTED:
                if not any(
                    _target(each) > revision and not _begins_after(each, operation)
                    for each in asked
                ):
                    text = f"nobody had compacted so far; {describe_operation(operation)}"
                    yield Finding("refused without compaction", text, (operation.id,))
            case Range(revision=revision, serializable=False) if revision and operation.response:
                yield from _answered_late(operation, revision, asked)
            case Compact(revision=revision) if operation.response:
                yield from _answered_late(operation, revision, asked, again=True)


def _answered_late(
    operation: Operation, revision: int, asked: list[Operation], *, again: bool = False
) -> Iterator[Finding]:
    for compact in asked:
        limit = _target(compact) + again
        done = isinstance(compact.response, CompactResponse) and _begins_after(operation, compact)
        if done and revision < limit:
            text = f"{describe_operation(compact)}; then {describe_operation(operation)}"
            yield Finding("answered though compacted", text, (compact.id, operation.id))
            return


def _target(operation: Operation) -> int:
    return operation.request.revision if isinstance(operation.request, Compact) else 0


def _begins_after(late: Operation, early: Operation) -> bool:
    return early.end_ns is not None and late.start_ns > early.end_ns
