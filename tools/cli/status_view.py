"""The status document as a person reads it: one headline, then a row per node.

Pure: document in, lines out. A figure that nobody has is `-`; one that is older than a second
carries its age, because a paused node's last word must not pass for its present state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cluster.document import LinkDocument, NodeDocument, StatusDocument
from tools.cli.colour import PLAIN, Paint
from tools.cli.duration import format_bytes, format_duration
from tools.cli.table import columns, printable

NONE = "-"
STALE_MS = 1_000
CALM = frozenset({"running"})
"""States that need no attention are written small, the others in capitals."""
ENDED = frozenset({"exited", "failed", "backoff"})
STATE_COLOURS: Mapping[str, str] = {
    "ready": "green",
    "starting": "yellow",
    "paused": "yellow",
    "stopping": "yellow",
    "stopped": "dim",
    "degraded": "red",
    "exited": "red",
    "failed": "red",
    "backoff": "red",
    "down": "red",
}
Cell = Callable[[NodeDocument, Paint], str]


def status_lines(
    document: StatusDocument, paint: Paint = PLAIN, *, wide: bool = False
) -> list[str]:
    """The whole answer of `conclave status`; `wide` adds each node's own view and the links."""
    nodes = document["nodes"]
    lines = [headline(document, paint)]
    split = split_view(nodes)
    if split:
        lines.append(paint(f"split view: {split}", "yellow"))
    chosen = [column for column in COLUMNS if wide or column[0] not in WIDE_ONLY]
    rows = [[paint(title, "bold") for title, _ in chosen]]
    rows += [[cell(node, paint) for _, cell in chosen] for node in nodes]
    lines += columns(rows)
    wrong = [*unexpected_ends(nodes), *corrupt_states(nodes), *full_store(nodes)]
    lines += [paint(line, "red") for line in wrong]
    return lines + link_lines(document["links"], paint) if wide else lines


def headline(document: StatusDocument, paint: Paint) -> str:
    """Cluster, state, leader, term, commit, quorum, time without a leader, age."""
    state, quorum, elections = document["state"], document["quorum"], document["elections"]
    noun = "election" if elections == 1 else "elections"
    parts = [
        paint(printable(document["cluster"]), "bold"),
        paint(state, STATE_COLOURS.get(state.lower(), ""), "bold"),
        f"leader {printable(document['leader'] or NONE)}",
        f"term {number(document['term'])}",
        f"commit {number(document['commit'])}",
        f"quorum {quorum['needed']}/{quorum['voters']} up {quorum['up']}",
        f"leaderless {document['leaderless_ms'] / 1000:.2f} s total ({elections} {noun})",
        f"up {format_duration(document['uptime_ms'])}",
    ]
    return "  ".join(parts)


def split_view(nodes: Sequence[NodeDocument]) -> str:
    """Who believes in which leader, when running nodes disagree; else empty."""
    views: dict[str, list[str]] = {}
    for node in nodes:
        if node["state"] == "running" and node["leader"]:
            views.setdefault(node["leader"], []).append(node["name"])
    if len(views) < 2:
        return ""
    return "; ".join(f"{', '.join(names)} follow {leader}" for leader, names in views.items())


def unexpected_ends(nodes: Sequence[NodeDocument]) -> list[str]:
    """Why each node ended that nobody asked to, in its own last words if it had any."""
    return [
        printable(f"{node['name']}: {': '.join(filter(None, (ended['reason'], ended['detail'])))}")
        for node in nodes
        if node["state"] in ENDED and (ended := node["exit"]) and not ended["expected"]
    ]


def corrupt_states(nodes: Sequence[NodeDocument]) -> list[str]:
    """Who serves nobody because of its state, and the way out."""
    names = [printable(node["name"]) for node in nodes if "corrupt" in node["faults"]]
    if len(names) > 1 and len(names) == sum("alarm" in node["faults"] for node in nodes):
        return [
            "the members' states differ and no majority agrees; nobody serves: "
            "conclave replace the one that you do not trust, then etcdctl alarm disarm"
        ]
    return [
        f"{name}: corrupt: its state differs from the others'; it serves nobody: "
        f"conclave replace {name}"
        for name in names
    ]


def full_store(nodes: Sequence[NodeDocument]) -> list[str]:
    """That nothing may grow, and the way out."""
    if not any("nospace" in node["faults"] for node in nodes):
        return []
    return [
        "the store is full, and takes nothing that makes it larger: etcdctl compact REVISION, "
        "etcdctl defrag --cluster, then etcdctl alarm disarm"
    ]


def number(value: int | None) -> str:
    """Digits in groups of three, by a thin space that no script will take for a decimal mark."""
    return NONE if value is None else f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def fine(milliseconds: float | None) -> str:
    """A duration with one decimal below 10 ms, above as people say it."""
    if milliseconds is None:
        return NONE
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else format_duration(milliseconds)


def state_cell(node: NodeDocument, paint: Paint) -> str:
    """The process state, with the exit that led to it: "why is it gone" is the first question."""
    state, ended = node["state"], node["exit"]
    text = state if state in CALM else state.upper()
    if state in ENDED and ended is not None:
        text += f"({ended['signal'] or ended['code']})"
    return paint(printable(text), STATE_COLOURS.get(state, ""))


def role_cell(node: NodeDocument, paint: Paint) -> str:
    """The role; a leader stands out."""
    role = printable(node["role"])
    return paint(role, "cyan", "bold") if role == "leader" else role


def applied_cell(node: NodeDocument, _: Paint) -> str:
    """The applied index, with its age when it is not fresh."""
    applied, age = node["applied"], node["age_ms"]
    stale = applied is not None and age is not None and age > STALE_MS
    return f"{number(applied)} ({format_duration(age or 0)} ago)" if stale else number(applied)


def rtt_cell(node: NodeDocument, _: Paint) -> str:
    """Heartbeat round trip, median and 99th percentile."""
    p50, p99 = node["hb_rtt"]["p50_ms"], node["hb_rtt"]["p99_ms"]
    return NONE if p50 is None or p99 is None else f"{p50:.2f} / {p99:.1f} ms"


def faults_cell(node: NodeDocument, paint: Paint) -> str:
    """Faults in force at this node."""
    return paint(printable(", ".join(node["faults"])), "yellow") or NONE


def pid_cell(node: NodeDocument, _: Paint) -> str:
    """The process id while there is a process."""
    return NONE if node["pid"] is None else str(node["pid"])


def uptime_cell(node: NodeDocument, _: Paint) -> str:
    """How long this process has been running."""
    return NONE if node["uptime_ms"] is None else format_duration(node["uptime_ms"])


def cpu_cell(node: NodeDocument, _: Paint) -> str:
    """Processor share in percent of one core."""
    return NONE if node["cpu_percent"] is None else f"{node['cpu_percent']:.0f}%"


def rss_cell(node: NodeDocument, _: Paint) -> str:
    """Resident memory."""
    return NONE if node["rss_bytes"] is None else format_bytes(node["rss_bytes"])


COLUMNS: Sequence[tuple[str, Cell]] = (
    ("NODE", lambda node, _: printable(node["name"])),
    ("ROLE", role_cell),
    ("STATE", state_cell),
    ("PID", pid_cell),
    ("UPTIME", uptime_cell),
    ("RESTARTS", lambda node, _: str(node["restarts"])),
    ("TERM", lambda node, _: number(node["term"])),
    ("SEES", lambda node, _: printable(node["leader"] or NONE)),
    ("APPLIED", applied_cell),
    ("LAG", lambda node, _: number(node["lag"])),
    ("HB-AGE", lambda node, _: fine(node["hb_age_ms"])),
    ("HB RTT p50/p99", rtt_cell),
    ("FSYNC p99", lambda node, _: fine(node["fsync_p99_ms"])),
    ("CPU", cpu_cell),
    ("RSS", rss_cell),
    ("CLIENT", lambda node, _: printable(node["client"])),
    ("FAULTS", faults_cell),
)
WIDE_ONLY = frozenset({"TERM", "SEES"})


def link_lines(links: Sequence[LinkDocument], paint: Paint) -> list[str]:
    """Heartbeat round trips per direction."""
    if not links:
        return []
    rows = [[paint(title, "bold") for title in ("LINK", "p50", "p99", "MAX", "AGE", "COUNT")]]
    rows += [
        [
            printable(f"{link['from']}→{link['to']}"),
            fine(link["p50_ms"]),
            fine(link["p99_ms"]),
            fine(link["max_ms"]),
            fine(link["age_ms"]),
            number(link["count"]),
        ]
        for link in links
    ]
    return ["", *columns(rows)]
