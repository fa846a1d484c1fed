"""The management socket: HTTP/1.1 and JSON, for this user only.

    GET  /v1/status  /v1/nodes/{n}  /v1/history  /v1/events?since=&follow=1
    GET  /metrics  /livez  /readyz
    POST /v1/rpc     {"id", "method", "params", "deadline_ms"} → {"id", "ok", "result" | "error"}

The socket has mode 0600 in a directory of mode 0700, and the kernel is asked for each peer's user,
because a directory's mode can be changed and a descriptor can be passed on. Reads and writes of
connections are `transport.http1`'s; this module only routes, and decides nothing about nodes.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from cluster.document import EVENT_SNAPSHOT, Event, HistoryDocument, StatusDocument
from cluster.errors import BadRequest, ClusterError, NoSuchNode, WaitTimeout
from cluster.event import EventLog
from cluster.params import Milliseconds
from transport.http1 import Http1Protocol, Request, Responder

JSON_TYPE = ("content-type", "application/json")
LINES_TYPE = ("content-type", "application/x-ndjson")
TEXT_TYPE = ("content-type", "text/plain; charset=utf-8")
METRICS_TYPE = ("content-type", "text/plain; version=0.0.4; charset=utf-8")
DEADLINE_MS = 60_000
BACKLOG_EVENTS_MAX = 10_000
CREDENTIALS = struct.Struct("3i")
STATUS_BY_EXIT = {2: 400, 3: 404, 4: 504, 5: 500, 6: 503, 7: 409}
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Envelope(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One call of a verb."""

    method: str
    id: int | str = 0
    params: dict[str, Any] = {}
    deadline_ms: Milliseconds = DEADLINE_MS


class Answers(Protocol):
    """What the socket can be asked."""

    events: EventLog

    def status(self) -> StatusDocument:
        """The status document."""

    def history(self) -> HistoryDocument:
        """The leaders' history."""

    def metrics(self) -> bytes:
        """Prometheus text."""

    def ready(self) -> bool:
        """A write was committed under the present leader, and a quorum serves."""

    def alive(self) -> bool:
        """The loop turns (it answers) and the zygote lives."""

    async def call(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run a verb.

        Raises:
            ClusterError: as the verb says.
        """


class Management:
    """Routes requests to `Answers`."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: set[Stream] = set()
        self._gets: dict[str, Callable[[Request, Responder], None]] = {
            "/v1/status": lambda _, way: send_json(way, 200, self._answers.status()),
            "/v1/history": lambda _, way: send_json(way, 200, self._answers.history()),
            "/v1/events": self._events,
            "/metrics": lambda _, way: way.respond(200, [METRICS_TYPE], self._answers.metrics()),
            "/livez": lambda _, way: send_health(way, self._answers.alive()),
            "/readyz": lambda _, way: send_health(way, self._answers.ready()),
        }

    async def listen(self, path: Path) -> None:
        """Bind the socket, which must not exist."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        path.chmod(0o600)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: OwnUserProtocol(self.handle, os.getuid()), sock=listener
        )

    async def close(self) -> None:
        """Refuse new connections, end the streams, and let running answers finish."""
        if self._server is not None:
            self._server.close()
        for stream in tuple(self._streams):
            stream.end()
        current = asyncio.current_task()
        pending = [task for task in self._tasks if task is not current]
        if pending:
            await asyncio.wait(pending, timeout=1.0)

    def handle(self, request: Request, way: Responder) -> None:
        """Answer one request; every error becomes a document."""
        try:
            self._route(request, way)
        except ClusterError as error:
            send_error(way, error)

    def _route(self, request: Request, way: Responder) -> None:
        if request.path == "/v1/rpc":
            if request.method != "POST":
                raise BadRequest("/v1/rpc takes POST")
            self._rpc(request, way)
        elif request.method not in ("GET", "HEAD"):
            raise BadRequest(f"{request.path} takes GET")
        elif request.path in self._gets:
            self._gets[request.path](request, way)
        elif request.path.startswith("/v1/nodes/"):
            send_json(way, 200, self._node(request.path.removeprefix("/v1/nodes/")))
        else:
            paths = sorted([*self._gets, "/v1/nodes/{name}", "/v1/rpc"])
            error = BadRequest(f"no such path: {request.path}", data={"paths": paths})
            send_json(way, 404, {"error": error.document()})

    def _node(self, name: str) -> Mapping[str, Any]:
        nodes = self._answers.status()["nodes"]
        for node in nodes:
            if node["name"] == name:
                return node
        names = [node["name"] for node in nodes]
        raise NoSuchNode(f"no node is called {name!r}", data={"selector": name, "nodes": names})

    def _rpc(self, request: Request, way: Responder) -> None:
        try:
            envelope = msgspec.json.decode(request.body, type=Envelope)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(f"cannot read the call: {error}") from error
        task = asyncio.create_task(self._run(envelope, way))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        way.on_disconnect = lambda: _cancel(task)

    async def _run(self, envelope: Envelope, way: Responder) -> None:
        try:
            async with asyncio.timeout(envelope.deadline_ms / 1e3):
                result = await self._answers.call(envelope.method, envelope.params)
        except TimeoutError:
            late = WaitTimeout(f"{envelope.method}: not within {envelope.deadline_ms} ms")
            send_error(way, late, id=envelope.id, ok=False)
        except ClusterError as error:
            send_error(way, error, id=envelope.id, ok=False)
        else:
            send_json(way, 200, {"id": envelope.id, "ok": True, "result": result})

    def _events(self, request: Request, way: Responder) -> None:
        since = number(request, "since")
        if not number(request, "follow"):
            lines = b"".join(encode_line(event) for event in self._answers.events.since(since))
            way.start(200, [LINES_TYPE])
            way.write(lines)
            way.end()
            return
        snapshot: Event = {
            "type": EVENT_SNAPSHOT,
            "seq": self._answers.events.seq,
            "status": self._answers.status(),
        }
        stream = Stream(way, self._streams.discard)
        self._streams.add(stream)
        stream.begin(snapshot, self._answers.events, since)


class Stream:
    """One follower of the events.

    A follower that does not read is not waited for: beyond a backlog it is cut off, and comes back
    with the last `seq` that it has seen.
    """

    def __init__(self, way: Responder, on_end: Callable[[Stream], None]) -> None:
        self._way = way
        self._on_end = on_end
        self._unfollow: Callable[[], None] = lambda: None
        self._backlog: list[bytes] = []
        self._blocked = False

    def begin(self, snapshot: Event, events: EventLog, since: int) -> None:
        """Send the snapshot, then what was missed since `since` (0 = nothing), then what comes."""
        self._way.on_disconnect = self._gone
        self._way.on_drain = self._drained
        self._way.start(200, [LINES_TYPE])
        self._send(encode_line(snapshot))
        for event in events.since(since) if since else ():
            self._send(encode_line(event))
        self._unfollow = events.follow(lambda event: self._send(encode_line(event)))

    def end(self) -> None:
        """No more events will come."""
        self._gone()
        if not self._blocked:
            self._way.end()

    def _send(self, line: bytes) -> None:
        if not self._blocked:
            self._blocked = not self._way.write(line)
        elif len(self._backlog) < BACKLOG_EVENTS_MAX:
            self._backlog.append(line)
        else:
            self._gone()

    def _drained(self) -> None:
        self._blocked = False
        backlog, self._backlog = self._backlog, []
        if backlog:
            self._blocked = not self._way.write(b"".join(backlog))

    def _gone(self) -> None:
        self._unfollow()
        self._on_end(self)


class OwnUserProtocol(Http1Protocol):
    """HTTP for peers of one user (and root, who could become that user anyway)."""

    def __init__(self, handle: Callable[[Request, Responder], None], uid: int) -> None:
        super().__init__(handle)
        self._allowed = {uid, 0}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the kernel who it is; a stranger gets a refusal and nothing it sends is read."""
        peer: socket.socket = transport.get_extra_info("socket")
        if peer_uid(peer) in self._allowed:
            super().connection_made(transport)
            return
        assert isinstance(transport, asyncio.Transport)
        transport.set_protocol(asyncio.Protocol())
        transport.write(FORBIDDEN)
        transport.close()


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def peer_uid(peer: socket.socket) -> int:
    """The user at the other end of a unix socket, as the kernel recorded it at connect."""
    content = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    _, uid, _ = CREDENTIALS.unpack(content)
    return int(uid)


def number(request: Request, name: str) -> int:
    """A query parameter that counts; 0 when absent.

    Raises:
        BadRequest: it is not a number.
    """
    text = request.query.get(name, ["0"])[-1]
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadRequest(f"{name} must be a number, not {text!r}")
    return int(text)


def encode_line(document: Mapping[str, Any]) -> bytes:
    """One JSON document on one line."""
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def send_json(way: Responder, status: int, document: Mapping[str, Any]) -> None:
    """Answer with a document."""
    way.respond(status, [JSON_TYPE], encode_line(document))


def send_error(way: Responder, error: ClusterError, **more: object) -> None:
    """Answer with an error's document; the HTTP status follows from its exit code."""
    status = STATUS_BY_EXIT.get(error.exit_code, 500)
    send_json(way, status, {**more, "error": error.document()})


def send_health(way: Responder, well: bool) -> None:
    """As etcd's probes answer."""
    way.respond(200 if well else 503, [TEXT_TYPE], b"ok\n" if well else b"not ok\n")
