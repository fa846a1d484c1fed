"""What was measured, as values, as JSON and as a line for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from tools.bench.plan import Plan

SCHEMA: Final = "conclave/bench.v1"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one run; latencies are of successful requests, in milliseconds."""

    workload: str
    clients: int
    connections: int
    requests: int
    """Answered well."""
    errors: Mapping[str, int]
    """By text, with their number."""
    seconds: float
    rate: float
    """Successful requests per second."""
    p50_ms: float
    p99_ms: float
    max_ms: float

    def document(self) -> dict[str, Any]:
        """Plain values for JSON, with the schema's name."""
        return {"schema": SCHEMA, **msgspec.structs.asdict(self)}

    def line(self) -> str:
        """One line for people."""
        failed = sum(self.errors.values())
        return (
            f"{self.workload:<18} {self.clients:>5} clients {self.connections:>4} connections"
            f" {self.rate:>10,.0f}/s   p50 {self.p50_ms:>7.2f} ms   p99 {self.p99_ms:>7.2f} ms"
            f"   max {self.max_ms:>7.2f} ms" + (f"   {failed} errors" if failed else "")
        )


def make_report(
    plan: Plan, latencies_s: Sequence[float], errors: Mapping[str, int], seconds: float
) -> Report:
    """Sum a run up."""
    ordered = sorted(latencies_s)
    return Report(
        workload=plan.workload,
        clients=plan.clients,
        connections=plan.connection_count,
        requests=len(ordered),
        errors=dict(errors),
        seconds=round(seconds, 3),
        rate=round(len(ordered) / seconds, 1) if seconds > 0 else 0.0,
        p50_ms=percentile_ms(ordered, 0.50),
        p99_ms=percentile_ms(ordered, 0.99),
        max_ms=percentile_ms(ordered, 1.0),
    )


def percentile_ms(ordered_s: Sequence[float], share: float) -> float:
    """Give the smallest latency that `share` of all do not exceed (nearest rank); 0 of nothing."""
    if not ordered_s:
        return 0.0
    rank = max(1, -int(-share * len(ordered_s) // 1))
    return round(ordered_s[rank - 1] * 1e3, 3)
