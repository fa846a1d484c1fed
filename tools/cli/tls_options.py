"""Options about TLS: those of `up` have etcd's names, those of whoever connects etcdctl's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cluster.tls import PLAIN, ClusterTls, Kind
from tools.cli.session import Session
from tools.cli.target import reach

if TYPE_CHECKING:
    from cluster.document import StatusDocument
    from transport.tls import ClientFiles

Command = TypeVar("Command", bound=Callable[..., Any])
FIELDS = frozenset(field.name for field in fields(ClusterTls))
FILE = click.Path(exists=True, dir_okay=False, resolve_path=True)

SERVER_OPTIONS = (
    click.option("--tls/--no-tls", "own", default=None, help="With certificates of its own."),
    click.option(
        "--client-cert-auth/--no-client-cert-auth", default=None, help="Clients must show one."
    ),
    click.option("--cert-file", type=FILE, help="Certificate of the nodes, instead of --tls."),
    click.option("--key-file", type=FILE, help="Its key."),
    click.option("--trusted-ca-file", type=FILE, help="Who signs clients; they must show one."),
    click.option("--client-cert-file", type=FILE, help="What our own tools show."),
    click.option("--client-key-file", type=FILE, help="Its key."),
)
CLIENT_OPTIONS = (
    click.option("--cacert", type=FILE, help="Whom to trust at https:// endpoints."),
    click.option("--cert", type=FILE, help="What to show there."),
    click.option("--key", "key_file", type=FILE, help="Its key."),
)


def server_tls_options(command: Command) -> Command:
    """Add the options of `up` to a verb, in order."""
    return _with(command, SERVER_OPTIONS)


def client_tls_options(command: Command) -> Command:
    """Add the options of a client to a verb, in order."""
    return _with(command, CLIENT_OPTIONS)


def chosen_tls(options: Mapping[str, Any], stored: ClusterTls) -> ClusterTls:
    """What was stored, changed by what was typed.

    Certificates of another kind begin anew: nothing that belonged to the old ones stays. Those of
    the same kind leave the rest as it was: to say --tls again once took away that clients have to
    show a certificate.

    Raises:
        BadRequest: the options contradict each other.
    """
    given = {name: options[name] for name in FIELDS if options[name] is not None}
    if given.get("own"):
        kind = Kind.OWN
    elif "cert_file" in given:
        kind = Kind.FILES
    else:
        kind = Kind.PLAIN if "own" in given else stored.kind
    return replace(stored if kind is stored.kind else PLAIN, **given)


def client_files(options: Mapping[str, Any], status: StatusDocument | None) -> ClientFiles:
    """What was typed, and else what the cluster says of itself; None = no cluster was asked."""
    from transport.tls import ClientFiles

    known = status["tls"] if status is not None else None
    typed = ClientFiles(
        cacert=options["cacert"] or "", cert=options["cert"] or "", key=options["key_file"] or ""
    )
    if known is None:
        return typed
    shown = typed if typed.cert else ClientFiles(cert=known["cert"] or "", key=known["key"] or "")
    return ClientFiles(cacert=typed.cacert or known["cacert"], cert=shown.cert, key=shown.key)


def destination(session: Session, options: Mapping[str, Any]) -> tuple[list[str], ClientFiles]:
    """The endpoints that were typed, or else those of the cluster that is meant, and how to be
    let in there."""
    given = options["endpoints"]
    if given:
        return given.split(","), client_files(options, None)
    status = reach(session).status()
    return status["endpoints"], client_files(options, status)


def _with(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
