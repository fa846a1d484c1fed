"""The agreement check: members that stand at the same revision have the same state."""

from __future__ import annotations

from collections.abc import Iterator

from tools.check.history import HashReport, History
from tools.check.text import describe_time
from tools.check.verdict import Finding, Verdict, judge

CHECK = "agreement"


def check_hashes(history: History) -> Verdict:
    """Judge that equal subject, revision and compact revision mean an equal hash."""
    return judge(CHECK, _differences(history))


def _differences(history: History) -> Iterator[Finding]:
    first: dict[tuple[str, int, int], HashReport] = {}
    for report in sorted(history.hashes, key=lambda each: each.at_ns):
        place = (report.subject, report.revision, report.compact_revision)
        other = first.setdefault(place, report)
        if other.hash != report.hash:
            text = (
                f"{report.subject} at revision {report.revision}, compacted to "
                f"{report.compact_revision}: {_describe(other)}, {_describe(report)}"
            )
            yield Finding("equal hash", text)


def _describe(report: HashReport) -> str:
    return f"{report.endpoint} had {report.hash:08x} at {describe_time(report.at_ns)}"
