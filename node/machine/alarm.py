"""Alarms: who raised what, kept until disarmed, and what they forbid.

NOSPACE forbids what grows the store; CORRUPT forbids all of the keyspace and its leases.
Source: etcd server/etcdserver/api/v3alarm/alarms.go, apply.go.
"""

from __future__ import annotations

from struct import Struct

from node.machine.answer import Operation
from node.machine.record import ALARM, table_end
from node.machine.view import View
from node.machine.wire import field, varint
from node.proto import rpc
from node.status import Alarm

_KEY = Struct(">Qi")
_PRESENT = b""


class Alarms:
    """The raised alarms, in memory beside their records: every request asks for them."""

    __slots__ = ("_raised", "corrupt", "no_space")

    def __init__(self, view: View) -> None:
        """Load; there are at most two per member."""
        self._raised: set[Alarm] = set()
        self.no_space = False
        self.corrupt = False
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

    def _note(self) -> None:
        kinds = {alarm.kind for alarm in self._raised}
        self.no_space = rpc.NOSPACE in kinds
        self.corrupt = rpc.CORRUPT in kinds


def _key(alarm: Alarm) -> bytes:
    return ALARM + _KEY.pack(alarm.member_id, alarm.kind)


def _encoded(alarm: Alarm) -> bytes:
    member = b"\x08" + varint(alarm.member_id) if alarm.member_id else b""
    return member + b"\x10" + varint(alarm.kind)
