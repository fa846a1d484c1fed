"""The scenario runner itself: what it parses, compares and rewrites."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import datadriven

SCRIPT = """# Greets.
greet ada loudly=yes
----
HELLO ada

greet bob
----
hello bob

# The end.
"""


def greet(step: datadriven.Step) -> str:
    hello = "HELLO" if step.options.get("loudly") == "yes" else "hello"
    return f"{hello} {step.words[0]}"


def test_parse_steps_with_comments_words_and_options() -> None:
    script = datadriven.parse(SCRIPT)

    assert [step.command for step in script.steps] == ["greet ada loudly=yes", "greet bob"]
    assert script.steps[0].comments == ("# Greets.",)
    assert script.steps[0].words == ["ada"]
    assert script.steps[0].options == {"loudly": "yes"}
    assert script.steps[1].expected == "hello bob"
    assert script.trailer == ["", "# The end.", ""]


def test_parse_missing_separator_names_the_line() -> None:
    with pytest.raises(ValueError, match="line 2"):
        datadriven.parse("# x\ngreet ada\nhello\n")


def test_run_matching_output_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "greet.txt"
    path.write_text(SCRIPT)

    datadriven.run(path, greet, rewrite=False)

    assert path.read_text() == SCRIPT


def test_run_other_output_fails_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "greet.txt"
    path.write_text(SCRIPT.replace("hello bob", "hello eve"))

    with pytest.raises(AssertionError, match=r"greet.txt:\d+: greet bob"):
        datadriven.run(path, greet, rewrite=False)


def test_run_rewrite_restores_the_output(tmp_path: Path) -> None:
    path = tmp_path / "greet.txt"
    path.write_text(SCRIPT.replace("hello bob", "hello eve"))

    datadriven.run(path, greet, rewrite=True)

    assert path.read_text() == SCRIPT


def test_normalise_marks_blank_lines() -> None:
    assert datadriven.normalise("a\n\nb\n") == "a\n.\nb"
