"""Consensus without I/O: a message, a tick or a request goes in; what comes out is a `Ready`.

Open `core` for the face, `ready` for the contract with the owner, `message` for the vocabulary.
"""

from node.raft.config import RaftConfig
from node.raft.core import Core
from node.raft.message import (
    ConfChange,
    ConfChangeKind,
    ConfState,
    Entry,
    EntryKind,
    HardState,
    Message,
    SnapshotMeta,
)
from node.raft.ready import (
    Note,
    NoteKind,
    PersistToken,
    Proposed,
    ReadState,
    Ready,
    Role,
    SoftState,
    Status,
)
from node.raft.storage import FOUNDING_INDEX, FOUNDING_TERM, MemoryStorage, Storage

__all__ = [
    "FOUNDING_INDEX",
    "FOUNDING_TERM",
    "ConfChange",
    "ConfChangeKind",
    "ConfState",
    "Core",
    "Entry",
    "EntryKind",
    "HardState",
    "MemoryStorage",
    "Message",
    "Note",
    "NoteKind",
    "PersistToken",
    "Proposed",
    "RaftConfig",
    "ReadState",
    "Ready",
    "Role",
    "SnapshotMeta",
    "SoftState",
    "Status",
    "Storage",
]
