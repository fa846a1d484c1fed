"""The judges share no code with what they judge."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import tools.check

_ALLOWED = {"msgspec", "tools", *sys.stdlib_module_names}


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
    imported = {name for module in modules for name in _imported(module)}

    assert len(modules) > 10
    assert {name.split(".")[0] for name in imported} <= _ALLOWED
    assert all(name.startswith("tools.check") for name in imported if name.startswith("tools"))
