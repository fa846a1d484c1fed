"""Which nodes have ever served: the supervisor's own memory, kept away from the nodes' directories.

A member that served has voted and acknowledged. Should its directory vanish with all that is in it,
a fresh start under the same id would let it vote twice; this file is how that is noticed. A node is
therefore told to expect an empty directory only until it has served once.
"""

from __future__ import annotations

from pathlib import Path

from cluster.config import read_json, write_json
from cluster.document import Event
from cluster.errors import Conflict
from cluster.event import EventLog


class ServiceRecord:
    """`started.json`, written when a node serves for the first time.

    Raises:
        Conflict: the file is damaged.
    """

    def __init__(self, path: Path, events: EventLog) -> None:
        self._path = path
        try:
            self._served = _names(read_json(path)["served"])
        except FileNotFoundError:
            self._served = set()
        except (ValueError, KeyError, TypeError) as error:
            raise Conflict(
                f"{path} is damaged: {error}",
                hint='write {"served": ["n1", …]} with every node that has run',
            ) from error
        events.follow(self._note)

    def has_served(self, node: str) -> bool:
        """Whether this node has ever served."""
        return node in self._served

    def forget(self, node: str) -> None:
        """A node of this name is another one from now on."""
        if node in self._served:
            self._served.discard(node)
            self._save()

    def _note(self, event: Event) -> None:
        if event["type"] == "node.serving" and event["node"] not in self._served:
            self._served.add(event["node"])
            self._save()

    def _save(self) -> None:
        write_json(self._path, {"served": sorted(self._served)})


def _names(served: object) -> set[str]:
    """What must be a list of names: a single name would be taken apart into letters.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(served, list) or not all(isinstance(name, str) for name in served):
        raise TypeError("served is no list of names")
    return set(served)
