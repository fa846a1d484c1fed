"""What a check says: a result, and for each rule that was broken the shortest true story of it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct


class Result(StrEnum):
    """`UNKNOWN` is not a pass: the check could not decide within its bounds."""

    OK = "ok"
    VIOLATED = "violated"
    UNKNOWN = "unknown"


class Finding(Struct, frozen=True):
    """One broken rule.

    `text` names the facts that contradict each other and stands alone; `operations` are their ids.
    """

    rule: str
    text: str
    operations: tuple[int, ...] = ()


class Verdict(Struct, frozen=True):
    """The outcome of one check; findings exactly where the result is `VIOLATED`.

    `note` says why nothing could be decided where the result is `UNKNOWN`.
    """

    check: str
    result: Result
    findings: tuple[Finding, ...] = ()
    note: str = ""


def judge(check: str, findings: Iterable[Finding], undecided: str = "") -> Verdict:
    """Give the verdict for what was found; what is undecided never hides a finding."""
    found = tuple(findings)
    if found:
        return Verdict(check, Result.VIOLATED, found)
    if undecided:
        return Verdict(check, Result.UNKNOWN, note=undecided)
    return Verdict(check, Result.OK)


def describe_verdict(verdict: Verdict) -> str:
    """Give the verdict as text: one line, and one paragraph per finding."""
    head = f"{verdict.check}: {verdict.result}"
    if verdict.note:
        head += f" ({verdict.note})"
    return "\n".join([head, *(f"  {found.rule}: {found.text}" for found in verdict.findings)])
