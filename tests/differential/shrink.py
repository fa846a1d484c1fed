"""The shortest episode that still parts two servers, as far as a bounded search finds it.

First steps are left out, by halves and down to single ones; then the requests that remain lose
their fields, and the operations of their txns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from google.protobuf.message import Message

from node.proto import rpc
from tests.differential.step import Ask, Step, Watch

TRIES_MAX = 400

Fails = Callable[[Sequence[Step]], bool]


def shortest(steps: Sequence[Step], fails: Fails, tries_max: int = TRIES_MAX) -> list[Step]:
    """The smallest sequence found that fails; `steps` does."""
    search = _Search(list(steps), fails, tries_max)
    search.leave_out_steps()
    search.simplify_requests()
    search.leave_out_steps()
    return search.steps


class _Search:
    def __init__(self, steps: list[Step], fails: Fails, tries: int) -> None:
        self.steps = steps
        self._fails = fails
        self._tries = tries

    def leave_out_steps(self) -> None:
        size = len(self.steps)
        while size and self._tries:
            at = 0
            while at < len(self.steps):
                if not self._try([*self.steps[:at], *self.steps[at + size :]]):
                    at += size
            size //= 2

    def simplify_requests(self) -> None:
        for at in range(len(self.steps)):
            while self._tries and self._simplify(at):
                pass

    def _simplify(self, at: int) -> bool:
        """Take one thing away from a step; False = there is nothing that can go."""
        before = self.steps
        return any(
            self._try([*before[:at], step, *before[at + 1 :]]) for step in _simpler_step(before[at])
        )

    def _try(self, steps: list[Step]) -> bool:
        if not self._tries or not steps:
            return False
        self._tries -= 1
        if not self._fails(steps):
            return False
        self.steps = steps
        return True


def _simpler_step(step: Step) -> Iterator[Step]:
    match step:
        case Ask(request):
            yield from map(Ask, simpler(request))
        case Watch(stream, asked):
            for less in simpler(asked):
                assert isinstance(less, rpc.WatchRequest)
                yield Watch(stream, less)


def simpler(message: Message) -> Iterator[Message]:
    """Copies that lack one thing each, the larger things first."""
    for descriptor, value in message.ListFields():
        yield _without(message, descriptor.name)
        if hasattr(value, "extend"):
            for place in range(len(value)):
                copy = _copy(message)
                del getattr(copy, descriptor.name)[place]
                yield copy
                if descriptor.message_type is not None:
                    yield from _inside(message, descriptor.name, place)
        elif descriptor.message_type is not None:
            yield from _inside(message, descriptor.name, None)


def _inside(message: Message, name: str, place: int | None) -> Iterator[Message]:
    def inner(of: Message) -> Message:
        value = getattr(of, name)
        found: Message = value if place is None else value[place]
        return found

    for less in simpler(inner(message)):
        copy = _copy(message)
        inner(copy).CopyFrom(less)
        yield copy


def _without(message: Message, name: str) -> Message:
    copy = _copy(message)
    copy.ClearField(name)
    return copy


def _copy(message: Message) -> Message:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def describe(steps: Sequence[Step]) -> str:
    """One line for each step."""
    return "\n".join(f"{place:>4}. {step}" for place, step in enumerate(steps, 1))
