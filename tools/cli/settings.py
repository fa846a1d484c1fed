"""Defaults from files: `./conclave.toml` over `$XDG_CONFIG_HOME/conclave/config.toml`.

A key at the top sets an option of `conclave` itself, a table sets options of the verb it is named
after:

    cluster = "demo"
    [up]
    nodes = 5
    timeout = "1m"

Flags and `CONCLAVE_*` variables win over both files. Values are handed to click as text, so that a
file is read by the same rules as the command line: a duration without a unit is refused here too.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from tools.cli.exit import Exit, Failure

FILE_BYTES_MAX = 1 << 20
Settings = dict[str, object]


def settings_paths(environment: Mapping[str, str], directory: Path) -> tuple[Path, Path]:
    """The two files, weakest first."""
    home = environment.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(home, "conclave", "config.toml"), directory / "conclave.toml"


def load_settings(paths: Collection[Path]) -> Settings:
    """Merge the files that exist, later ones over earlier ones, table by table.

    Raises:
        Failure: a file cannot be read or is not TOML.
    """
    merged: Settings = {}
    for path in paths:
        for key, value in read_toml(path).items():
            known = merged.get(key)
            both_tables = isinstance(value, dict) and isinstance(known, dict)
            merged[key] = {**known, **value} if both_tables else value  # type: ignore[dict-item]
    return merged


def read_toml(path: Path) -> Settings:
    """One file as click takes it; an absent file is an empty one."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise Failure(
                f"{path} is larger than 1 MiB", cause="it is not a conclave settings file"
            )
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read {path}", cause=str(error)) from error
    # Imported here: most users have no such file, and the parser costs a tenth of a fast verb.
    import tomllib

    try:
        return {key: as_click_takes_it(value) for key, value in tomllib.loads(text).items()}
    except tomllib.TOMLDecodeError as error:
        raise Failure(
            f"{path} is not valid TOML", code=Exit.USAGE, cause=str(error), hint=f"edit {path}"
        ) from error


def as_click_takes_it(value: object) -> object:
    """Numbers become text; tables and lists are walked; truth values stay."""
    if isinstance(value, dict):
        return {key: as_click_takes_it(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_click_takes_it(inner) for inner in value]
    return value if isinstance(value, bool) else str(value)


def check_keys(found: Collection[str], known: Collection[str], place: str) -> None:
    """Refuse a misspelt key instead of ignoring it.

    Raises:
        Failure: naming the key, its place and what would be valid there.
    """
    for key in found:
        if key not in known:
            raise Failure(
                f"{place} does not know {key!r}",
                code=Exit.USAGE,
                cause="a conclave.toml or config.toml holds a key that no option has",
                hint=f"use one of: {', '.join(sorted(known))}",
            )
