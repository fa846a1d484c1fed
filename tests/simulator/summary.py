"""What came of many runs, as a table and as a document."""

from __future__ import annotations

import os
import time
from collections import Counter

from tests.simulator.mark_table import MARKS
from tests.simulator.plan import FAMILIES
from tests.simulator.pool import Result


class Summary:
    """The sum of results."""

    def __init__(self, workers: int | None = None) -> None:
        self.seeds = 0
        self.steps = 0
        self.simulated_ms = 0
        self.void = 0
        self.failures: list[Result] = []
        self.families: Counter[str] = Counter()
        self.marks: Counter[str] = Counter(dict.fromkeys(MARKS, 0))
        self._workers = workers or os.cpu_count() or 1
        self._began = time.monotonic()
        self._processor_seconds = 0.0

    def add(self, result: Result) -> None:
        """Count one run."""
        self.seeds += 1
        self.steps += result.steps
        self.simulated_ms += result.simulated_ms
        self._processor_seconds += result.seconds
        self.families[result.family] += 1
        self.void += result.void
        self.marks.update(result.marks)
        if result.failure:
            self.failures.append(result)

    def document(self) -> dict[str, object]:
        """Everything, for other programs."""
        seconds = time.monotonic() - self._began
        return {
            "seeds": self.seeds,
            "steps": self.steps,
            "simulated_seconds": self.simulated_ms // 1_000,
            "seconds": round(seconds, 1),
            "seeds_per_hour_and_core": round(self._rate()),
            "families": {family: self.families[family] for family in FAMILIES},
            "void": self.void,
            "failures": [
                {"seed": each.seed, "step": each.steps, "failure": each.failure}
                for each in sorted(self.failures, key=lambda each: each.seed)
            ],
            "marks": dict(sorted(self.marks.items())),
            "never_hit": self._never(),
        }

    def table(self) -> str:
        """Everything, for people."""
        families = ", ".join(f"{family} {self.families[family]}" for family in FAMILIES)
        lines = [
            f"seeds                {self.seeds} ({families})",
            f"steps                {self.steps:,}",
            f"simulated time       {self.simulated_ms / 3_600_000:.1f} h",
            f"seeds/hour/core      {self._rate():,.0f} in {time.monotonic() - self._began:.1f} s",
            f"void                 {self.void} (no majority was left, or a judge could not decide)",
            f"failures             {len(self.failures)}",
        ]
        for each in sorted(self.failures, key=lambda each: each.seed):
            first = each.failure.splitlines()[0][:120]
            lines.append(f"  seed {each.seed:<8} {each.family:<10} step {each.steps:<6} {first}")
        lines.append("coverage marks")
        lines += _columns([f"{name} {count:,}" for name, count in sorted(self.marks.items())])
        never = self._never()
        lines.append(f"never hit            {len(never)} of {len(self.marks)}")
        lines += _columns(never)
        return "\n".join(lines)

    def _rate(self) -> float:
        return self.seeds / max(self._processor_seconds, 1e-9) * 3_600

    def _never(self) -> list[str]:
        return sorted(name for name, count in self.marks.items() if not count)


def _columns(cells: list[str], width: int = 40, count: int = 3) -> list[str]:
    return [
        ("  " + "".join(f"{cell:<{width}}" for cell in cells[at : at + count])).rstrip()
        for at in range(0, len(cells), count)
    ]
