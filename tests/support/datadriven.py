"""Scenario scripts: text files of commands and what each of them prints.

    # A comment belongs to the step that follows it.
    campaign 1
    ----
    1: pre-candidate at term 0

A step is a line with a command and its words, a line of four dashes, and the expected output up to
the next blank line. Words of the form `name=value` are options. An output line that would be blank
is written as a dot. With `rewrite` the file is written anew with the output it got; a person then
reads the diff.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SEPARATOR = "----"


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a script. `words` are its arguments without the options."""

    comments: tuple[str, ...]
    command: str
    expected: str
    line: int

    @property
    def name(self) -> str:
        return self.command.split()[0]

    @property
    def words(self) -> list[str]:
        return [word for word in self.command.split()[1:] if "=" not in word]

    @property
    def options(self) -> dict[str, str]:
        pairs = [word.partition("=") for word in self.command.split()[1:] if "=" in word]
        return {name: value for name, _, value in pairs}


@dataclass(slots=True)
class Script:
    """A parsed file; `trailer` holds comments after the last step."""

    steps: list[Step] = field(default_factory=list)
    trailer: list[str] = field(default_factory=list)


def parse(text: str) -> Script:
    """Raises: ValueError, naming the line, for a command without its separator."""
    script, lines, at = Script(), text.split("\n"), 0
    while at < len(lines):
        line = lines[at].rstrip()
        at += 1
        if not line or line.startswith("#"):
            script.trailer.append(line)
            continue
        if at >= len(lines) or lines[at].rstrip() != SEPARATOR:
            raise ValueError(f"line {at}: `{line}` is not followed by {SEPARATOR}")
        start, at = at, at + 1
        expected = []
        while at < len(lines) and lines[at].strip():
            expected.append(lines[at].rstrip())
            at += 1
        script.steps.append(Step(tuple(script.trailer), line, "\n".join(expected), start))
        script.trailer = []
    return script


def run(path: Path, execute: Callable[[Step], str], *, rewrite: bool) -> None:
    """Run every step of the script at `path`; compare, or rewrite the file."""
    script = parse(path.read_text())
    written: list[str] = []
    for step in script.steps:
        got = normalise(execute(step))
        if not rewrite:
            assert got == step.expected, describe_difference(path, step, got)
        written += [*step.comments, step.command, SEPARATOR]
        written += [got] if got else []
    if rewrite:
        path.write_text("\n".join([*written, *script.trailer]).rstrip() + "\n")


def normalise(output: str) -> str:
    """No trailing blanks, and no blank line that would end the output early."""
    lines = [line.rstrip() or "." for line in output.rstrip().split("\n")]
    return "\n".join(lines) if output.strip() else ""


def describe_difference(path: Path, step: Step, got: str) -> str:
    """What a failing step shows."""
    expected, actual = step.expected.split("\n"), got.split("\n")
    diff = "\n".join(difflib.unified_diff(expected, actual, "expected", "got", lineterm=""))
    return f"{path.name}:{step.line}: {step.command}\n{diff}"
