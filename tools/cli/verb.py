"""What every verb shares: the common options, the help in sections, loading on first use.

`Verb` is a click command with the common options added. They may stand before the verb or after it
(`conclave --json status`, `conclave status --json`); the one nearer to the end wins. `Root` is the
group of all verbs: it knows which module holds which verb, imports that module when the verb is
asked for, and turns every way a run can end into one exit code and one error form.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import shell_complete

from cluster.errors import ClusterError
from tools.cli.completion import complete_cluster
from tools.cli.exit import Exit, Failure, Terminated
from tools.cli.session import DEBUG, QUIET, Session
from tools.cli.settings import check_keys, load_settings, settings_paths
from tools.cli.target import failure_from

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

PROGRAM = "conclave"
COMPLETE_VARIABLE = "_CONCLAVE_COMPLETE"
CONTEXT_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """A callback that stores an option in the session when it was given at this place."""

    def store(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value not in (None, False, 0):
            setattr(ctx.ensure_object(Session), name, value)

    return store


def keep_quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    """Store `-q`, which is the level below 0."""
    if value:
        ctx.ensure_object(Session).verbosity = QUIET


def common_options() -> list[click.Option]:
    """New instances of the options that every verb takes."""
    shared: dict[str, Any] = {"expose_value": False}
    return [
        click.Option(
            ["-c", "--cluster"],
            metavar="NAME",
            callback=keep("cluster"),
            shell_complete=complete_cluster,
            help="Which cluster; default: the only one that runs, else 'default'.",
            **shared,
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            default=None,
            callback=keep("json"),
            help="One JSON document on stdout; errors as JSON on stderr.",
            **shared,
        ),
        click.Option(
            ["--color", "colour"],
            type=click.Choice(["auto", "always", "never"]),
            callback=keep("colour"),
            help="When to colour; NO_COLOR and FORCE_COLOR are heeded.",
            **shared,
        ),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            callback=keep("verbosity"),
            help="Steps; -vv debug.",
            **shared,
        ),
        click.Option(
            ["-q", "--quiet"], is_flag=True, callback=keep_quiet, help="Errors only.", **shared
        ),
    ]


class Verb(click.Command):
    """A command with the common options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", CONTEXT_SETTINGS)
        super().__init__(*args, **kwargs)
        self.own = len(self.params)
        self.params += common_options()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verb's own options first, the common ones in a section of their own."""
        own = [r for p in self.params[: self.own] if (r := p.get_help_record(ctx)) is not None]
        shared = [r for p in self.params[self.own :] if (r := p.get_help_record(ctx)) is not None]
        help_option = self.get_help_option(ctx)
        record = help_option.get_help_record(ctx) if help_option is not None else None
        for title, rows in (("Options", own), ("Common", shared + ([record] if record else []))):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Refuse unknown keys in this verb's table of the settings files, then parse."""
        check_table(parent, info_name, {option.name for option in self.params if option.name})
        return super().make_context(info_name, args, parent, **extra)


class VerbGroup(click.Group):
    """A verb with verbs of its own, such as `kv`."""

    command_class = Verb

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", CONTEXT_SETTINGS)
        super().__init__(*args, **kwargs)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Refuse tables of verbs that there are not, then parse."""
        check_table(parent, info_name, set(self.commands))
        return super().make_context(info_name, args, parent, **extra)


class Root(click.Group):
    """`conclave` itself.

    `sections` maps a heading to verbs and the module that holds each of them; the module has the
    verb as the attribute `<name>_verb`.
    """

    def __init__(
        self, sections: Mapping[str, Mapping[str, str]], aliases: Mapping[str, str], **kwargs: Any
    ) -> None:
        kwargs.setdefault("context_settings", CONTEXT_SETTINGS)
        super().__init__(**kwargs)
        self.params += common_options()
        self.sections = sections
        self.aliases = aliases
        self.modules = {
            verb: module for verbs in sections.values() for verb, module in verbs.items()
        }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb in the order of the help."""
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and take the verb from it."""
        verb = self.aliases.get(cmd_name, cmd_name)
        if verb not in self.modules:
            return None
        found = getattr(importlib.import_module(self.modules[verb]), f"{verb}_verb")
        return found if isinstance(found, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the verbs that an unknown one resembles."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.modules)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"there is no verb {args[0]!r}{hint}", ctx)
        name, command, rest = super().resolve_command(ctx, args)
        # The name proper, so that an alias has the same variables and settings.
        return self.aliases.get(name or "", name), command, rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs before the options: they are what the reader came for."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs under their headings."""
        for title, verbs in self.sections.items():
            found = [(name, self.get_command(ctx, name)) for name in verbs]
            with formatter.section(title):
                formatter.write_dl(
                    [(n, c.get_short_help_str(80)) for n, c in found if c is not None]
                )

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> Any:
        """Run one command line and leave the process by its exit code."""
        instruction = os.environ.get(COMPLETE_VARIABLE)
        if instruction:
            given = {"obj": Session(), "auto_envvar_prefix": PROGRAM.upper()}
            sys.exit(shell_complete(self, given, PROGRAM, COMPLETE_VARIABLE, instruction))
        sys.exit(int(self.run(list(sys.argv[1:] if args is None else args))))

    def run(self, arguments: list[str]) -> int:
        """Parse and call the verb; the answer is the exit code, whatever happened."""
        session = Session(json=asks_for_json(arguments))
        try:
            with self.make_context(
                PROGRAM,
                arguments,
                obj=session,
                auto_envvar_prefix=PROGRAM.upper(),
                default_map=self.load_defaults(),
            ) as ctx:
                self.invoke(ctx)
                return Exit.DONE
        except BaseException as error:
            return conclude(error, session)

    def load_defaults(self) -> dict[str, object]:
        """The settings files, their top-level keys checked against options and verbs."""
        settings = load_settings(settings_paths(os.environ, working_directory()))
        known = {option.name for option in self.params if option.name} | set(self.modules)
        check_keys(settings, known, "the settings file")
        return settings


def check_table(parent: click.Context | None, verb: str | None, known: set[str]) -> None:
    """Look through the table of the settings files that is named after a verb.

    Raises:
        Failure: it holds a key that is not known.
    """
    settings = parent.default_map if parent is not None else None
    table = settings.get(verb) if settings and verb else None
    if isinstance(table, dict):
        check_keys(table, known, f"table [{verb}]")


def working_directory() -> Path:
    """Where `./conclave.toml` is looked for; a directory that was deleted counts as empty."""
    from pathlib import Path

    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path(os.devnull)


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether errors of parsing itself should be JSON: known before there is anything parsed."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in own


def conclude(error: BaseException, session: Session) -> int:
    """Turn what ended a run into a report on stderr and an exit code.

    Everything is caught here and only here: a user gets one error form, never a bare traceback, and
    a script gets a code from the table.
    """
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case SystemExit():
            return error.code if isinstance(error.code, int) else Exit.FAILED
        case KeyboardInterrupt() | click.Abort():
            session.note("")
            return Exit.INTERRUPTED
        case Terminated():
            return Exit.TERMINATED
        case BrokenPipeError():
            # The interpreter would complain once more when it flushes stdout at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return Exit.PIPE_CLOSED
        case _:
            failure = describe(error, session)
            session.fail(failure)
            if session.verbosity >= DEBUG:
                traceback.print_exception(error, file=sys.stderr)
            return failure.code


def describe(error: BaseException, session: Session) -> Failure:
    """The failure that an exception stands for."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, click.UsageError):
        return usage_failure(error)
    if isinstance(error, click.ClickException):
        return Failure(error.format_message())
    if isinstance(error, ClusterError):
        return failure_from(error, session)
    return Failure(
        f"unexpected {type(error).__name__}: {error}",
        cause="a defect in conclave, not in what you typed",
        hint="the same command with -vv, which prints where it happened",
    )


def usage_failure(error: click.UsageError) -> Failure:
    """Click's complaint with the usage line as its cause and the help as the next step."""
    path = error.ctx.command_path if error.ctx is not None else PROGRAM
    form = " ".join(error.ctx.get_usage().split()[1:]) if error.ctx is not None else ""
    message = error.format_message().rstrip(".")
    return Failure(
        message[:1].lower() + message[1:],
        code=Exit.USAGE,
        cause=f"the form is {form}" if form else "",
        hint=f"{path} --help",
    )
