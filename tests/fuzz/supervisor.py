"""Targets of the supervisor: its files, its management socket, its little languages.

Files are damaged by hand, by full disks and by other programs, so their readers promise a
`Conflict` that names the file, and never values that only fail later. The socket promises an answer
to every request; the one that is under way when its client leaves is given up.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import cache
from random import Random
from typing import Any

from cluster import condition, ports
from cluster.config import ClusterConfig, Identity, load, save
from cluster.document import HistoryDocument, StatusDocument
from cluster.errors import BadRequest, Conflict, NoSuchNode, StartFailed
from cluster.event import EventLog, read_events
from cluster.leadership import reigns
from cluster.management import Management
from cluster.record import ServiceRecord
from cluster.selector import Candidate, resolve
from cluster.state import State
from cluster.supervisor import Supervisor
from cluster.table import Node
from cluster.verbs import Verbs
from cluster.zygote import Birth
from node.telemetry import StatusPageReader, create_page
from tests.fuzz.disk import scratch
from tests.fuzz.http import Wire
from tests.fuzz.target import Tape, Target
from tests.support.cluster_status import status_of
from tools.cli.duration import parse_duration, parse_size
from tools.cli.event_view import event_line, history_lines, wanted
from tools.cli.log_view import dated
from tools.cli.record import line_filter, moment_before
from transport.http1 import Http1Protocol

UINT64_MAX = 2**64 - 1
NAMES = ("n1", "n2", "n3")


# Files.


def fuzz_cluster_json(data: bytes) -> None:
    """`cluster.json`: a conflict, or a cluster whose nodes all have an id that can be used."""
    path = scratch("cluster.json")
    path.write_bytes(data)
    try:
        loaded = load(path)
    except Conflict:
        return
    assert loaded is not None
    config, identity = loaded
    assert [name for name, _ in identity.members] == list(config.names)
    ids = [identity.cluster_id, *(member for _, member in identity.members)]
    assert all(0 < number <= UINT64_MAX for number in ids)
    assert len(set(ids[1:])) == len(ids) - 1
    defaults = ClusterConfig().document()
    assert all(type(value) is type(defaults[name]) for name, value in config.document().items())


def cluster_json_seeds() -> Iterator[bytes]:
    """What `save` writes."""
    path = scratch("seed.json")
    for config in (ClusterConfig(), ClusterConfig(name="a-b", nodes=1, port_base=4000)):
        members = tuple((name, 0xA1 + at) for at, name in enumerate(config.names))
        save(path, config, Identity(0xC1, members))
        yield path.read_bytes()


def fuzz_ports_json(data: bytes) -> None:
    """`ports.json`: a conflict, or ports that can be bound."""
    path = scratch("ports.json")
    path.write_bytes(data)
    try:
        found = ports.recall(path)
    except Conflict:
        return
    assert found is not None
    assert all(type(port) is int and 0 < port < 65_536 for port in found)


def fuzz_started_json(data: bytes) -> None:
    """`started.json`: a conflict, or a set of names."""
    path = scratch("started.json")
    path.write_bytes(data)
    try:
        service = ServiceRecord(path, _events())
    except Conflict:
        return
    assert all(isinstance(name, str) for name in service._served)
    assert service.has_served("n1") in (True, False)


def fuzz_events_jsonl(data: bytes) -> None:
    """`events.jsonl`: foreign and torn lines are passed over by every reader of the rest."""
    path = scratch("events.jsonl")
    path.write_bytes(data)
    events = list(read_events(path))
    assert len(events) <= data.count(b"\n") + 1
    for event in events:
        event_line(event)
        wanted(event, ("leader.*",), moment_before(1000.0))
    history_lines(reigns(events))
    log = EventLog(path, lambda: 0.0, lambda: 0.0)
    try:
        assert log.append("leader.elected", "n1", term=1)["seq"] == log.seq
        assert log.seq > max((event["seq"] for event in events), default=0)
    finally:
        log.close()


@cache
def _events() -> EventLog:
    return EventLog(scratch("own.jsonl"), lambda: 1.0, lambda: 1.0)


def events_seeds() -> Iterator[bytes]:
    """The events of a life, and of one that was cut short."""
    path = scratch("seed.jsonl")
    path.unlink(missing_ok=True)
    log = EventLog(path, lambda: 1_769_851_267.123, lambda: 7.5)
    log.append("cluster.starting")
    log.append("leader.elected", "n1", term=2)
    log.append("leader.lost", "n1", term=2, cause="n1 killed")
    log.append("leader.regained", "n2", term=2)
    log.append("node.exited", "n1", code=None, signal="SIGKILL", expected=True)
    log.close()
    whole = path.read_bytes()
    yield whole.replace(b"2026-01-31T", b"0001-01-01T").replace(b"Z", b"+14:00")
    yield whole
    yield whole[:-30]


# Little languages of the command line and the socket.


def fuzz_language(data: bytes) -> None:
    """Durations, sizes, selectors, conditions, filters and log lines: a value or a refusal."""
    tape = Tape(data)
    kind = tape.octet() % len(LANGUAGES)
    LANGUAGES[kind](tape.rest().decode("utf-8", "surrogateescape"))


def _duration(text: str) -> None:
    try:
        milliseconds = parse_duration(text)
    except ValueError:
        return
    assert milliseconds >= 0
    assert math.isfinite(milliseconds)
    moment_before(milliseconds)


def _size(text: str) -> None:
    try:
        count = parse_size(text)
    except ValueError:
        return
    assert 0 <= count <= UINT64_MAX


def _selector(text: str) -> None:
    nodes = [
        Candidate("n1", State.RUNNING, leads=True),
        Candidate("n2", State.PAUSED, lag=3),
        Candidate("n3", State.EXITED, learner=True),
    ]
    try:
        chosen = resolve(text, nodes, Random(1))
    except (NoSuchNode, BadRequest):
        return
    assert chosen == [name for name in NAMES if name in chosen]


def _condition(text: str) -> None:
    try:
        parsed = condition.parse(text)
    except BadRequest:
        return
    if isinstance(parsed, condition.StatusCondition):
        assert parsed.holds(_status()) in (True, False)
    else:
        assert parsed.matches({"type": "leader.elected"}) in (True, False)


def _log_lines(text: str) -> None:
    lines = list(dated("n1", text.encode("utf-8", "surrogateescape").splitlines(keepends=True)))
    passes = line_filter(None, moment_before(1000.0))
    assert len([line for line in sorted(lines) if passes(line)]) <= len(lines)


LANGUAGES: tuple[Callable[[str], None], ...] = (
    _duration,
    _size,
    _selector,
    _condition,
    _log_lines,
)


def language_seeds() -> Iterator[bytes]:
    """Examples of the help texts."""
    examples = (
        ("1m30s", "250ms", "0", "1.5h", "3d"),
        ("64KiB", "1.5MB", "0", "12 GiB"),
        ("leader", "!leader", "2 of followers", "n[1-3]", "n1,n3", "minority", "!n[!1]", "any"),
        ("ready", "node n2=paused", "term>=7", "event leader.*", "converged"),
        (
            "2026-01-31T09:21:07.123Z started\n  more\n0001-01-01T00:00:00+14:00 old\n",
            '{"ts":"2026-01-31 09:21:07,5+0100"}\n',
        ),
    )
    for kind, texts in enumerate(examples):
        for text in texts:
            yield bytes((kind,)) + text.encode()


# The management socket.


class Surroundings:
    """What verbs and the socket ask of the daemon, for nodes that never run."""

    def __init__(self) -> None:
        self.events = _events()

        nodes = [
            Node(name=name, member_id=at, endpoint="", page=_page())
            for at, name in enumerate(NAMES, 1)
        ]

        async def fork(_: str) -> Birth:
            raise StartFailed("nothing runs here")

        async def probe(_: str) -> float:
            return 0.0

        supervisor = Supervisor(ClusterConfig(), nodes, self.events, fork, probe)
        self._verbs = Verbs(supervisor, self, Random(1))

    def status(self) -> StatusDocument:
        """All nodes are down."""
        return _status()

    def history(self) -> HistoryDocument:
        """Nobody led."""
        return {"schema": "conclave/history.v1", "cluster": "default", "reigns": []}

    def metrics(self) -> bytes:
        """No samples."""
        return b""

    def ready(self) -> bool:
        """No."""
        return False

    def alive(self) -> bool:
        """Yes."""
        return True

    def log_path(self, node: str) -> str:
        """Somewhere."""
        return f"/{node}/log"

    async def move_leader(self, leader: Node, to: Node, timeout_ms: int) -> None:
        """There is none to be moved."""

    async def shut_down(self, *, wipe: bool, timeout_ms: int) -> None:
        """Nothing to stop."""

    async def call(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run a verb."""
        return await self._verbs.call(method, params)


@cache
def _page() -> StatusPageReader:
    path = scratch("page")
    create_page(str(path))
    return StatusPageReader(str(path))


@cache
def _status() -> StatusDocument:
    return status_of("DOWN", n1="stopped/0", n2="stopped/0", n3="stopped/0")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to its end on the event loop that all inputs share."""
    _loop().run_until_complete(work)


def fuzz_management_rpc(data: bytes) -> None:
    """The body of a call: an answer in JSON, or one that waits and is given up with its client."""
    head = b"POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(data)
    run(_ask(head + data, whole=True))


def fuzz_management_http(data: bytes) -> None:
    """The bytes of a connection."""
    run(_ask(data, whole=False))


class Recorder(Wire):
    """A transport whose writing is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.content = b""

    def write(self, data: Any) -> None:
        """Keep."""
        super().write(data)
        self.content += data


async def _ask(stream: bytes, *, whole: bool) -> None:
    management = Management(Surroundings())
    protocol = Http1Protocol(management.handle)
    transport = Recorder()
    protocol.connection_made(transport)
    protocol.data_received(stream)
    tasks = set(management._tasks)
    for _ in range(20):
        await asyncio.sleep(0)
    waiting = [task for task in tasks if not task.done()]
    protocol.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert all(task.done() for task in tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
    assert not management._streams
    if whole and not waiting:
        _check_answer(transport.content)
    assert transport.written <= 8192 + 64 * len(stream)


def _check_answer(content: bytes) -> None:
    head, _, body = content.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 ")
    if b"application/json" in head:
        document = json.loads(body)
        assert "result" in document or "error" in document


def rpc_seeds() -> Iterator[bytes]:
    """A call of each verb, with every parameter that it knows."""
    calls: tuple[tuple[str, dict[str, Any]], ...] = (
        ("ping", {}),
        ("status", {}),
        ("resolve", {"selector": "minority"}),
        ("logs", {"nodes": ["all"]}),
        ("start", {"nodes": ["n1"], "wait": False}),
        ("stop", {"nodes": ["all"], "timeout_ms": 10_000}),
        ("restart", {"nodes": ["n1"], "timeout_ms": 1, "rolling": True}),
        ("kill", {"nodes": ["n[1-2]"], "signal": "SIGKILL", "restart_after_ms": 5}),
        ("pause", {"nodes": ["n1"], "for_ms": 5}),
        ("resume", {"nodes": ["n1"]}),
        ("transfer", {"to": "any-follower", "timeout_ms": 5}),
        ("wait", {"condition": "ready", "timeout_ms": 30_000, "for_ms": 3}),
        ("wait", {"condition": "down"}),
        ("down", {"wipe": False, "timeout_ms": 5}),
    )
    for number, (method, params) in enumerate(calls):
        call = {"id": number, "method": method, "params": params, "deadline_ms": 60_000}
        yield json.dumps(call).encode()


def http_seeds() -> Iterator[bytes]:
    """Every route."""
    for path in ("status", "nodes/n1", "history", "events?since=1", "events?follow=1&since=1"):
        yield b"GET /v1/%s HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode()
    yield b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
    yield b"GET /readyz HTTP/1.0\r\n\r\n"
    body = next(rpc_seeds())
    yield b"POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body


TARGETS = (
    Target("cluster-json", fuzz_cluster_json, cluster_json_seeds, 150),
    Target("ports-json", fuzz_ports_json, lambda: [b'{"ports": [2379, 22379, 32379]}'], 80),
    Target("started-json", fuzz_started_json, lambda: [b'{"served": ["n1", "n2"]}'], 80),
    Target("events-jsonl", fuzz_events_jsonl, events_seeds, 150),
    Target("language", fuzz_language, language_seeds, 250),
    Target("management-rpc", fuzz_management_rpc, rpc_seeds, 200),
    Target("management-http", fuzz_management_http, http_seeds, 80),
)
