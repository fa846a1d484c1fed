"""What clients of a member cluster ask, and everything that they were answered."""

from __future__ import annotations

from typing import Generic, TypeVar

from node.machine.answer import Answer
from node.machine.errors import Refusal
from node.proto import rpc

T = TypeVar("T")
Outcome = Answer | Refusal


class Call(Generic[T]):
    """One request to one member, and everything it was answered."""

    def __init__(self) -> None:
        self.answers: list[T] = []
        self.lost = False
        """The member died before it answered, so no answer is due any more."""

    def __call__(self, answer: T) -> None:
        assert not self.lost, "a dead member answers"
        self.answers.append(answer)

    @property
    def done(self) -> bool:
        return bool(self.answers)

    @property
    def answer(self) -> T:
        """The one answer."""
        assert len(self.answers) == 1, self.answers
        return self.answers[0]


class Put(Call[Outcome]):
    """A put of one key."""

    def __init__(self, key: bytes, value: bytes) -> None:
        super().__init__()
        self.key = key
        self.value = value

    @property
    def revision(self) -> int:
        """Where it was written; 0 = not known to be written."""
        return self.answer.revision if self.done and isinstance(self.answer, Answer) else 0


class Watching:
    """One watch stream with one watcher, as its client sees it."""

    def __init__(self) -> None:
        self.responses: list[rpc.WatchResponse] = []

    def __call__(self, response: bytes) -> None:
        self.responses.append(rpc.WatchResponse.FromString(response))

    @property
    def revisions(self) -> list[int]:
        """Of all events, in the order in which they came."""
        return [event.kv.mod_revision for told in self.responses for event in told.events]

    @property
    def events(self) -> list[tuple[int, bytes, bytes]]:
        """(revision, key, value) of all events, in the order in which they came."""
        return [
            (event.kv.mod_revision, event.kv.key, event.kv.value)
            for told in self.responses
            for event in told.events
        ]

    @property
    def canceled(self) -> bool:
        return any(told.canceled for told in self.responses)
