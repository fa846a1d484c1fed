"""The commands of the scenario scripts in testdata/: a cluster that moves only when told to.

cluster voters=1,2,3 [learners=4] [election=10] [heartbeat=2] [append_bytes=…] [inflight=…]
        [uncommitted=…] [apply_bytes=…] [reads=…]
                      make the members; member n campaigns after election + n - 1 silent ticks
spare 4               make a member that is in nobody's configuration yet, with an empty log
campaign 1            try to become leader
tick 1 [5]            let 5 ticks pass for member 1
propose 1 a b c       three proposals in one call; `size=100` makes each that long
forward-off 1 a       a proposal that must not be forwarded
change 1 add-learner 4 | add-voter 4 | remove 4
read 1 77             ask for the read index with context 77
transfer 1 2          ask member 1 to let 2 lead
ready 1               take one Ready: its messages go on the wire, its write into the queue
sync 1                the oldest queued write of member 1 is synced
deliver [1->2] [n]    hand over what is on the wire (of that link; only the first n)
drop [1->2]           lose it instead; `drop 1` loses all to and from 1
repeat 1->2           put a copy of what is on that link at the end of it
reverse 1->2          turn the order on that link around
wire                  show what is under way
stabilize [1 2 …]     ready, sync and deliver among these members until nothing moves
                      [quiet=yes] shows how it ended only
settle                ready and sync everywhere, but deliver nothing
crash 1 · restart 1   lose what is not synced; start anew from what is
compact 1 5           drop member 1's log up to 5
snapshot-failed 1 3   tell leader 1 that the snapshot for 3 did not arrive
unreachable 1 3       tell leader 1 that 3 cannot be reached
inject Vote sender=1 to=2 term=5 last_index=3 last_term=1    a message from nowhere
status [1] · log 1    show the state or the log
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from node.errors import InvariantViolated
from node.raft import (
    ConfChange,
    ConfChangeKind,
    ConfState,
    Entry,
    EntryKind,
    Message,
    RaftConfig,
    SnapshotMeta,
)
from node.raft import message as messages
from tests.node.raft.describe import (
    describe_entries,
    describe_message,
    describe_ready,
    describe_status,
)
from tests.node.raft.member import FixedRandom, Member
from tests.support.datadriven import Step

LIMITS = {
    "append_bytes": "append_bytes_max",
    "inflight": "inflight_messages_max",
    "uncommitted": "uncommitted_bytes_max",
    "apply_bytes": "apply_bytes_max",
    "reads": "pending_reads_max",
}


class Scenario:
    """State of one script; `execute` runs a step and returns what it prints."""

    def __init__(self) -> None:
        self.members: dict[int, Member] = {}
        self.wire: list[Message] = []
        self.settings: dict[str, int] = {}
        self.lines: list[str] = []

    def execute(self, step: Step) -> str:
        self.lines = []
        command: Callable[[Step], None] = getattr(self, "do_" + step.name.replace("-", "_"))
        try:
            command(step)
        except InvariantViolated as violation:
            self.lines.append(f"INVARIANT VIOLATED: {violation}")
        return "\n".join(self.lines)

    # Making members

    def do_cluster(self, step: Step) -> None:
        options = step.options
        conf = ConfState(_ids(options["voters"]), _ids(options.get("learners", "")))
        self.settings = {
            "election_ticks": int(options.get("election", "10")),
            "heartbeat_ticks": int(options.get("heartbeat", "2")),
        }
        self.settings |= {LIMITS[name]: int(options[name]) for name in LIMITS if name in options}
        for member in sorted({*conf.voters, *conf.learners}):
            self._make(member, conf)

    def do_spare(self, step: Step) -> None:
        self._make(int(step.words[0]), None)

    def _make(self, member: int, conf: ConfState | None) -> None:
        config = RaftConfig(id=member, **self.settings)
        self.members[member] = Member(config, conf, FixedRandom(member - 1))

    # Inputs

    def do_campaign(self, step: Step) -> None:
        self._member(step).core.campaign()

    def do_tick(self, step: Step) -> None:
        for _ in range(int(step.words[1]) if len(step.words) > 1 else 1):
            self._member(step).core.tick()

    def do_propose(self, step: Step) -> None:
        size = int(step.options.get("size", "0"))
        data = [word.ljust(size, ".").encode() for word in step.words[1:]]
        self.lines.append(self._member(step).core.propose(data).name)

    def do_forward_off(self, step: Step) -> None:
        data = [word.encode() for word in step.words[1:]]
        self.lines.append(self._member(step).core.propose(data, forward=False).name)

    def do_change(self, step: Step) -> None:
        kind = ConfChangeKind[step.words[1].replace("-", "_").upper()]
        change = ConfChange(kind, int(step.words[2]))
        self.lines.append(self._member(step).core.propose_conf_change(change).name)

    def do_read(self, step: Step) -> None:
        asked = self._member(step).core.read_index(int(step.words[1]))
        self.lines.append("asked" if asked else "cannot ask")

    def do_transfer(self, step: Step) -> None:
        self._member(step).core.transfer_leader(int(step.words[1]))

    def do_patient(self, step: Step) -> None:
        """Nobody watches at this member: commits need not be told to it at once."""
        self._member(step).core.set_eager(False)

    def do_unreachable(self, step: Step) -> None:
        self._member(step).core.report_unreachable(int(step.words[1]))

    def do_snapshot_failed(self, step: Step) -> None:
        self._member(step).core.report_snapshot(int(step.words[1]), delivered=False)

    def do_inject(self, step: Step) -> None:
        kind = getattr(messages, step.words[0])
        fields = dict(_field(name, text) for name, text in step.options.items())
        if kind is messages.Append:
            fields.setdefault("entries", [])
        if "conf" in fields:
            index, term = fields.pop("snapshot")
            fields["meta"] = SnapshotMeta(index, term, fields.pop("conf"))
        message: Message = kind(**fields)
        self.members[message.to].core.step(message)

    # Effects

    def do_ready(self, step: Step) -> None:
        self._ready(self._member(step), "")

    def do_sync(self, step: Step) -> None:
        self._sync(self._member(step), "")

    def do_settle(self, step: Step) -> None:
        spared = int(step.options.get("but", "0"))
        for member in self.members.values():
            while member.up and member.id != spared and (member.core.has_ready() or member.writes):
                self._move(member)

    def do_stabilize(self, step: Step) -> None:
        ids = [int(word) for word in step.words] or list(self.members)
        quiet = step.options.get("quiet") == "yes"
        for _ in range(1000):
            if not self._stabilize_once([self.members[id_] for id_ in ids]):
                break
        else:
            raise AssertionError("the cluster does not come to rest")
        if quiet:
            self.lines = []
            self._show_status(ids)

    def _stabilize_once(self, members: list[Member]) -> bool:
        moved = False
        for member in members:
            while member.up and (member.core.has_ready() or member.writes):
                self._move(member)
                moved = True
            member.flush()
        ids = {member.id for member in members}
        inside = [one for one in self.wire if one.sender in ids and one.to in ids]
        self.wire = [one for one in self.wire if not (one.sender in ids and one.to in ids)]
        for message in inside:
            self._hand_over(message)
        return moved or bool(inside)

    def _move(self, member: Member) -> None:
        if member.core.has_ready():
            self._ready(member, f"{member.id}: ")
        if member.writes:
            self._sync(member, f"{member.id}: ")

    def _ready(self, member: Member, prefix: str) -> None:
        ready = member.take_ready()
        self.wire += ready.messages
        self.lines += [prefix + line for line in describe_ready(ready)]

    def _sync(self, member: Member, prefix: str) -> None:
        if not member.writes:
            self.lines.append(f"{prefix}nothing to sync")
            return
        sequence = member.writes[0].token.sequence
        released = member.sync()
        self.wire += released
        self.lines.append(f"{prefix}synced #{sequence}")

    # The wire

    def do_wire(self, step: Step) -> None:
        self.lines += map(describe_message, self.wire)

    def do_deliver(self, step: Step) -> None:
        chosen = self._on_link(step)
        if len(step.words) > 1:
            chosen = chosen[: int(step.words[1])]
        for message in chosen:
            self.wire.remove(message)
            self._hand_over(message)

    def do_drop(self, step: Step) -> None:
        chosen = self._on_link(step)
        self.wire = [message for message in self.wire if message not in chosen]

    def do_repeat(self, step: Step) -> None:
        self.wire += self._on_link(step)

    def do_reverse(self, step: Step) -> None:
        chosen = self._on_link(step)
        self.wire = [message for message in self.wire if message not in chosen] + chosen[::-1]

    def _on_link(self, step: Step) -> list[Message]:
        if not step.words:
            return list(self.wire)
        sender, arrow, to = step.words[0].partition("->")
        if not arrow:
            return [one for one in self.wire if int(sender) in (one.sender, one.to)]
        return [one for one in self.wire if (one.sender, one.to) == (int(sender), int(to))]

    def _hand_over(self, message: Message) -> None:
        member = self.members.get(message.to)
        if member is None or not member.up:
            self.lines.append(f"lost {describe_message(message)}")
            return
        self.lines.append(f"deliver {describe_message(message)}")
        member.core.step(message)

    # The process and its disk

    def do_crash(self, step: Step) -> None:
        self._member(step).crash()

    def do_restart(self, step: Step) -> None:
        self._member(step).restart()
        self._show_status([int(step.words[0])])

    def do_compact(self, step: Step) -> None:
        self._member(step).compact(int(step.words[1]))

    # Looking

    def do_status(self, step: Step) -> None:
        self._show_status([int(word) for word in step.words] or list(self.members))

    def do_log(self, step: Step) -> None:
        member = self._member(step)
        entries = list(member.log().values())
        self.lines.append(f"from {member.storage.first_index()}: {describe_entries(entries)}")

    def _show_status(self, ids: list[int]) -> None:
        for id_ in ids:
            member = self.members[id_]
            self.lines.append(
                describe_status(member.core.status()) if member.up else f"{id_}: down"
            )

    def _member(self, step: Step) -> Member:
        return self.members[int(step.words[0])]


def _ids(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def _field(name: str, text: str) -> tuple[str, Any]:
    """A message's field; an entry is written term/index/data, a snapshot term/index."""
    if name == "voters":
        return "conf", ConfState(_ids(text))
    if name == "snapshot":
        term, index = text.split("/")
        return name, (int(index), int(term))
    if name == "entry":
        term, index, data = text.split("/")
        return "entries", [Entry(int(term), int(index), EntryKind.NORMAL, data.encode())]
    return name, text == "yes" if text in ("yes", "no") else int(text)
