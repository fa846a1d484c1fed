"""A management socket that answers what a test wrote down, for testing what stands on its client.

Real HTTP over a real unix socket in the real runtime directory, with the real lock on the pid file;
only the cluster behind it is missing. It records every call, so that a test can see what was asked.
"""

from __future__ import annotations

import fcntl
import json
import os
import socketserver
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any

from cluster.config import ClusterConfig, Identity, runtime_root, save
from cluster.document import Event, StatusDocument
from cluster.errors import ClusterError

Call = tuple[str, dict[str, Any]]
Verbs = Mapping[str, Callable[[dict[str, Any]], Any]]


class ManagementServer:
    """One running cluster, as far as its socket can tell.

    Args:
        directory: its data directory; `n1/log` … and `events.jsonl` may be put there.
        verbs: what each RPC method answers; it may raise a ClusterError.
        stream: the events that a follower gets before the stream ends.
    """

    def __init__(
        self,
        directory: Path,
        status: StatusDocument,
        *,
        name: str = "default",
        verbs: Verbs | None = None,
        stream: list[Event] | None = None,
        metrics: str = "",
    ) -> None:
        self.calls: list[Call] = []
        self.directory = directory
        self.status = status
        self.verbs = dict(verbs or {})
        self.stream = stream or []
        self.metrics = metrics
        self.runtime = runtime_root() / name
        self._name = name

    def __enter__(self) -> ManagementServer:
        self.runtime.mkdir(parents=True, mode=0o700)
        self.directory.mkdir(parents=True, exist_ok=True)
        config = ClusterConfig(name=self._name, nodes=len(self.status["nodes"]))
        save(self.directory / "cluster.json", config, Identity.draw(config.names))
        pointer = {"directory": str(self.directory)}
        (self.runtime / "cluster.json").write_text(json.dumps(pointer))
        self._lock = open(self.runtime / "pid", "w+")
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._server = UnixServer(str(self.runtime / "ctl.sock"), handler_for(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._lock.close()


def raising(error: Exception) -> Callable[[dict[str, Any]], Any]:
    """A verb that answers with an error."""

    def verb(_: dict[str, Any]) -> Any:
        raise error

    return verb


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """One thread per connection."""


def handler_for(server: ManagementServer) -> type[BaseHTTPRequestHandler]:
    """A request handler bound to one server."""

    class Handler(BaseHTTPRequestHandler):
        """GET for documents and streams, POST for verbs."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Status, metrics, events."""
            path = self.path.partition("?")[0]
            server.calls.append((self.path, {}))
            if path == "/v1/status":
                self.answer(json.dumps(server.status))
            elif path == "/metrics":
                self.answer(server.metrics)
            elif path == "/v1/history":
                self.answer(json.dumps(self.called("history", {})))
            else:
                self.chunks(server.stream)

        def do_POST(self) -> None:
            """One RPC."""
            length = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(length))
            server.calls.append((body["method"], body["params"]))
            try:
                result = self.called(body["method"], body["params"])
                document = {"id": body["id"], "ok": True, "result": result}
            except ClusterError as error:
                document = {"id": body["id"], "ok": False, "error": error.document()}
            self.answer(json.dumps(document))

        def called(self, method: str, params: dict[str, Any]) -> Any:
            """The answer that the test wrote down."""
            return server.verbs[method](params)

        def answer(self, text: str) -> None:
            """A body of known length."""
            content = text.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def chunks(self, events: list[Event]) -> None:
            """JSON lines as they come, then the end of the stream."""
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in events:
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.write(b"0\r\n\r\n")

        def address_string(self) -> str:
            """A unix peer has no address."""
            return "unix"

        def log_message(self, *_: object) -> None:
            """Tests read the calls instead."""

    return Handler
