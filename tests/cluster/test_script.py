"""The scripts in testdata/: states, policies, selectors, conditions and leadership as tables."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from cluster.condition import EventCondition, StatusCondition, parse
from cluster.document import Event
from cluster.errors import BadRequest, InvariantViolated, NoSuchNode
from cluster.leadership import Leadership, reigns
from cluster.policy import GiveUp, Leave, Restart, classify, decide
from cluster.selector import Candidate, resolve
from cluster.state import LIVE, State, Trigger, after
from tests.support import datadriven
from tests.support.cluster_status import status_of

SCRIPTS = sorted(Path(__file__).with_name("testdata").glob("*.txt"))
CHANCE = ("minority", "majority", "any", "any-follower")


class Tables:
    """What the steps of one script share."""

    def __init__(self) -> None:
        self.nodes: list[Candidate] = []
        self.leadership = Leadership()
        self.events: list[Event] = []
        self.status = status_of("DOWN")

    def execute(self, step: datadriven.Step) -> str:
        """Run one step."""
        match step.name:
            case "move":
                return self.move(step.words)
            case "decide":
                return self.decide(step.words[0], step.options)
            case "nodes":
                return self.define(step.options)
            case "resolve":
                return self.resolve(step.command.removeprefix("resolve "))
            case "elected" | "lost":
                return self.lead(step)
            case "history":
                return "\n".join(describe_reign(row) for row in reigns(self.events))
            case "status":
                self.status = status_of(step.words[0], **step.options)
                return "ok"
            case "holds":
                return self.holds(step.command.removeprefix("holds "))
            case "still":
                return yes(self.condition.holds(self.status))
            case "matches":
                condition = parse(f"event {step.words[0]}")
                assert isinstance(condition, EventCondition)
                return yes(condition.matches({"type": step.options["event"]}))
        raise AssertionError(f"unknown step {step.name}")

    def move(self, words: list[str]) -> str:
        state = State(words[0])
        path = [state.value]
        for word in words[1:]:
            try:
                state = after(state, Trigger(word.replace("-", " ")))
            except InvariantViolated as refusal:
                return " -> ".join([*path, f"refused: {refusal}"])
            path.append(state.value)
        return " -> ".join(path)

    def decide(self, policy: str, options: dict[str, str]) -> str:
        status = int(options["status"])
        decision = decide(policy, status, int(options.get("failures", 0)))  # type: ignore[arg-type]
        kind = classify(status).value
        match decision:
            case Restart(after_ms):
                return f"{kind}: restart after {after_ms} ms"
            case GiveUp(reason):
                return f"{kind}: give up: {reason}"
            case Leave():
                return f"{kind}: leave"

    def define(self, options: dict[str, str]) -> str:
        self.nodes = [
            candidate(name, text.split(","), started)
            for started, (name, text) in enumerate(options.items())
        ]
        return f"{len(self.nodes)} nodes"

    def resolve(self, selector: str) -> str:
        try:
            names = resolve(selector, self.nodes, Random(1))
        except (NoSuchNode, BadRequest) as error:
            return f"{error.code}: {error.message}"
        if names and (selector in CHANCE or " of " in selector):
            leader = next((node.name for node in self.nodes if node.leads), None)
            led = " with the leader" if leader in names else " without the leader"
            return f"{len(names)} nodes{'' if selector == 'any' else led}"
        return " ".join(names) or "nobody"

    def lead(self, step: datadriven.Step) -> str:
        node, at = step.words[0], float(step.options["at"])
        facts: Event = {"node": node, "t_ms": at, "ts": f"at {at:g}"}
        if step.name == "lost":
            lost = self.leadership.lost(node, at)
            word = "lost" if lost else "it did not lead"
            facts |= {"type": "leader.lost", "cause": step.options.get("cause", "")}
            happened = lost
        else:
            term = int(step.options["term"])
            change = self.leadership.elected(node, term, at)
            word = change or "old news"
            facts |= {"type": f"leader.{change}", "term": term}
            happened = change is not None
        # The supervisor writes an event only when the fold says that something has changed.
        self.events += [facts] if happened else []
        return f"{word}; {self.describe_leadership(at)}"

    def describe_leadership(self, at: float) -> str:
        leadership = self.leadership
        who = leadership.leader or "nobody"
        gap = f"leaderless {leadership.leaderless_ms(at):g} ms"
        return f"{who} leads term {leadership.term}; {leadership.elections} elections; {gap}"

    def holds(self, text: str) -> str:
        try:
            condition = parse(text)
        except BadRequest as error:
            return f"{error.code}: {error.message}"
        assert isinstance(condition, StatusCondition)
        self.condition = condition
        return yes(condition.holds(self.status))


def candidate(name: str, words: list[str], started: int) -> Candidate:
    lags = [int(word[4:]) for word in words if word.startswith("lag:")]
    return Candidate(
        name,
        State(words[0]),
        leads="leader" in words,
        learner="learner" in words,
        lag=sum(lags),
        started=float(started),
    )


def describe_reign(row: object) -> str:
    assert isinstance(row, dict)
    gap = "none" if row["gap_ms"] is None else f"{row['gap_ms']:g} ms"
    length = "until now" if row["until"] is None else f"for {row['duration_ms']:g} ms"
    return f"{row['leader']} term {row['term']} {length}, gap {gap}, {row['reason']}"


def yes(truth: bool) -> str:
    return "yes" if truth else "no"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_table_script(path: Path, rewrite: bool) -> None:
    datadriven.run(path, Tables().execute, rewrite=rewrite)


def test_table_scripts_are_found() -> None:
    assert {path.stem for path in SCRIPTS} >= {"state", "policy", "selector", "condition"}


@pytest.mark.parametrize("state", State)
def test_state_table_every_live_state_can_die(state: State) -> None:
    """The kernel asks nobody: a table that forgot a death would kill the supervisor."""
    if state in LIVE:
        assert after(state, Trigger.DEATH) in (State.EXITED, State.STOPPED)
    else:
        assert after(state, Trigger.START) is State.STARTING
