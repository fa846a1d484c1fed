"""As which user to ask, in the way of etcdctl: `--user name[:password]`, `--password`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def user_options(function: Function) -> Function:
    """Add both to a verb."""
    for decorate in (
        click.option("--password", metavar="TEXT", help="The password, if not in --user."),
        click.option("--user", metavar="NAME[:PASSWORD]", help="As whom; asks for the password."),
    ):
        function = decorate(function)
    return function


def login_of(options: Mapping[str, Any]) -> tuple[str, str] | None:
    """Name and password, which is asked for on a terminal; None = as nobody in particular.

    Raises:
        click.UsageError: half of it is missing.
    """
    user, password = options["user"], options["password"]
    if user is None:
        if password is not None:
            raise click.UsageError("--password needs --user")
        return None
    name, colon, typed = (user, "", "") if password is not None else user.partition(":")
    if not name:
        raise click.UsageError("--user has no name: NAME or NAME:PASSWORD")
    if password is None and colon:
        password = typed
    if password is None:
        if not sys.stdin.isatty():
            raise click.UsageError(f"no password for {name}: --password, or --user {name}:PASSWORD")
        password = click.prompt("Password", hide_input=True, err=True)
    return name, str(password)
