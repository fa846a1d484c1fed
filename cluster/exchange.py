"""Blocking HTTP/1.1 over a unix socket: one request, one answer, one connection.

The standard library's HTTP client would cost the command line a fifth of its time budget in
imports, and all that is needed is this: our own daemon answers, on this host, with a
Content-Length or in chunks. Nothing here is meant for another server.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from cluster.errors import ClusterError, Forbidden, NotRunning, WaitTimeout, error_from

LINE_BYTES_MAX = 64 * 1024
FORBIDDEN = 403


class Answer:
    """An answer whose head was read; its body is taken by `body` or by `lines`, once."""

    def __init__(self, connection: socket.socket, stream: BinaryIO) -> None:
        self._connection = connection
        self._stream = stream
        version, status, *_ = self._line().split(b" ", 2)
        if not version.startswith(b"HTTP/1."):
            raise ClusterError("the management socket does not speak HTTP")
        self.status = int(status)
        self.headers = dict(self._headers())

    def body(self) -> bytes:
        """The whole body; the connection is closed."""
        with self:
            if self.headers.get("transfer-encoding") == "chunked":
                return b"".join(self._chunks())
            length = int(self.headers.get("content-length", "0"))
            content = self._stream.read(length)
            if len(content) < length:
                raise NotRunning("the supervisor ended while it answered")
            return content

    def lines(self) -> Iterator[bytes]:
        """The body line by line, as it arrives; ends when the daemon ends it or goes away."""
        rest = b""
        with self:
            for chunk in self._chunks():
                *complete, rest = (rest + chunk).split(b"\n")
                yield from complete

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._connection.close()

    def _headers(self) -> Iterator[tuple[str, str]]:
        while line := self._line():
            name, _, value = line.partition(b":")
            yield name.decode("ascii").lower(), value.strip().decode("latin-1")

    def _chunks(self) -> Iterator[bytes]:
        while text := self._line():
            length = int(text, 16)
            content = self._stream.read(length)
            self._line()
            if length == 0:
                return
            yield content

    def _line(self) -> bytes:
        return self._stream.readline(LINE_BYTES_MAX).rstrip(b"\r\n")


def request(
    path: Path, method: str, target: str, body: bytes = b"", *, timeout_s: float | None
) -> Answer:
    """Send one request.

    Args:
        timeout_s: patience with each read; None waits for ever (a followed stream).

    Raises:
        NotRunning: nobody listens at `path`, known at once.
        WaitTimeout: somebody listens and does not answer.
        Forbidden: the daemon is another user's.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(str(path))
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: conclave\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        # A refusal may come, and the connection close, before all is sent: the answer still counts.
        with suppress(BrokenPipeError):
            connection.sendall(head.encode("ascii") + body)
        answer = Answer(connection, connection.makefile("rb"))
    except TimeoutError:
        connection.close()
        raise WaitTimeout(
            f"the supervisor did not answer within {timeout_s:g} s", hint="conclave doctor"
        ) from None
    except (OSError, ValueError) as error:
        connection.close()
        raise NotRunning(
            f"no supervisor answers at {path}", hint="conclave up", data={"cause": str(error)}
        ) from error
    if answer.status == FORBIDDEN:
        answer.body()
        raise Forbidden(f"the cluster at {path} belongs to another user")
    return answer


def request_json(
    path: Path, method: str, target: str, body: bytes = b"", *, timeout_s: float | None
) -> dict[str, Any]:
    """Send one request and take its JSON answer.

    Raises:
        ClusterError: as `request`, or the error that the daemon answered.
    """
    try:
        answer = request(path, method, target, body, timeout_s=timeout_s)
        document: dict[str, Any] = json.loads(answer.body())
    except TimeoutError:
        raise WaitTimeout(f"the supervisor did not finish within {timeout_s:g} s") from None
    except (ConnectionError, ValueError) as error:
        raise NotRunning("the supervisor ended while it answered") from error
    if "error" in document:
        raise error_from(document["error"])
    return document
