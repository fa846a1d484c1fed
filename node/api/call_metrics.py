"""The counts of gRPC calls as Prometheus text, in the names of grpc-go's own metrics.

Every method is shown from the start, with every code that its calls may end with: the difference
of two series, or a rate, is nothing at all as long as one of them has not begun. That makes about a
thousand lines, which prometheus-client takes 9 ms for; here they are written by hand in one.
Source: grpc-ecosystem/go-grpc-prometheus, InitializeMetrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from node.api.call import Method

GRPC_CODES: Final = (
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
)
"""Names by number, as grpc-go's metrics write them (`Canceled` has one l there)."""


def render_calls(methods: Iterable[Method], *, timed: bool = False) -> bytes:
    """The four families of counters, and that of durations if calls are `timed`."""
    labelled = [(method, labels_of(method)) for method in methods]
    lines = [
        *_head("grpc_server_started_total", "Calls begun."),
        *(f"grpc_server_started_total{{{labels}}} {m.started}" for m, labels in labelled),
        *_head("grpc_server_handled_total", "Calls over."),
        *(line for method, labels in labelled for line in _handled(method, labels)),
        *_head("grpc_server_msg_received_total", "Messages received."),
        *(
            f"grpc_server_msg_received_total{{{labels}}} {m.messages_received}"
            for m, labels in labelled
        ),
        *_head("grpc_server_msg_sent_total", "Messages sent."),
        *(f"grpc_server_msg_sent_total{{{labels}}} {m.messages_sent}" for m, labels in labelled),
    ]
    if timed:
        lines += _head("grpc_server_handling_seconds", "Time of calls.", "histogram")
        lines += (line for method, labels in labelled for line in _durations(method, labels))
    return ("\n".join(lines) + "\n").encode()


def labels_of(method: Method) -> str:
    """The labels of a method's series; none of the names has anything to escape."""
    return (
        f'grpc_method="{method.name}",grpc_service="{method.service}",'
        f'grpc_type="{method.kind.value}"'
    )


def _head(name: str, text: str, kind: str = "counter") -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _handled(method: Method, labels: str) -> Iterator[str]:
    for code, count in zip(GRPC_CODES, method.handled, strict=True):
        yield f'grpc_server_handled_total{{grpc_code="{code}",{labels}}} {count}'


def _durations(method: Method, labels: str) -> Iterator[str]:
    durations = method.durations
    bounds = (*map(str, durations.bounds_seconds), "+Inf")
    total = 0
    for bound, count in zip(bounds, durations.counts, strict=True):
        total += count
        yield f'grpc_server_handling_seconds_bucket{{{labels},le="{bound}"}} {total}'
    yield f"grpc_server_handling_seconds_count{{{labels}}} {total}"
    yield f"grpc_server_handling_seconds_sum{{{labels}}} {durations.sum_seconds}"
