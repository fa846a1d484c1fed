"""Events and the leaders' history as lines. Pure.

An event is open by design: whatever it carries beyond the known fields is shown as `name=value`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from cluster.document import EVENT_SNAPSHOT, Event, Reign
from tools.cli.colour import PLAIN, Paint
from tools.cli.duration import format_duration
from tools.cli.status_view import NONE, number
from tools.cli.table import columns, printable

KNOWN_FIELDS = frozenset({"seq", "ts", "t_ms", "type", "node"})
YEARS = (1970, 9999)
ALARMING = ("lost", "exited", "failed", "quarantined", "crashed", "corrupt", "differs")
GOOD = ("elected", "regained", "serving", "ready")


def wanted(event: Event, types: Sequence[str], since: datetime | None) -> bool:
    """Whether an event passes `--type` (shell patterns, any of them) and `--since`.

    The snapshot that opens a followed stream passes when nothing is filtered.
    """
    if event.get("type") == EVENT_SNAPSHOT:
        return not types and since is None
    if types and not any(fnmatchcase(str(event.get("type")), pattern) for pattern in types):
        return False
    moment = parse_time(event.get("ts"))
    return since is None or moment is None or moment >= since


def parse_time(text: object) -> datetime | None:
    """An RFC 3339 time; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not YEARS[0] <= moment.year < YEARS[1]:
        return None  # at the ends of the calendar even a change of time zone overflows
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def event_line(event: Event, paint: Paint = PLAIN) -> str:
    """`12:00:01.123  +252.113 s  leader.elected  n2  term=7 cause=n1 killed`, local time."""
    kind = printable(str(event.get("type", NONE)))
    moment = parse_time(event.get("ts"))
    clock = moment.astimezone().strftime("%H:%M:%S.%f")[:-3] if moment else NONE
    after = event.get("t_ms")
    offset = f"+{after / 1000:.3f} s" if isinstance(after, int | float) else NONE
    return "  ".join(
        (
            paint(clock, "dim"),
            f"{offset:>12}",
            paint(f"{kind:<18}", colour_of(kind)),
            f"{printable(str(event.get('node') or NONE)):<4}",
            printable(facts_of(event)),
        )
    ).rstrip()


def colour_of(kind: str) -> str:
    """Red for what went wrong, green for what came back, none for the rest."""
    last = kind.rpartition(".")[2]
    if last in ALARMING:
        return "red"
    return "green" if last in GOOD else ""


def facts_of(event: Event) -> str:
    """The fields that not every event has."""
    extra = {key: value for key, value in event.items() if key not in KNOWN_FIELDS}
    return " ".join(
        f"{key}={fact(value)}" for key, value in extra.items() if value not in (None, "")
    )


def fact(value: object) -> str:
    """One value; floats are rounded as nobody reads sixteen digits."""
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def history_lines(reigns: Sequence[Reign], paint: Paint = PLAIN) -> list[str]:
    """Who led, oldest first."""
    if not reigns:
        return ["nobody has led yet"]
    titles = ("LEADER", "TERM", "SINCE", "FOR", "LEADERLESS BEFORE", "REASON")
    rows = [[paint(title, "bold") for title in titles]]
    return columns(rows + [reign_row(reign) for reign in reigns])


def reign_row(reign: Mapping[str, object]) -> list[str]:
    """One leader; the one that still leads has no end."""
    began = parse_time(reign["since"])
    length, gap, term = reign["duration_ms"], reign["gap_ms"], reign["term"]
    return [
        printable(str(reign["leader"])),
        number(term) if isinstance(term, int) else NONE,
        began.astimezone().strftime("%H:%M:%S.%f")[:-3] if began else NONE,
        format_duration(length) if isinstance(length, int | float) else "still leads",
        f"{gap:.0f} ms" if isinstance(gap, int | float) else NONE,
        printable(str(reign["reason"])),
    ]
