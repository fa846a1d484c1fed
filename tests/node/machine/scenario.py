"""Commands of the machine's scenario scripts. Each prints its answer and the revision it names.

    put KEY [VALUE] [lease=N] [prev] [ignore-value] [ignore-lease]
    get KEY [END] [revision=N] [limit=N] [sort=ascend|descend] [target=version|create|mod|value]
        [keys-only] [count-only] [min-mod=N] [max-mod=N] [min-create=N] [max-create=N]
    delete KEY [END] [prev]
    txn [COMPARE …] [then OPERATION ; …] [else OPERATION ; …]
        COMPARE = target(KEY[,END]) op GIVEN without blanks, as in mod(a)=0 or value(b,c)!=x
        OPERATION = put, get, delete as above, or ( txn … ) for a nested one
    compact N          slice N           compacted N
    grant ID TTL       revoke ID         leases          keys ID
    alarm get|activate|deactivate [member=N] [type=nospace|corrupt]
    publish ID NAME    members           restart         revision
    events LO HI       with what each key was before

Keys and values are words; `\\0` in END stands for the zero byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from google.protobuf.message import Message

from node.machine import validate
from node.machine.answer import Answer
from node.machine.envelope import Credential, RequestKind
from node.machine.errors import Refusal
from node.proto import kv, rpc
from tests.support.datadriven import Step
from tests.support.machine import Replica

OPERATIONS_MAX = 128
COMPARE = re.compile(r"(\w+)\(([^,)]+)(?:,([^)]+))?\)(!=|=|<|>)(.*)")
RESULTS = {
    "=": rpc.Compare.EQUAL,
    ">": rpc.Compare.GREATER,
    "<": rpc.Compare.LESS,
    "!=": rpc.Compare.NOT_EQUAL,
}
FIELDS = {"create": "create_revision", "mod": "mod_revision"}


class Scenario:
    """One replica and the commands over it."""

    def __init__(self) -> None:
        self.replica = Replica()
        self.by: Credential | None = None
        """Whom requests are made for."""

    def execute(self, step: Step) -> str:
        command: Callable[[list[str]], str] = getattr(self, "_" + step.name)
        return command(step.command.split()[1:])

    # Requests.

    def _put(self, words: list[str]) -> str:
        request = put_request(words)
        refusal = validate.check_put(request)
        return describe(refusal or self._apply(RequestKind.PUT, request), rpc.PutResponse)

    def _get(self, words: list[str]) -> str:
        request = range_request(words)
        refusal = validate.check_range(request)
        return describe(refusal or self.replica.machine.range(request), rpc.RangeResponse)

    def _delete(self, words: list[str]) -> str:
        request = delete_request(words)
        refusal = validate.check_delete_range(request)
        outcome = refusal or self._apply(RequestKind.DELETE_RANGE, request)
        return describe(outcome, rpc.DeleteRangeResponse)

    def _txn(self, words: list[str]) -> str:
        request = txn_request(words)
        outcome: Answer | Refusal | None = validate.check_txn(request, OPERATIONS_MAX)
        if outcome is None and validate.is_read_only(request):
            outcome = self.replica.machine.read_txn(request)
        return describe(outcome or self._apply(RequestKind.TXN, request), rpc.TxnResponse)

    def _compact(self, words: list[str]) -> str:
        request = rpc.CompactionRequest(revision=int(words[0]))
        return describe(self._apply(RequestKind.COMPACT, request), rpc.CompactionResponse)

    def _grant(self, words: list[str]) -> str:
        request = rpc.LeaseGrantRequest(ID=int(words[0]), TTL=int(words[1]))
        return describe(self._apply(RequestKind.LEASE_GRANT, request), rpc.LeaseGrantResponse)

    def _revoke(self, words: list[str]) -> str:
        request = rpc.LeaseRevokeRequest(ID=int(words[0]))
        return describe(self._apply(RequestKind.LEASE_REVOKE, request), rpc.LeaseRevokeResponse)

    def _note(self, words: list[str]) -> str:
        """`note 1=30 2=0`: what is left of leases."""
        notes = [
            rpc.LeaseCheckpoint(ID=int(lease), remaining_TTL=int(left))
            for lease, left in (word.split("=") for word in words)
        ]
        request = rpc.LeaseCheckpointRequest(checkpoints=notes)
        outcome = self._apply(RequestKind.LEASE_CHECKPOINT, request)
        return describe(outcome, rpc.LeaseCheckpointResponse)

    def _alarm(self, words: list[str]) -> str:
        given = options(words)
        request = rpc.AlarmRequest(
            action=words[0].upper(),
            memberID=int(given.get("member", 0)),
            alarm=given.get("type", "none").upper(),
        )
        return describe(self._apply(RequestKind.ALARM, request), rpc.AlarmResponse)

    def _publish(self, words: list[str]) -> str:
        member = rpc.Member(ID=int(words[0]), name=words[1], clientURLs=[f"http://{words[1]}"])
        return describe(self._apply(RequestKind.MEMBER_PUBLISH, member), rpc.PutResponse)

    def _apply(self, kind: RequestKind, request: Message) -> Answer | Refusal:
        return self.replica.apply(kind, request, self.by).outcome

    # Looking.

    def _slice(self, words: list[str]) -> str:
        return "more" if self.replica.compact_some(int(words[0])) else "nothing left"

    def _compacted(self, words: list[str]) -> str:
        return str(self.replica.machine.physically_compacted(int(words[0])))

    def _leases(self, words: list[str]) -> str:
        return "\n".join(
            f"{lease.id} ttl {lease.ttl}" + (f" left {lease.remaining}" if lease.remaining else "")
            for lease in self.replica.machine.leases()
        )

    def _keys(self, words: list[str]) -> str:
        return " ".join(key.decode() for key in self.replica.machine.lease_keys(int(words[0])))

    def _members(self, words: list[str]) -> str:
        members = self.replica.machine.members()
        return "\n".join(f"{m.id} {m.name} {' '.join(m.client_urls)}" for m in members)

    def _restart(self, words: list[str]) -> str:
        self.replica.restart()
        return self._revision(words)

    def _revision(self, words: list[str]) -> str:
        machine = self.replica.machine
        return f"revision {machine.revision}, compacted {machine.compact_revision}"

    def _events(self, words: list[str]) -> str:
        machine = self.replica.machine
        lines = []
        for event in machine.events(int(words[0]), int(words[1])):
            told = kv.Event.FromString(event.kv)
            before = machine.previous_kv(event)
            kind = "delete" if event.deleted else "put"
            line = f"{event.revision}.{event.sub} {kind} {describe_kv(told.kv)}"
            if before is not None:
                line += f" was {describe_kv(kv.Event.FromString(before).kv)}"
            lines.append(line)
        return "\n".join(lines)


def options(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words if "=" in word)


def end(words: list[str], place: int) -> bytes:
    given = [word for word in words if "=" not in word and word not in FLAGS]
    return given[place].replace("\\0", "\0").encode() if len(given) > place else b""


FLAGS = {"prev", "keys-only", "count-only", "ignore-value", "ignore-lease"}


def put_request(words: list[str]) -> rpc.PutRequest:
    return rpc.PutRequest(
        key=end(words, 0),
        value=end(words, 1),
        lease=int(options(words).get("lease", 0)),
        prev_kv="prev" in words,
        ignore_value="ignore-value" in words,
        ignore_lease="ignore-lease" in words,
    )


def range_request(words: list[str]) -> rpc.RangeRequest:
    given = options(words)
    return rpc.RangeRequest(
        key=end(words, 0),
        range_end=end(words, 1),
        revision=int(given.get("revision", 0)),
        limit=int(given.get("limit", 0)),
        sort_order=given.get("sort", "none").upper(),
        sort_target=given.get("target", "key").upper(),
        keys_only="keys-only" in words,
        count_only="count-only" in words,
        min_mod_revision=int(given.get("min-mod", 0)),
        max_mod_revision=int(given.get("max-mod", 0)),
        min_create_revision=int(given.get("min-create", 0)),
        max_create_revision=int(given.get("max-create", 0)),
    )


def delete_request(words: list[str]) -> rpc.DeleteRangeRequest:
    return rpc.DeleteRangeRequest(
        key=end(words, 0), range_end=end(words, 1), prev_kv="prev" in words
    )


def txn_request(words: list[str]) -> rpc.TxnRequest:
    compares, success, failure = _sections(words)
    return rpc.TxnRequest(
        compare=[compare(word) for word in compares],
        success=[operation(each) for each in _split(success)],
        failure=[operation(each) for each in _split(failure)],
    )


def _sections(words: list[str]) -> tuple[list[str], list[str], list[str]]:
    """What stands before `then`, between it and `else`, and behind, outside of brackets."""
    sections: list[list[str]] = [[], [], []]
    depth, at = 0, 0
    for word in words:
        depth += (word == "(") - (word == ")")
        if depth == 0 and word in ("then", "else"):
            at = 1 if word == "then" else 2
        else:
            sections[at].append(word)
    return sections[0], sections[1], sections[2]


def _split(words: list[str]) -> list[list[str]]:
    """Operations, separated by semicolons outside of brackets."""
    parts: list[list[str]] = [[]]
    depth = 0
    for word in words:
        depth += (word == "(") - (word == ")")
        if word == ";" and depth == 0:
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]


def operation(words: list[str]) -> rpc.RequestOp:
    match words[0]:
        case "put":
            return rpc.RequestOp(request_put=put_request(words[1:]))
        case "get":
            return rpc.RequestOp(request_range=range_request(words[1:]))
        case "delete":
            return rpc.RequestOp(request_delete_range=delete_request(words[1:]))
        case "(":
            return rpc.RequestOp(request_txn=txn_request(words[2:-1]))
        case _:
            return rpc.RequestOp()


def compare(word: str) -> rpc.Compare:
    match = COMPARE.fullmatch(word)
    assert match is not None, word
    target, key, range_end, result, given = match.groups()
    made = rpc.Compare(
        target=target.upper(),
        result=RESULTS[result],
        key=key.encode(),
        range_end=(range_end or "").replace("\\0", "\0").encode(),
    )
    value = given.encode() if target == "value" else int(given)
    setattr(made, FIELDS.get(target, target), value)
    return made


def describe(outcome: Answer | Refusal, response: type[Message]) -> str:
    if isinstance(outcome, Refusal):
        return str(outcome)
    lines = describe_body(response.FromString(outcome.body))
    return "\n".join([*lines, f"revision {outcome.revision}"])


def describe_body(message: Message) -> list[str]:
    match message:
        case rpc.RangeResponse():
            lines = [describe_kv(each) for each in message.kvs]
            return [*lines, f"count {message.count}" + (", more" if message.more else "")]
        case rpc.PutResponse():
            return [f"was {describe_kv(message.prev_kv)}"] if message.HasField("prev_kv") else []
        case rpc.DeleteRangeResponse():
            lines = [f"was {describe_kv(each)}" for each in message.prev_kvs]
            return [*lines, f"deleted {message.deleted}"]
        case rpc.TxnResponse():
            return describe_txn(message)
        case rpc.LeaseGrantResponse():
            return [f"lease {message.ID} ttl {message.TTL}"]
        case rpc.AlarmResponse():
            return [f"{a.memberID} {rpc.AlarmType.Name(a.alarm)}" for a in message.alarms]
        case _:
            return []


def describe_txn(message: rpc.TxnResponse) -> list[str]:
    lines = ["succeeded" if message.succeeded else "failed"]
    for response in message.responses:
        name = response.WhichOneof("response")
        assert name is not None
        body = getattr(response, name)
        head = f"  {name.removeprefix('response_')}"
        if body.header.revision:
            head += f" at {body.header.revision}"
        lines += [head, *("    " + line for line in describe_body(body))]
    return lines


def describe_kv(pair: kv.KeyValue) -> str:
    text = pair.key.decode().replace("\0", "\\0")
    if pair.version:
        text += f"={pair.value.decode()}"
        text += f" create {pair.create_revision}"
    text += f" mod {pair.mod_revision}"
    if pair.version:
        text += f" version {pair.version}"
    return text + (f" lease {pair.lease}" if pair.lease else "")
