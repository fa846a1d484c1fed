"""The data directory of one member, and who it belongs to.

    NAME.etcd/member/       as etcd calls it, so that what removes one removes the other
      conclave.json         who this member is; written once, before anything else
      conclave.lock         held by the process that is this member
      db  db.mark  …        the store

Like etcd, a member that has data takes its identity from there, and the flags about the beginning
of the cluster count no more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.config import parse_json, write_json
from tools.etcd.errors import Refused
from tools.etcd.founding import Founder, Founding
from transport.claim import Claim, Claimed

FORMAT = 1
HELD_SECONDS_MAX = 5.0
"""A killed predecessor may need a moment to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is remembered of a member's beginning."""

    founding: Founding
    join: bool
    """It was added to a cluster that ran."""
    served: bool = False
    """It has come up once: from now on an empty database is a loss, not a beginning."""


class Place:
    """One data directory."""

    def __init__(self, directory: Path) -> None:
        """Nothing is made or looked at yet."""
        self.directory = directory
        self._member = directory / "member"
        self._record = self._member / "conclave.json"
        self._claim: Claim | None = None

    @property
    def database(self) -> Path:
        """Where the store lies."""
        return self._member / "db"

    def take(self) -> None:
        """Make the directory if need be, and hold it for as long as this process lives.

        Raises:
            Refused: it is somebody else's.
            OSError: it cannot be used.
        """
        self._refuse_others()
        for directory in (self.directory, self._member):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        until = time.monotonic() + HELD_SECONDS_MAX
        while self._claim is None:
            try:
                self._claim = Claim(str(self._member / "conclave.lock"))
            except Claimed as error:
                if time.monotonic() > until:
                    raise Refused(
                        f"data directory {self.directory} is in use by process {error.holder}",
                        "another --data-dir, or stop that process",
                    ) from error
                time.sleep(0.01)

    def load(self) -> Record | None:
        """Who lives here; None = nobody has so far.

        Raises:
            Refused: that cannot be read.
        """
        try:
            document = parse_json(self._record.read_bytes())
            if document.get("format", 0) > FORMAT:
                raise Refused(f"{self._record} was written by a newer release")
            return Record(
                founding=_founding(document["founding"]),
                join=bool(document["join"]),
                served=bool(document["served"]),
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(
                f"{self._record} is damaged: {error}",
                "restore the file, or remove the directory if its data may go",
            ) from error

    def save(self, record: Record) -> None:
        """Remember who lives here, whole or not at all."""
        write_json(self._record, _document(record))

    def _refuse_others(self) -> None:
        """Data of another program is neither read nor overwritten."""
        if (self._member / "wal").exists() or (self._member / "snap").exists():
            raise Refused(
                f"data directory {self.directory} was made by etcd, whose files conclave does not "
                "read in place",
                "etcdctl snapshot save FILE on the etcd, then: conclave up --from-snapshot FILE",
            )
        if (self.directory / "cluster.json").exists():
            raise Refused(
                f"data directory {self.directory} is a cluster of `conclave up`",
                f"conclave up --data {self.directory}, or another --data-dir",
            )


def _document(record: Record) -> dict[str, Any]:
    founding = record.founding
    return {
        "format": FORMAT,
        "join": record.join,
        "served": record.served,
        "founding": {
            "cluster_id": f"{founding.cluster_id:x}",
            "member_id": f"{founding.member_id:x}",
            "members": [
                {"id": f"{each.id:x}", "name": each.name, "peer_urls": list(each.peer_urls)}
                for each in founding.members
            ],
        },
    }


def _founding(document: dict[str, Any]) -> Founding:
    """Raises ValueError, KeyError, TypeError or AttributeError where it is no such document."""
    founding = Founding(
        int(document["cluster_id"], 16),
        int(document["member_id"], 16),
        tuple(
            Founder(int(each["id"], 16), str(each["name"]), tuple(map(str, each["peer_urls"])))
            for each in document["members"]
        ),
    )
    if founding.member_id not in {member.id for member in founding.members}:
        raise ValueError("the member is not among the members")
    return founding
