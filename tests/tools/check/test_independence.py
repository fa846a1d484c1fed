"""The judges share no code with what they judge."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import tools.check

_ALLOWED = {"msgspec", "tools", *sys.stdlib_module_names}
_MESSAGES = {"google.protobuf.message", "node.proto"}
"""What the converter may know beyond that: the messages of the API, none of the product's code."""


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_checks_import_nothing_of_the_product() -> None:
    modules = list(Path(tools.check.__path__[0]).glob("*.py"))
    judges = [module for module in modules if module.name != "convert.py"]
    imported = {name for module in judges for name in _imported(module)}

    assert len(modules) > 10
    assert {name.split(".")[0] for name in imported} <= _ALLOWED
    assert all(name.startswith("tools.check") for name in imported if name.startswith("tools"))


def test_converter_knows_the_messages_and_nothing_else_of_the_product() -> None:
    imported = _imported(Path(tools.check.__path__[0]) / "convert.py")

    assert {name for name in imported if name.split(".")[0] not in _ALLOWED} == _MESSAGES


def test_judging_needs_no_protobuf() -> None:
    script = "import sys, tools.check; sys.exit('google.protobuf' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
