"""The command line run in this process, for tests that look at its output and exit code."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from tools.cli.__main__ import conclave


class RunConclave:
    """Runs one command line in this process."""

    def __call__(self, *arguments: str, stdin: str | bytes | None = None) -> Result:
        """The result of `conclave ARGUMENTS`."""
        return CliRunner().invoke(conclave, list(arguments), input=stdin)


def document_of(result: Result) -> dict[str, Any]:
    """The one JSON document on stdout."""
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def error_of(result: Result) -> dict[str, Any]:
    """The one JSON object on stderr."""
    found = json.loads(result.stderr)
    assert isinstance(found, dict)
    return found
