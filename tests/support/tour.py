"""A tour through etcdctl, recorded, so that two servers can be compared word for word.

What may differ between two correct servers is replaced by a name: lease ids, remaining seconds,
and in JSON the ids of cluster and members and the term. Revisions are not: on two fresh clusters
the same tour makes the same ones.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import cycle
from typing import Any

from tests.support.etcdctl import Etcdctl, Following

OWN = {"cluster_id": 0, "member_id": 0, "raft_term": 0}


class Recording:
    """One tour of one cluster; each command goes to the endpoint after the last one's."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._turns = cycle([Etcdctl([endpoint]) for endpoint in endpoints])
        self.transcript: list[str] = []
        """Lines."""
        self._stack = ExitStack()

    def run(self, line: str, stdin: str = "") -> str:
        """Run one command, record it, and give what it printed as it came."""
        ran = next(self._turns).run(shlex.split(line), stdin)
        parts = (ran.out, ran.error, f"exit {ran.code}")
        said = "\n".join(part.rstrip() for part in parts if part)
        self._record(line, said)
        return ran.out

    def watch(self, line: str) -> Following:
        """Start a watch; to be read by `seen`."""
        following = next(self._turns).start(["watch", *shlex.split(line)])
        self._stack.callback(following.close)
        return following

    def seen(self, following: Following, line: str, end: str) -> None:
        """Record what a watch printed, up to the line `end`."""
        self._record(f"watch {line}", "\n".join(following.until(end)))

    def close(self) -> None:
        """End watches that nobody read."""
        self._stack.close()

    def _record(self, line: str, said: str) -> None:
        self.transcript += [f"$ etcdctl {anonymous(line)}", *anonymous(said).splitlines(), ""]


def anonymous(text: str) -> str:
    """What two correct servers print alike."""
    text = re.sub(r"\b[0-9a-f]{13,16}\b", "LEASE", text)
    text = re.sub(r"remaining\(\d+s\)", "remaining(SECONDS)", text)
    return "\n".join(plain_json(line) for line in text.splitlines())


def plain_json(line: str) -> str:
    """A JSON document without the ids of its cluster, any other line as it is."""
    if not line.startswith(("{", "[")):
        return line
    return json.dumps(without_ids(json.loads(line)), sort_keys=True)


def without_ids(value: Any) -> Any:
    """A document with the ids and terms of its headers set to 0."""
    if isinstance(value, dict):
        return {key: OWN.get(key, without_ids(inner)) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_ids(inner) for inner in value]
    return value


def take_tour(endpoints: Sequence[str], prefix: str) -> list[str]:
    """Every family of commands once, below one prefix; the lines of the transcript."""
    recording = Recording(endpoints)
    try:
        first = revision_of(recording) + 1
        keys(recording, prefix, first)
        transactions(recording, prefix)
        leases(recording, prefix)
        watches(recording, prefix, first)
        compaction(recording, prefix, first)
    finally:
        recording.close()
    return recording.transcript


def revision_of(recording: Recording) -> int:
    """The store's revision now."""
    return int(json.loads(recording.run("get nothing -w json"))["header"]["revision"])


def keys(recording: Recording, p: str, first: int) -> None:
    """Put, get and del with their options; `first` is the revision of the first put."""
    run = recording.run
    run(f"put {p}/greeting hello")
    run(f"get {p}/greeting")
    run(f"get {p}/greeting -w json")
    run(f"put {p}/greeting hallo --prev-kv")
    run(f"put {p}/lines", stdin="one\ntwo\n")
    run(f"put {p}/empty ''")
    run(f"put {p}/alpha 'with spaces'")
    run(f"get {p}/ --prefix")
    run(f"get {p}/ --prefix --keys-only")
    run(f"get {p}/ --prefix --count-only -w json")
    run(f"get {p}/ --prefix --limit 2 -w json")
    run(f"get {p}/ --prefix --sort-by MODIFY --order DESCEND")
    run(f"get {p}/ --prefix --sort-by VALUE --order ASCEND")
    run(f"get {p}/b {p}/h")
    run(f"get {p}/greeting --from-key --limit 2")
    run(f"get {p}/greeting --rev {first}")
    run(f"get {p}/greeting --rev 1000000")
    run(f"get {p}/greeting --consistency s --print-value-only")
    run(f"get {p}/greeting --hex")
    run(f"get {p}/absent")
    run("put '' nothing")
    run(f"put {p}/greeting --ignore-value --prev-kv")
    run(f"put {p}/absent --ignore-value")
    run(f"put {p}/absent value --lease 1234")
    run(f"del {p}/absent")
    run(f"del {p}/lines --prev-kv")
    run(f"del {p}/a {p}/f -w json")


def transactions(recording: Recording, p: str) -> None:
    """Both branches, every kind of comparison, and what is refused."""
    run = recording.run
    run(f"put {p}/account 100")
    every = "\n".join(
        f'{kind}("{p}/account") {test}'
        for kind, test in (
            ("value", '= "100"'),
            ("version", '= "1"'),
            ("create", '> "0"'),
            ("mod", '!= "0"'),
        )
    )
    then = f"get {p}/account\nput {p}/account 90\nput {p}/log spent\n"
    otherwise = f"get {p}/account\ndel {p}/log\n"
    run("txn", stdin=f"{every}\n\n{then}\n{otherwise}\n")
    run("txn -w json", stdin=f"{every}\n\n{then}\n{otherwise}\n")
    run("txn", stdin=f"\nget {p}/account\n\n\n")
    run("txn", stdin=f"\nput {p}/account 1\nput {p}/account 2\n\n\n")
    operations = "".join(f"put {p}/many/{number} x\n" for number in range(129))
    run("txn", stdin=f"\n{operations}\n\n")
    run(f"get {p}/ --prefix")


def leases(recording: Recording, p: str) -> None:
    """Grant, attach, keep alive, look, list, revoke, and the lock built on all that."""
    run = recording.run
    lease = run("lease grant 300").split()[1]
    run(f"put {p}/leased held --lease {lease}")
    run(f"lease keep-alive --once {lease}")
    run(f"lease timetolive {lease}")
    run(f"lease timetolive {lease} --keys")
    run("lease list")
    run(f"get {p}/leased")
    run(f"lease revoke {lease}")
    run(f"get {p}/leased")
    run(f"lease timetolive {lease}")
    run(f"lease keep-alive --once {lease}")
    run(f"lease revoke {lease}")
    run(f"lock {p}/lock echo held")


def watches(recording: Recording, p: str, first: int) -> None:
    """History by revision, live events, and options."""
    lines = [
        f"{p}/ --prefix --rev {first}",
        f"{p}/ --prefix --rev {first} --prev-kv",
        f"{p}/a {p}/m --rev {first}",
    ]
    open_watches = [recording.watch(line) for line in lines]
    recording.run(f"put {p}/greeting soon")
    recording.run(f"del {p}/greeting")
    recording.run(f"put {p}/end {p}-end")
    for line, following in zip(lines, open_watches, strict=True):
        recording.seen(following, line, f"{p}-end")


def compaction(recording: Recording, p: str, first: int) -> None:
    """What is left of the past, and what asking for the rest gives."""
    run = recording.run
    last = revision_of(recording)
    run(f"compact {last}")
    run(f"compact {last}")
    run(f"compact {last + 100}")
    run(f"get {p}/greeting --rev {first}")
    run(f"get {p}/end --rev {last}")
    run(f"get {p}/ --prefix")
    run(f"watch {p}/ --prefix --rev {first}")
    run(f"put {p}/after compaction")
    run(f"compact --physical {last + 1}")
    run("alarm list")
