"""Key-value verbs, with the flags of etcdctl: `kv get|put|del|watch`.

They speak to the cluster that `-c` means, or with `--endpoints` to any etcd. The etcd client and
its protobuf messages are imported by the verb that runs, because `conclave --help` imports this
module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tools.cli import kv_view
from tools.cli.duration import duration
from tools.cli.exit import Exit, Failure
from tools.cli.session import Session, encode, pass_session
from tools.cli.tls_options import client_tls_options, destination
from tools.cli.user_options import login_of, user_options
from tools.cli.verb import Verb, VerbGroup

if TYPE_CHECKING:
    from node.client import EtcdClient
    from node.proto.kv_pb2 import Event
    from node.proto.rpc_pb2 import RangeRequest, WatchCreateRequest

Function = TypeVar("Function", bound=Callable[..., Any])
ORDERS = ("ASCEND", "DESCEND")
TARGETS = {
    "KEY": "KEY",
    "VERSION": "VERSION",
    "CREATE": "CREATE",
    "MODIFY": "MOD",
    "VALUE": "VALUE",
}
"""etcdctl's words for the sort targets, and the names that the API has for them."""
WATCH_ENDED = "the watch ended"
NOBODY = "user name is empty"
"""How an etcd with users ends its answer to somebody who does not say who it is."""
DEADLINE_EXCEEDED = 4
UNAVAILABLE = 14
"""gRPC status codes, by number because the codec is not loaded with this module."""


@click.group("kv", cls=VerbGroup, short_help="Read, write and watch keys.")
def kv_verb() -> None:
    """Read, write and watch keys, with the flags of etcdctl."""


def key_options(function: Function) -> Function:
    """KEY, RANGE_END and the ways to mean more than one key."""
    for decorate in (
        click.option("--from-key", is_flag=True, help="KEY and every key after it."),
        click.option("--prefix", is_flag=True, help="Every key that starts with KEY."),
        click.argument("range_end", required=False),
        click.argument("key"),
    ):
        function = decorate(function)
    return function


def connection_options(function: Function) -> Function:
    """Where to go and how long to wait."""
    for decorate in (
        client_tls_options,
        user_options,
        click.option("--timeout", type=duration, default="5s", show_default=True, help="Patience."),
        click.option("--endpoints", metavar="HOST:PORT,…", help="Any etcd instead of a cluster."),
    ):
        function = decorate(function)
    return function


@kv_verb.command("get", cls=Verb, short_help="Read keys.")
@key_options
@click.option("--rev", type=click.IntRange(0), default=0, help="As it was at this revision.")
@click.option("--limit", type=click.IntRange(0), default=0, help="At most so many; 0 = all.")
@click.option("--order", type=click.Choice(ORDERS, case_sensitive=False), help="Sort order.")
@click.option(
    "--sort-by", type=click.Choice(list(TARGETS), case_sensitive=False), help="Sort target."
)
@click.option("--consistency", type=click.Choice(["l", "s"]), default="l", show_default=True)
@click.option("--keys-only", is_flag=True, help="No values.")
@click.option("--count-only", is_flag=True, help="Only how many.")
@click.option("--print-value-only", is_flag=True, help="No keys.")
@connection_options
@pass_session
def get_verb(session: Session, /, **options: Any) -> None:
    """Print keys and values, a line each; exit code 0 also when there are none."""
    with connected(session, options) as client:
        answer = client.range(range_request(options))
    keys, values = not options["print_value_only"], not options["keys_only"]
    if session.json:
        pairs = [kv_view.key_value_record(pair, values) for pair in answer.kvs]
        facts = {"kvs": pairs, "count": answer.count, "more": answer.more}
        session.line(encode(kv_view.kv_document("get", answer.header, facts)))
    elif options["count_only"]:
        session.line(str(answer.count))
    else:
        write(kv_view.pair_chunks(answer.kvs, keys=keys, values=values))


def range_request(options: dict[str, Any]) -> RangeRequest:
    """The request that `get` stands for."""
    from node.proto import rpc

    key, range_end = one_range(options)
    order, target = options["order"], options["sort_by"]
    return rpc.RangeRequest(
        key=key,
        range_end=range_end,
        revision=options["rev"],
        limit=options["limit"],
        serializable=options["consistency"] == "s",
        keys_only=options["keys_only"],
        count_only=options["count_only"],
        # As etcdctl does: a target alone means ascending.
        sort_order=order or ("ASCEND" if target else "NONE"),
        sort_target=TARGETS[target or "KEY"],
    )


@kv_verb.command("put", cls=Verb, short_help="Write a key.")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--lease", default="0", metavar="HEX", help="Delete it with this lease.")
@click.option("--prev-kv", is_flag=True, help="Print what was there.")
@click.option("--ignore-value", is_flag=True, help="Keep the value, change the lease.")
@click.option("--ignore-lease", is_flag=True, help="Keep the lease, change the value.")
@connection_options
@pass_session
def put_verb(session: Session, /, **options: Any) -> None:
    """Write VALUE to KEY; without VALUE, or when it is -, all of stdin."""
    from node.proto import rpc

    request = rpc.PutRequest(
        key=typed(options["key"]),
        value=value_of(options),
        lease=lease_of(options["lease"]),
        prev_kv=options["prev_kv"],
        ignore_value=options["ignore_value"],
        ignore_lease=options["ignore_lease"],
    )
    with connected(session, options) as client:
        answer = client.put(request)
    previous = [answer.prev_kv] if answer.HasField("prev_kv") else []
    facts = {"prev_kv": kv_view.key_value_record(previous[0]) if previous else None}
    if session.json:
        session.line(encode(kv_view.kv_document("put", answer.header, facts)))
        return
    session.line("OK")
    write(kv_view.pair_chunks(previous))


@kv_verb.command("del", cls=Verb, short_help="Delete keys.")
@key_options
@click.option("--prev-kv", is_flag=True, help="Print what was there.")
@connection_options
@pass_session
def del_verb(session: Session, /, **options: Any) -> None:
    """Delete keys and print how many there were."""
    from node.proto import rpc

    key, range_end = one_range(options)
    request = rpc.DeleteRangeRequest(key=key, range_end=range_end, prev_kv=options["prev_kv"])
    with connected(session, options) as client:
        answer = client.delete_range(request)
    facts = {
        "deleted": answer.deleted,
        "prev_kvs": [kv_view.key_value_record(kv) for kv in answer.prev_kvs],
    }
    if session.json:
        session.line(encode(kv_view.kv_document("del", answer.header, facts)))
        return
    session.line(str(answer.deleted))
    write(kv_view.pair_chunks(answer.prev_kvs))


@kv_verb.command("watch", cls=Verb, short_help="Follow changes of keys.")
@key_options
@click.option("--rev", type=click.IntRange(0), default=0, help="From this revision on.")
@click.option("--prev-kv", is_flag=True, help="With what was there before.")
@click.option("--count", type=click.IntRange(1), help="Leave after so many events.")
@connection_options
@pass_session
def watch_verb(session: Session, /, **options: Any) -> None:
    """Print changes as they happen, until interrupted; with --json one line per event."""
    from node.proto import rpc

    key, range_end = one_range(options)
    request = rpc.WatchCreateRequest(
        key=key, range_end=range_end, start_revision=options["rev"], prev_kv=options["prev_kv"]
    )
    with connected(session, options) as client:
        for event in islice(watch_events(client, request), options["count"]):
            if session.json:
                session.line(encode(kv_view.event_record(event)))
            else:
                write(kv_view.event_chunks(event))


def watch_events(client: EtcdClient, request: WatchCreateRequest) -> Iterator[Event]:
    """Events in order, for ever.

    Raises:
        Failure: the server ended the watch.
    """
    for answer in client.watch(request):
        if answer.canceled:
            raise watch_failure(answer.cancel_reason, answer.compact_revision)
        yield from answer.events


def one_range(options: dict[str, Any]) -> tuple[bytes, bytes]:
    """The range that was typed.

    Raises:
        click.UsageError: it was said in more than one way.
    """
    key, end = typed(options["key"]), options["range_end"]
    ways = [end is not None, options["prefix"], options["from_key"]]
    if sum(ways) > 1:
        raise click.UsageError("RANGE_END, --prefix and --from-key exclude each other")
    if not key and not any(ways[1:]):
        raise click.UsageError("KEY is empty; with --prefix that means every key")
    end_bytes = None if end is None else typed(end)
    return kv_view.key_range(key, end_bytes, options["prefix"], options["from_key"])


def typed(text: str) -> bytes:
    """The bytes of an argument, also of one that is no UTF-8."""
    return text.encode(errors="surrogateescape")


def value_of(options: dict[str, Any]) -> bytes:
    """The value from the command line or from stdin; none with --ignore-value."""
    value = options["value"]
    if options["ignore_value"]:
        if value is not None:
            raise click.UsageError("VALUE and --ignore-value exclude each other")
        return b""
    return sys.stdin.buffer.read() if value in (None, "-") else typed(value)


def lease_of(text: str) -> int:
    """The lease id that was typed.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        return kv_view.parse_lease(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--lease") from error


def write(chunks: Iterable[bytes]) -> None:
    """Bytes as they are, a line each; made printable only for a terminal."""
    shown = map(kv_view.for_terminal, chunks) if sys.stdout.isatty() else chunks
    sys.stdout.buffer.write(b"".join(chunk + b"\n" for chunk in shown))
    sys.stdout.buffer.flush()


@contextmanager
def connected(session: Session, options: dict[str, Any]) -> Iterator[EtcdClient]:
    """A client of the endpoints that were typed, or of the cluster that is meant.

    Raises:
        Failure: a call of the client failed.
    """
    from node.client import CallFailed, ClientError, EtcdClient

    endpoints, tls = destination(session, options)
    login = login_of(options)
    try:
        with EtcdClient(endpoints, timeout_s=options["timeout"] / 1_000, tls=tls) as client:
            if login is not None:
                client.log_in(*login)
            yield client
    except CallFailed as error:
        raise call_failure(error.status, error.text) from error
    except ClientError as error:
        raise Failure(
            "no endpoint answers",
            code=Exit.NOT_RUNNING,
            cause=str(error),
            hint="conclave status",
            data={"endpoints": endpoints},
        ) from error


def call_failure(status: int, text: str) -> Failure:
    """What a gRPC status means for a shell; etcd's own words stay the message."""
    data = {"grpc_status": status}
    if status == DEADLINE_EXCEEDED:
        cause = "no leader, no quorum, or a node that is paused"
        code = Exit.TIMED_OUT
    elif status == UNAVAILABLE:
        cause = "the cluster has no leader or no quorum"
        code = Exit.DEGRADED
    elif text.endswith(NOBODY):
        return Failure(text, hint="--user NAME[:PASSWORD]", data=data)
    else:
        return Failure(text, data=data)
    return Failure(text, code=code, cause=cause, hint="conclave status", data=data)


def watch_failure(reason: str, compact_revision: int) -> Failure:
    """Why the server ended a watch."""
    if compact_revision:
        return Failure(
            f"{WATCH_ENDED}: revisions before {compact_revision} are compacted",
            code=Exit.CONFLICT,
            cause=reason,
            hint=f"--rev {compact_revision}",
            data={"compact_revision": compact_revision},
        )
    return Failure(WATCH_ENDED, cause=reason)
