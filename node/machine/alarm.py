"""Alarms: who raised what, kept until disarmed, and what they forbid.

NOSPACE forbids what grows the store. CORRUPT forbids all of the keyspace and its leases: to the
member that it names, whose state is not that of the others; to everybody when it names none (id 0,
as in etcd), because the members disagree and nobody knows who is right. etcd refuses everywhere in
the first case too; here those that agree go on.

Source: etcd server/etcdserver/api/v3alarm/alarms.go, apply.go, corrupt.go.
"""

from __future__ import annotations

from struct import Struct

from node.machine.answer import Operation
from node.machine.envelope import RequestKind
from node.machine.record import ALARM, table_end
from node.machine.view import View
from node.machine.wire import field, varint
from node.proto import rpc
from node.status import Alarm

_KEY = Struct(">Qi")
_PRESENT = b""
OF_KEYSPACE = frozenset(range(RequestKind.PUT, RequestKind.LEASE_REVOKE + 1))
"""What CORRUPT forbids when it names nobody."""
NOBODY = 0
"""The member of an alarm that names none."""


class Alarms:
    """The raised alarms, in memory beside their records: every request asks for them."""

    __slots__ = ("_member_id", "_raised", "accused", "corrupt", "no_space")

    def __init__(self, view: View, member_id: int = NOBODY) -> None:
        """Load; there are at most two per member. `member_id` is whose machine this is."""
        self._member_id = member_id
        self._raised: set[Alarm] = set()
        self.no_space = False
        self.corrupt = False
        """CORRUPT without a name: nothing is applied any more."""
        self.accused = False
        """CORRUPT with this member's name: it answers no reads. It applies like all others."""
        for key, _ in view.scan(ALARM, table_end(ALARM)):
            self._raised.add(Alarm(*_KEY.unpack_from(key, 1)))
        self._note()

    def raised(self) -> list[Alarm]:
        """All alarms, by member and type."""
        return sorted(self._raised, key=lambda alarm: (alarm.member_id, alarm.kind))

    def apply(self, request: rpc.AlarmRequest) -> tuple[bytes, list[Operation]]:
        """List, raise or lower; the AlarmResponse without its header, and the effects.

        Raising NONE and lowering what is not raised do nothing. The answer names what was asked
        for: all that match, the one that is raised, the one that was lowered.
        """
        asked = Alarm(request.memberID, request.alarm)
        effects: list[Operation] = []
        match request.action:
            case rpc.AlarmRequest.GET:
                chosen = [alarm for alarm in self.raised() if asked.kind in (0, alarm.kind)]
            case rpc.AlarmRequest.ACTIVATE if asked.kind:
                if asked not in self._raised:
                    effects.append((_key(asked), _PRESENT))
                    self._raised.add(asked)
                chosen = [asked]
            case rpc.AlarmRequest.DEACTIVATE if asked in self._raised:
                effects.append((_key(asked), None))
                self._raised.discard(asked)
                chosen = [asked]
            case _:
                chosen = []
        self._note()
        return b"".join(field(2, _encoded(alarm)) for alarm in chosen), effects

    def forget(self, member_id: int) -> list[Operation]:
        """A member was removed, and its data with it: nobody is to be warned of them any more."""
        alarm = Alarm(member_id, rpc.CORRUPT)
        if alarm not in self._raised:
            return []
        self._raised.discard(alarm)
        self._note()
        return [(_key(alarm), None)]

    def _note(self) -> None:
        self.no_space = any(alarm.kind == rpc.NOSPACE for alarm in self._raised)
        self.corrupt = Alarm(NOBODY, rpc.CORRUPT) in self._raised
        self.accused = Alarm(self._member_id, rpc.CORRUPT) in self._raised


def _key(alarm: Alarm) -> bytes:
    return ALARM + _KEY.pack(alarm.member_id, alarm.kind)


def _encoded(alarm: Alarm) -> bytes:
    member = b"\x08" + varint(alarm.member_id) if alarm.member_id else b""
    return member + b"\x10" + varint(alarm.kind)
