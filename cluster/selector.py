"""Selectors: words and patterns that mean nodes, resolved once, at the moment of acting. Pure.

    n2   n[1-3]   all   leader   followers   learners   others   running   paused   down
    any   any-follower   oldest   lagging   minority   majority   !leader   2 of followers   n1,n3

`minority` is as many nodes as the cluster can lose, and spares the leader, so that what is left
goes on undisturbed; `majority` is enough to take the quorum away and takes the leader along.
`others` is everyone but the leader, dead ones too; `followers` are the live ones.

A word for a set may mean nobody (`start down` when all are up is done at once); a word for one node
that does not exist now is an error. Random choices draw from the generator that is passed in.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from cluster.errors import BadRequest, NoSuchNode
from cluster.state import DOWN, State

COUNT = re.compile(r"(\d+)\s+of\s+(.+)")
SELECTORS_MAX = 100
"""In one request, commas counted. Reading them must not hold up the supervisor's loop."""
TERM_CHARACTERS_MAX = 100
"""Of what stands between two commas; `!` and `of` nest."""
PATTERN = re.compile(r"[\w\[\]*?.!-]+")


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a selector may look at."""

    name: str
    state: State
    leads: bool = False
    learner: bool = False
    lag: int = 0
    """Entries behind the commit index; the last known for a dead node."""
    started: float = 0.0
    """When its process started, on any increasing clock."""


Nodes = Sequence[Candidate]


def resolve(selector: str, nodes: Nodes, random: Random) -> list[str]:
    """The nodes that a selector means, in node order.

    Raises:
        NoSuchNode: it means one node, and there is none such.
        BadRequest: it cannot be read.
    """
    parts = [part.strip() for part in selector.split(",", SELECTORS_MAX)]
    if len(parts) > SELECTORS_MAX or any(len(part) > TERM_CHARACTERS_MAX for part in parts):
        raise BadRequest("the selector is too long", hint=f"words: {', '.join(WORDS)}")
    chosen = {node.name for part in parts for node in _term(part, nodes, random)}
    return [node.name for node in nodes if node.name in chosen]


def resolve_all(selectors: Sequence[str], nodes: Nodes, random: Random) -> list[str]:
    """The union of several selectors, in node order.

    Raises:
        NoSuchNode, BadRequest: as `resolve`; also when there are no selectors at all.
    """
    if not selectors:
        raise BadRequest("name at least one node", hint="for example: leader, n2, all")
    if len(selectors) > SELECTORS_MAX:
        raise BadRequest(f"{len(selectors)} selectors are too many", hint="for example: all")
    chosen = {name for selector in selectors for name in resolve(selector, nodes, random)}
    return [node.name for node in nodes if node.name in chosen]


def _term(text: str, nodes: Nodes, random: Random) -> list[Candidate]:
    if text.startswith("!"):
        excluded = {node.name for node in _term(text[1:].strip(), nodes, random)}
        return [node for node in nodes if node.name not in excluded]
    if counted := COUNT.fullmatch(text):
        return _sample(int(counted[1]), counted[2].strip(), nodes, random)
    if text in WORDS:
        found = WORDS[text](nodes, random)
        if not found and text in SINGULAR:
            raise _nobody(text, nodes)
        return found
    return _matching(text, nodes)


def _sample(count: int, text: str, nodes: Nodes, random: Random) -> list[Candidate]:
    population = _term(text, nodes, random)
    if count > len(population):
        raise NoSuchNode(
            f"{text} means {len(population)} nodes now, not {count}",
            data={"selector": f"{count} of {text}", "nodes": [node.name for node in population]},
        )
    return random.sample(population, count)


def _matching(text: str, nodes: Nodes) -> list[Candidate]:
    if not PATTERN.fullmatch(text):
        raise BadRequest(f"cannot read the selector {text!r}", hint=f"words: {', '.join(WORDS)}")
    found = [node for node in nodes if fnmatch.fnmatchcase(node.name, text)]
    if not found:
        raise _nobody(text, nodes)
    return found


def _nobody(text: str, nodes: Nodes) -> NoSuchNode:
    names = [node.name for node in nodes]
    message = "no leader is known now" if text == "leader" else f"no node is {text!r} now"
    return NoSuchNode(message, hint="conclave status", data={"selector": text, "nodes": names})


def _alive(nodes: Nodes) -> list[Candidate]:
    return [node for node in nodes if node.state not in DOWN]


def _followers(nodes: Nodes, _: Random) -> list[Candidate]:
    return [node for node in _alive(nodes) if not node.leads and not node.learner]


def _minority(nodes: Nodes, random: Random) -> list[Candidate]:
    voters = [node for node in nodes if not node.learner]
    # A stable sort after a shuffle: the leader goes last, all else is chance.
    ranked = sorted(random.sample(voters, len(voters)), key=lambda node: node.leads)
    return ranked[: (len(voters) - 1) // 2]


def _majority(nodes: Nodes, random: Random) -> list[Candidate]:
    voters = [node for node in nodes if not node.learner]
    ranked = sorted(random.sample(voters, len(voters)), key=lambda node: not node.leads)
    return ranked[: len(voters) // 2 + 1]


def _one(population: Sequence[Candidate], random: Random) -> list[Candidate]:
    return [random.choice(population)] if population else []


def _oldest(nodes: Nodes, _: Random) -> list[Candidate]:
    return sorted(_alive(nodes), key=lambda node: node.started)[:1]


def _lagging(nodes: Nodes, _: Random) -> list[Candidate]:
    return [node for node in nodes if node.lag > 0]


def _in_state(*states: State) -> Callable[[Nodes, Random], list[Candidate]]:
    return lambda nodes, _: [node for node in nodes if node.state in states]


WORDS: dict[str, Callable[[Nodes, Random], list[Candidate]]] = {
    "all": lambda nodes, _: list(nodes),
    "leader": lambda nodes, _: [node for node in nodes if node.leads],
    "followers": _followers,
    "learners": lambda nodes, _: [node for node in nodes if node.learner],
    "others": lambda nodes, _: [node for node in nodes if not node.leads],
    "running": _in_state(State.RUNNING),
    "paused": _in_state(State.PAUSED),
    "down": _in_state(*DOWN),
    "any": lambda nodes, random: _one(_alive(nodes), random),
    "any-follower": lambda nodes, random: _one(_followers(nodes, random), random),
    "oldest": _oldest,
    "lagging": _lagging,
    "minority": _minority,
    "majority": _majority,
}
SINGULAR = frozenset({"leader", "any", "any-follower", "oldest"})
