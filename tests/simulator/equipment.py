"""What a world is made of besides the cluster: disks, clients, judges."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from store.boot import MemoryStore
from store.memory import MemoryEngine
from tests.simulator.actions import ACTIONS, WEIGHTS, Action
from tests.simulator.observer import Observer
from tests.support.member_cluster import Node

if TYPE_CHECKING:
    from tests.simulator.world import World


def _there(name: str, attribute: str) -> Any:
    full = f"tests.simulator.{name}"
    if importlib.util.find_spec(full) is None:
        return None
    return getattr(importlib.import_module(full), attribute, None)


class NoMarks:
    def hit(self, name: str) -> None:
        pass


def marks() -> Any:
    made = _there("marks", "Marks")
    return made() if made else NoMarks()


def actions() -> dict[str, Action]:
    return {
        **ACTIONS,
        **(_there("disks", "DISK_ACTIONS") or {}),
        **(_there("clients", "CLIENT_ACTIONS") or {}),
    }


def weights() -> dict[str, float]:
    return {
        **WEIGHTS,
        **(_there("disks", "DISK_WEIGHTS") or {}),
        **(_there("clients", "CLIENT_WEIGHTS") or {}),
    }


class NobodyDies(Exception):
    pass


def deaths() -> type[Exception]:
    died: type[Exception] = _there("disks", "MachineDied") or NobodyDies
    return died


def disk(world: World, member: int) -> MemoryEngine:
    made = _there("disks", "make_disk")
    return made(world, member) if made else MemoryEngine()


def open_store(world: World, node: Node) -> MemoryStore:
    opened = _there("disks", "open_store")
    return opened(world, node) if opened else node.open_store()


def clients(world: World) -> Any:
    made = _there("clients", "Clients")
    return made(world) if made else None


def observers(world: World) -> list[Observer]:
    made = _there("invariants", "all_of")
    return made(world) if made else []
