"""One episode at all sides at once: the same steps, and where the answers part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from node.proto import rpc
from tests.differential.observer import Observer
from tests.differential.side import Answer, Side
from tests.differential.step import Ask, Step, Watch, groups, line, whole_state
from tests.support.api_client import Failed


@dataclass(frozen=True)
class Difference:
    """Where two sides part."""

    subject: str
    """The step, or the watcher."""
    told: dict[str, str]
    """What each side said."""
    kind: str
    """What it has in common with those of which it is an example."""

    def __str__(self) -> str:
        told = "\n".join(f"  {name:<10} {said}" for name, said in self.told.items())
        return f"{self.subject}\n{told}"


@dataclass
class Experience:
    """What happened in a run: silence means something only about what was asked."""

    steps: int = 0
    episodes: int = 0
    disturbed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    """Kind of request and how it ended, at the first side."""

    def table(self) -> str:
        """Lines for people."""
        lines = [f"{count:>8}  {name}" for name, count in sorted(self.outcomes.items())]
        head = f"{self.steps} operations in {self.episodes} episodes, {self.disturbed} disturbed"
        return "\n".join([*lines, head])


def compare(
    sides: Sequence[Side], steps: Sequence[Step], experience: Experience
) -> Difference | None:
    """Run an episode; the first difference.

    Raises:
        Disturbed: a side could not answer for a while, so nothing can be said.
    """
    with ExitStack() as stack:
        observers: list[Observer] = []
        for side in sides:
            side.begin()
        for side in sides:
            observers.append(Observer(side))
            stack.callback(observers[-1].close)
        for group in groups([*steps, *whole_state()]):
            found = _together(sides, observers, group, experience)
            if found is not None:
                return found
        for observer in observers:
            observer.settle()
        return _parting_stories(sides, observers)


def _together(
    sides: Sequence[Side],
    observers: Sequence[Observer],
    group: Sequence[Step],
    experience: Experience,
) -> Difference | None:
    """Do one step, or some whose order is no matter."""
    if isinstance(group[0], Watch):
        for side, observer in zip(sides, observers, strict=True):
            side.catch_up()
            observer.request(group[0].stream, group[0].request)
        experience.outcomes[f"Watch {group[0].request.WhichOneof('request_union')}"] += 1
        experience.steps += 1
        return None
    asked = [step for step in group if isinstance(step, Ask)]
    _prepare(sides, observers, asked)
    pending = [[side.send(step) for step in asked] for side in sides]
    answers = [
        [side.receive(each) for each in mine] for side, mine in zip(sides, pending, strict=True)
    ]
    for step, *told in zip(asked, *answers, strict=True):
        experience.steps += 1
        experience.outcomes[outcome(step, told[0])] += 1
        if any(answer != told[0] for answer in told):
            said = {side.name: _said(answer) for side, answer in zip(sides, told, strict=True)}
            kind = " / ".join(outcome(step, answer) for answer in told)
            return Difference(str(step), said, kind)
    for observer, mine in zip(observers, answers, strict=True):
        for step, answer in zip(asked, mine, strict=True):
            _note(observer, step, answer)
    return None


def _prepare(sides: Sequence[Side], observers: Sequence[Observer], asked: Sequence[Ask]) -> None:
    if any(step.local for step in asked):
        for side in sides:
            side.catch_up()
    if isinstance(asked[0].request, rpc.CompactionRequest):
        # Whoever reads history must have read it: how fast that goes is a server's own business.
        for observer in observers:
            observer.settle()


def _note(observer: Observer, step: Ask, answer: Answer) -> None:
    if isinstance(answer, Failed) or not answer.HasField("header"):
        return
    header: Any = answer
    observer.revision = max(observer.revision, header.header.revision)
    if isinstance(step.request, rpc.CompactionRequest):
        observer.compacted = step.request.revision


def _parting_stories(sides: Sequence[Side], observers: Sequence[Observer]) -> Difference | None:
    stories = [dict(observer.stories()) for observer in observers]
    for subject in sorted(set().union(*stories)):
        told = [mine.get(subject, []) for mine in stories]
        if any(story != told[0] for story in told):
            said = {
                side.name: "".join(f"\n    {each}" for each in story)
                for side, story in zip(sides, told, strict=True)
            }
            return Difference(subject, said, "what watchers are told")
    return None


def outcome(step: Ask, answer: Answer) -> str:
    """What an experience counts."""
    name = type(step.request).__name__.removesuffix("Request")
    return f"{name}: {answer.text if isinstance(answer, Failed) else 'ok'}"


def _said(answer: Answer) -> str:
    return str(answer) if isinstance(answer, Failed) else line(answer)
