"""/debug/vars: a few figures of the process and of Raft as one JSON object, in the form of expvar.

The keys are etcd's. `memstats` has of Go's many fields the two that mean the same in any process:
what it holds of the system's memory, and how often garbage was collected.
Source: etcd server/etcdserver/raft.go (raft.status), server/etcdserver/api/etcdhttp/debug.go.
"""

from __future__ import annotations

import gc
import resource
from pathlib import Path
from typing import Any, Final

import msgspec

from node.api.member import Member
from node.status import MemberStatus, Role

CONTENT_TYPE = "application/json; charset=utf-8"

_STATES: Final = {
    Role.FOLLOWER: "StateFollower",
    Role.PRE_CANDIDATE: "StatePreCandidate",
    Role.CANDIDATE: "StateCandidate",
    Role.LEADER: "StateLeader",
}


def variables(member: Member) -> bytes:
    """One key a line, sorted."""
    found = {
        "cmdline": command_line(),
        "file_descriptor_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "memstats": memory(),
        "raft.status": raft_status(member.identity.member_id, member.status()),
    }
    lines = [f'"{name}": {msgspec.json.encode(found[name]).decode()}' for name in sorted(found)]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def command_line() -> list[str]:
    """The arguments that the process was started with."""
    words = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    return [word.decode(errors="replace") for word in words if word]


def memory() -> dict[str, int]:
    """Resident bytes and collections."""
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "Sys": resident_pages * resource.getpagesize(),
        "NumGC": sum(generation["collections"] for generation in gc.get_stats()),
    }


def raft_status(member_id: int, status: MemberStatus) -> dict[str, Any]:
    """What etcd's Raft says of itself. Only a leader knows the progress of the members."""
    return {
        "id": f"{member_id:x}",
        "term": status.term,
        "vote": f"{status.vote:x}",
        "commit": status.commit,
        "lead": f"{status.leader:x}",
        "raftState": _STATES[status.role],
        "applied": status.applied,
        "progress": {
            f"{peer.member_id:x}": {
                "match": peer.match,
                "next": peer.next,
                "state": f"State{peer.state.capitalize()}",
            }
            for peer in status.progress
        },
        "leadtransferee": f"{status.transferee:x}",
    }
