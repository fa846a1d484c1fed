"""Verbs about the tool itself: doctor, completion, version, and the way to the load generator."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

from tools.cli.colour import Paint
from tools.cli.exit import Exit, Failure
from tools.cli.session import Session, pass_session
from tools.cli.table import columns, printable
from tools.cli.target import DEFAULT, checked_name
from tools.cli.verb import COMPLETE_VARIABLE, PROGRAM, Verb

if TYPE_CHECKING:
    from cluster.config import ClusterConfig
    from tools.cli.doctor import Finding

DISTRIBUTION = "conclave-cluster"
SHELLS = ("bash", "zsh", "fish")
MARKS: Mapping[str, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "warn": ("!", "yellow"),
    "fail": ("✗", "red"),
}


@click.command("doctor", cls=Verb, short_help="Is this machine fit, and what to do if not.")
@click.option("--data", type=click.Path(file_okay=False), help="Check this data directory.")
@pass_session
def doctor_verb(session: Session, data: str | None) -> None:
    """Check Python, packages, limits, ports, shared memory, directories, disk. Changes nothing."""
    from cluster.client import known_clusters
    from cluster.config import data_root, runtime_root
    from tools.cli.doctor import examine

    name = checked_name(session.cluster or DEFAULT)
    stale = [known.name for known in known_clusters() if known.state == "stale"]
    place = Path(data) if data else data_root() / name
    findings = examine(runtime_root() / name, place, stale, stored_config(place))
    failed = [finding.check for finding in findings if finding.level == "fail"]
    document = {
        "schema": "conclave/doctor.v1",
        "fit": not failed,
        "findings": [asdict(finding) for finding in findings],
    }
    session.result(document, finding_lines(findings, session.out))
    if failed:
        raise Failure(f"not fit: {', '.join(failed)}", hint="the fixes above, then conclave doctor")


def stored_config(data: Path) -> ClusterConfig | None:
    """The cluster that a data directory holds, if it can be read."""
    from cluster.config import load
    from cluster.errors import ClusterError

    try:
        stored = load(data / "cluster.json")
    except (ClusterError, OSError):
        return None
    return stored[0] if stored is not None else None


def finding_lines(findings: Sequence[Finding], paint: Paint) -> list[str]:
    """One line per finding; what is not well is followed by its fix."""
    rows = columns(
        [
            [paint(*MARKS[finding.level]), finding.check, printable(finding.detail)]
            for finding in findings
        ]
    )
    lines: list[str] = []
    for row, finding in zip(rows, findings, strict=True):
        lines.append(row)
        if finding.fix:
            lines.append(f"   {paint('fix:', 'dim')} {finding.fix}")
    return lines


@click.command("completion", cls=Verb, short_help="Tab completion for your shell.")
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.option("--install", is_flag=True, help="Write it to where the shell looks.")
@pass_session
def completion_verb(session: Session, shell: str | None, install: bool) -> None:
    """Print the completion script of SHELL (default: yours), or install it."""
    chosen = shell or own_shell(os.environ)
    script = completion_script(chosen)
    document: dict[str, object] = {"schema": "conclave/completion.v1", "shell": chosen}
    if not install:
        session.result({**document, "script": script}, script.splitlines())
        return
    path = completion_path(chosen, os.environ)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script, encoding="utf-8")
    note = [f"written to {path}; it works in the next shell", *after_install(chosen, path)]
    session.result({**document, "path": str(path)}, note)


def own_shell(environment: Mapping[str, str]) -> str:
    """The user's login shell.

    Raises:
        Failure: it is none that we can complete for.
    """
    name = os.path.basename(environment.get("SHELL", ""))
    if name in SHELLS:
        return name
    raise Failure(
        "which shell?",
        code=Exit.USAGE,
        cause=f"SHELL is {name or 'not set'}",
        hint="conclave completion bash, zsh or fish",
    )


def completion_script(shell: str) -> str:
    """Click's own script for `conclave`."""
    from tools.cli.__main__ import conclave

    kind = get_completion_class(shell)
    if kind is None:
        raise Failure(f"there is no completion for {shell}", code=Exit.USAGE)
    return kind(conclave, {}, PROGRAM, COMPLETE_VARIABLE).source()


def completion_path(shell: str, environment: Mapping[str, str]) -> Path:
    """The file that the shell loads by itself (bash by bash-completion 2, zsh by its fpath)."""
    home = environment.get("HOME") or os.path.expanduser("~")
    data = environment.get("XDG_DATA_HOME") or f"{home}/.local/share"
    config = environment.get("XDG_CONFIG_HOME") or f"{home}/.config"
    match shell:
        case "bash":
            return Path(data, "bash-completion", "completions", PROGRAM)
        case "zsh":
            return Path(data, "zsh", "site-functions", f"_{PROGRAM}")
        case _:
            return Path(config, "fish", "completions", f"{PROGRAM}.fish")


def after_install(shell: str, path: Path) -> list[str]:
    """What zsh has to be told once; the others look there by themselves."""
    if shell != "zsh":
        return []
    return [f"zsh: put this before compinit in .zshrc:  fpath=({path.parent} $fpath)"]


@click.command("version", cls=Verb, short_help="Versions of conclave, etcd API, Python.")
@pass_session
def version_verb(session: Session) -> None:
    """Print versions."""
    session.result(version_document(), version_lines())


def version_document() -> dict[str, object]:
    """Schema `conclave/version.v1`."""
    from node.config import ETCD_VERSION

    return {
        "schema": "conclave/version.v1",
        "conclave": metadata.version(DISTRIBUTION),
        "etcd_api": ETCD_VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def version_lines() -> list[str]:
    """The same for people."""
    document = version_document()
    return [
        f"conclave {document['conclave']}"
        f" (etcd API {document['etcd_api']}, Python {document['python']})"
    ]
