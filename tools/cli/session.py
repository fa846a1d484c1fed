"""What one run of the command knows: the options that every verb shares, and where to write.

Results go to stdout, everything else to stderr. With `--json` stdout is exactly one JSON document
(or one per line for verbs that stream) and an error is one JSON object on stderr; the exit code is
the same either way.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import click

from tools.cli.colour import Choice, Paint
from tools.cli.exit import Failure

QUIET = -1
STEPS = 1
DEBUG = 2


@dataclass(slots=True)
class Session:
    """Filled while click parses, read by the verb; one per run."""

    json: bool = False
    cluster: str | None = None
    colour: Choice = "auto"
    verbosity: int = 0

    @property
    def out(self) -> Paint:
        """Paint for stdout."""
        return Paint.for_stream(sys.stdout, self.colour)

    @property
    def err(self) -> Paint:
        """Paint for stderr."""
        return Paint.for_stream(sys.stderr, self.colour)

    def result(self, document: Mapping[str, object], lines: Iterable[str]) -> None:
        """The verb's answer: the document with `--json`, else the lines."""
        self.line(encode(document) if self.json else "\n".join(lines))

    def done(self, document: Mapping[str, object], lines: Iterable[str]) -> None:
        """The answer of a verb that acts: what it did, which `-q` does not want to hear."""
        if self.json or self.verbosity > QUIET:
            self.result(document, lines)

    def line(self, text: str) -> None:
        """One line on stdout, out at once: streaming verbs are read line by line."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def note(self, text: str, level: int = 0) -> None:
        """One line on stderr for a human; never with `--json`, and `-q` silences it."""
        if not self.json and self.verbosity >= level:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def fail(self, failure: Failure) -> None:
        """Report a failure on stderr: what failed, the likely cause, the next command."""
        if self.json:
            text = encode(error_document(failure))
        else:
            text = "\n".join(error_lines(failure, self.err))
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


pass_session = click.make_pass_decorator(Session)


def encode(document: object) -> str:
    """One line of ASCII JSON, so that no locale can break a script."""
    return json.dumps(document)


def error_document(failure: Failure) -> dict[str, object]:
    """The JSON form of a failure, schema `conclave/error.v1`."""
    return {
        "schema": "conclave/error.v1",
        "exit": int(failure.code),
        "code": failure.code.name.lower(),
        "message": failure.message,
        "cause": failure.cause or None,
        "hint": failure.hint or None,
        "data": failure.data,
    }


def error_lines(failure: Failure, paint: Paint) -> list[str]:
    """The text form of a failure: at most three parts, a part that is empty takes no line."""
    lines = [f"{paint('error:', 'red', 'bold')} {failure.message}"]
    if failure.cause:
        lines += [f"  {paint('cause:', 'dim')} {line}" for line in failure.cause.splitlines()]
    if failure.hint:
        lines.append(f"  {paint('try:', 'dim')} {failure.hint}")
    return lines
