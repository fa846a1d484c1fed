"""gRPC server reflection: a client without .proto files learns what is served and how it looks.

The answers come from the descriptor pool of our own messages; nothing in them depends on what is
stored. v1 and v1alpha differ in the package's name alone, so one handler reads both. A question
that has no answer gets an error response and the stream goes on. Each stream gets a file at most
once, unless it asks for that very file again.

    grpcurl -plaintext localhost:2379 describe etcdserverpb.KV

Source: gRPC's reflection.proto, grpc-go reflection (closure of files, sorted services, texts).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Any

from node.api.call import StreamCall
from node.api.errors import Fault
from node.proto import reflection
from node.proto.pool import POOL
from transport.grpc import Status

WAITING_MAX = 64
"""Questions of a client that does not read its answers; one more ends its stream."""

TOO_MANY_QUESTIONS = Fault(Status.RESOURCE_EXHAUSTED, "too many reflection requests unanswered")

_NOT_FOUND = "proto: not found"

Request = reflection.ServerReflectionRequest
Response = reflection.ServerReflectionResponse
File = Any
"""A FileDescriptor: of one class or another, as protobuf is implemented."""


class Reflection:
    """ServerReflectionInfo."""

    def __init__(self, services: Collection[str]) -> None:
        """Tell of `services` by their full names."""
        self._services = sorted(services)

    def info(self, call: StreamCall) -> ReflectionStream:
        """Answer one client's questions."""
        return ReflectionStream(self._services, call)


class ReflectionStream:
    """One client's questions, answered in order."""

    def __init__(self, services: list[str], call: StreamCall) -> None:
        """Wait for the first question."""
        self._services = services
        self._call = call
        self._sent: set[str] = set()
        self._waiting: deque[reflection.ServerReflectionRequest] = deque()
        self._paused = False
        self._ends = False

    def received(self, message: bytes) -> None:
        """Answer a question now, or when the client reads again."""
        request = Request.FromString(message)
        if not self._paused:
            self._answer(request)
        elif len(self._waiting) < WAITING_MAX:
            self._waiting.append(request)
        else:
            self._call.fail(TOO_MANY_QUESTIONS)

    def half_closed(self) -> None:
        """The client has asked everything: end once it has all answers."""
        self._ends = True
        self._maybe_end()

    def pause(self) -> None:
        """The client does not read: a short question may have a long answer, so keep questions."""
        self._paused = True

    def resume(self) -> None:
        """The client reads again."""
        self._paused = False
        while self._waiting and not self._paused:
            self._answer(self._waiting.popleft())
        self._maybe_end()

    def closed(self) -> None:
        """Forget what was asked."""
        self._waiting.clear()

    def _maybe_end(self) -> None:
        if self._ends and not self._waiting:
            self._call.finish()

    def _answer(self, request: reflection.ServerReflectionRequest) -> None:
        response = Response(valid_host=request.host, original_request=request)
        match request.WhichOneof("message_request"):
            case "list_services":
                for name in self._services:
                    response.list_services_response.service.add(name=name)
            case "file_by_filename":
                self._tell_files(response, file_named(request.file_by_filename))
            case "file_containing_symbol":
                self._tell_files(response, file_containing(request.file_containing_symbol))
            case "file_containing_extension":
                asked = request.file_containing_extension
                file = file_extending(asked.containing_type, asked.extension_number)
                self._tell_files(response, file)
            case "all_extension_numbers_of_type":
                tell_extensions(response, request.all_extension_numbers_of_type)
            case _:
                self._call.fail(
                    Fault(Status.INVALID_ARGUMENT, f"invalid MessageRequest: {request}")
                )
                return
        self._call.send(response.SerializeToString())

    def _tell_files(self, response: reflection.ServerReflectionResponse, file: File | None) -> None:
        """The file itself, then those that it depends on and that the stream has not had yet."""
        if file is None:
            refuse(response)
            return
        told = response.file_descriptor_response.file_descriptor_proto
        queue = deque([file])
        while queue:
            file = queue.popleft()
            if told and file.name in self._sent:
                continue
            self._sent.add(file.name)
            told.append(file.serialized_pb)
            queue.extend(file.dependencies)


def refuse(response: reflection.ServerReflectionResponse) -> None:
    """There is no answer to the question."""
    response.error_response.error_code = Status.NOT_FOUND
    response.error_response.error_message = _NOT_FOUND


def file_named(name: str) -> File | None:
    """The file of this name; None = there is none."""
    try:
        return POOL.FindFileByName(name)
    except KeyError:
        return None


def file_containing(symbol: str) -> File | None:
    """The file that declares a symbol: message, field, enum, value, service or method."""
    service, _, method = symbol.rpartition(".")
    for name in (symbol, service):
        try:
            found = POOL.FindFileContainingSymbol(name)
        except KeyError:
            continue
        if name == symbol or declares_method(found, service, method):
            return found
    return None


def declares_method(file: File, service: str, method: str) -> bool:
    """Whether a service of the file has this method; the pool's index leaves methods out."""
    return any(
        declared.full_name == service and method in declared.methods_by_name
        for declared in file.services_by_name.values()
    )


def file_extending(message: str, number: int) -> File | None:
    """The file that declares an extension of a message."""
    try:
        extension = POOL.FindExtensionByNumber(POOL.FindMessageTypeByName(message), number)
        return POOL.FindFileContainingSymbol(extension.full_name)
    except KeyError:
        return None


def tell_extensions(response: reflection.ServerReflectionResponse, message: str) -> None:
    """The numbers of all extensions of a message."""
    try:
        extended = POOL.FindMessageTypeByName(message)
    except KeyError:
        refuse(response)
        return
    told = response.all_extension_numbers_response
    told.base_type_name = message
    told.extension_number.extend(each.number for each in POOL.FindAllExtensions(extended))
