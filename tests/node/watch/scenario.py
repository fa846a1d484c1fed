"""Commands of the hub's scenario scripts. Each prints what the streams got by it.

    open [fragment=BYTES]
    create STREAM [KEY [END]] [start=N] [id=N] [prev] [progress] [fragment] [noput] [nodelete]
    cancel STREAM ID      progress STREAM      odd STREAM
    pause STREAM          resume STREAM        close STREAM
    catch-up EVENTS       tick N               install (all that was not published yet)
    quiet COMMAND …       a command of the machine whose events are not published
    put, delete, txn, compact, grant, revoke, slice: see tests/node/machine/scenario

A line is `stream/watch`, what happened, and the revision of the header.
"""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import Message

from node.machine.answer import Answer
from node.machine.envelope import RequestKind
from node.machine.errors import Refusal
from node.machine.wire import field, varint
from node.proto import kv, rpc
from node.watch import WatchHub
from tests.node.machine import scenario as machine_scenario
from tests.node.machine.scenario import describe_kv, options
from tests.support.datadriven import Step
from tests.support.machine import Replica

TICKS = 3


def header(revision: int) -> bytes:
    """A header that says nothing but the revision."""
    return field(1, b"\x18" + varint(revision) if revision else b"")


def new_hub(replica: Replica) -> WatchHub:
    return WatchHub(replica.machine, header, progress_notify_ticks=TICKS)


class Store(machine_scenario.Scenario):
    """The machine's commands, publishing to a hub."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = new_hub(self.replica)
        self.quiet = False

    def _apply(self, kind: RequestKind, request: Message) -> Answer | Refusal:
        applied = self.replica.apply(kind, request)
        if applied.events and not self.quiet:
            self.hub.publish(applied.events)
        return applied.outcome


class Scenario:
    """One store, one hub, its streams."""

    def __init__(self) -> None:
        self.store = Store()
        self.hub = self.store.hub

    def execute(self, step: Step) -> str:
        words = step.command.split()
        command: Callable[[list[str]], str] | None = getattr(
            self, "_" + step.name.replace("-", "_"), None
        )
        note = self._store(words) if command is None else command(words[1:])
        told = [describe(stream, message) for stream, message in self.hub.take_output()]
        return "\n".join([*filter(None, [note]), *told])

    def _store(self, words: list[str]) -> str:
        done: Callable[[list[str]], str] = getattr(self.store, "_" + words[0])
        answer = done(words[1:]).splitlines()[-1]
        return answer if words[0] != "slice" else ""

    def _quiet(self, words: list[str]) -> str:
        self.store.quiet = True
        answer = self._store(words)
        self.store.quiet = False
        return answer

    def _open(self, words: list[str]) -> str:
        given = options(words)
        bytes_max = int(given.get("fragment", 2 << 20))
        return f"stream {self.hub.open_stream(bytes_max)}"

    def _create(self, words: list[str]) -> str:
        given = options(words)
        flags = {"prev", "progress", "fragment", "noput", "nodelete"}
        stream, *keys = (word for word in words if "=" not in word and word not in flags)
        keys = [key.replace("\\0", "\0") for key in [*keys, "", ""]]
        request = rpc.WatchCreateRequest(
            key=keys[0].encode(),
            range_end=keys[1].encode(),
            start_revision=int(given.get("start", 0)),
            watch_id=int(given.get("id", 0)),
            prev_kv="prev" in words,
            progress_notify="progress" in words,
            fragment="fragment" in words,
            filters=[flag.upper() for flag in ("noput", "nodelete") if flag in words],
        )
        self.hub.handle(int(stream), rpc.WatchRequest(create_request=request))
        return ""

    def _cancel(self, words: list[str]) -> str:
        request = rpc.WatchCancelRequest(watch_id=int(words[1]))
        self.hub.handle(int(words[0]), rpc.WatchRequest(cancel_request=request))
        return ""

    def _progress(self, words: list[str]) -> str:
        request = rpc.WatchRequest(progress_request=rpc.WatchProgressRequest())
        self.hub.handle(int(words[0]), request)
        return ""

    def _odd(self, words: list[str]) -> str:
        self.hub.handle(int(words[0]), rpc.WatchRequest())
        return ""

    def _pause(self, words: list[str]) -> str:
        self.hub.pause(int(words[0]))
        return ""

    def _resume(self, words: list[str]) -> str:
        self.hub.resume(int(words[0]))
        return ""

    def _close(self, words: list[str]) -> str:
        self.hub.close_stream(int(words[0]))
        return f"{self.hub.watchers} watchers"

    def _catch_up(self, words: list[str]) -> str:
        return "more to do" if self.hub.catch_up(int(words[0])) else "all caught up"

    def _tick(self, words: list[str]) -> str:
        for _ in range(int(words[0])):
            self.hub.tick()
        return ""

    def _install(self, words: list[str]) -> str:
        self.store.replica.restart()
        self.hub.replace_history(self.store.replica.machine)
        return ""


def describe(stream: int, message: bytes) -> str:
    response = rpc.WatchResponse.FromString(message)
    facts = [f"{stream}/{response.watch_id}"]
    facts += [name for name in ("created", "canceled", "fragment") if getattr(response, name)]
    if response.compact_revision:
        facts.append(f"compacted {response.compact_revision}")
    facts += [response.cancel_reason] if response.cancel_reason else []
    facts.append(f"at {response.header.revision}")
    return "\n".join([" ".join(facts), *(describe_event(event) for event in response.events)])


def describe_event(event: kv.Event) -> str:
    text = f"  {kv.Event.EventType.Name(event.type).lower()} {describe_kv(event.kv)}"
    return text + (f" was {describe_kv(event.prev_kv)}" if event.HasField("prev_kv") else "")
