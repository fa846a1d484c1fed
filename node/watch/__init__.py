"""Watching: events of key intervals for many watchers on many streams. Pure, like the machine."""

from __future__ import annotations

from node.watch.hub import History, WatchHub

__all__ = ["History", "WatchHub"]
