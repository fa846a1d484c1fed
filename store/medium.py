"""Where one member's bytes lie, as boot needs to see it: a database and the mark beside it.

The port has two implementations: `FileMedium` is LevelDB's directory and the mark's file,
`store.memory.MemoryEngine` is both in memory. What may be trusted is decided above it, in
`store.boot`, once for both.
"""

import errno
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from store.config import StoreConfig
from store.directory import DataDirectory
from store.engine import Engine, Operation
from store.errors import DiskFailed, Quarantined
from store.leveldb import LevelDBEngine, describe_failure
from store.mark import Mark

EngineT_co = TypeVar("EngineT_co", bound=Engine, covariant=True)


class Medium(Protocol[EngineT_co]):
    """The disk of one member before anything on it is trusted."""

    @property
    def name(self) -> str:
        """How a human finds it."""

    @property
    def mark_name(self) -> str:
        """How a human finds the mark."""

    def open_mark(self) -> Mark:
        """The mark that is there.

        Raises:
            FileNotFoundError: there is none.
            Damaged: no slot of it is whole.
        """

    def create_mark(self, member_id: int) -> Mark:
        """A mark at sequence 0 with a new uuid, on stable storage."""

    def holds_database(self) -> bool:
        """Whether anything of a database is there, intact or not."""

    def open_engine(self, config: StoreConfig) -> EngineT_co:
        """The database that is there.

        Raises:
            DiskFailed: it cannot be opened, for a reason that is not in the data.
            Quarantined: it is damaged.
        """

    def create_engine(self, config: StoreConfig, records: Sequence[Operation]) -> EngineT_co:
        """A database of these records, on stable storage, in the place of whatever was there.

        Raises:
            DiskFailed: it cannot be created.
        """


class FileMedium:
    """A data directory whose lock is held."""

    def __init__(self, directory: DataDirectory) -> None:
        self._path = directory.path
        self._mark_path = directory.mark_path
        self.holds_database = directory.holds_database

    @property
    def name(self) -> str:
        return str(self._path)

    @property
    def mark_name(self) -> str:
        return self._mark_path.name

    def open_mark(self) -> Mark:
        return Mark(self._mark_path)

    def create_mark(self, member_id: int) -> Mark:
        # Whoever made the directories above may not have synced them: a power cut would take mark
        # and database along, and the next start would be a first one.
        for folder in self._mark_path.absolute().parents:
            with suppress(PermissionError):  # who may not even look has made nothing there
                _sync_directory(folder)
            if folder.is_mount():
                break
        return Mark.create(self._mark_path, os.urandom(16), member_id)

    def open_engine(self, config: StoreConfig) -> LevelDBEngine:
        try:
            return LevelDBEngine(self._path, config)
        except OSError as error:  # plyvel.IOError is one, its error for damage is not
            if _is_garbled(self._path / "CURRENT"):
                raise Quarantined("CURRENT does not name a manifest") from error
            reason = describe_failure(error)
            if reason.endswith(os.strerror(errno.EINVAL)):  # what cannot be mapped is empty
                raise Quarantined(f"LevelDB does not open: {reason}") from error
            raise DiskFailed(reason) from error
        except LevelDBEngine.failures as error:
            raise Quarantined(f"LevelDB does not open: {describe_failure(error)}") from error

    def create_engine(self, config: StoreConfig, records: Sequence[Operation]) -> LevelDBEngine:
        shutil.rmtree(self._path, ignore_errors=True)
        try:
            engine = LevelDBEngine(self._path, config, create=True)
            try:
                engine.write(records)
                _sync_directory(self._path.parent)
            except BaseException:
                engine.close()
                raise
        except LevelDBEngine.failures as error:
            raise DiskFailed(describe_failure(error)) from error
        return engine


def _is_garbled(current: Path) -> bool:
    """LevelDB opens whatever CURRENT names; a zero in it makes that the directory itself."""
    try:
        return re.fullmatch(rb"MANIFEST-[0-9]+\n", current.read_bytes()) is None
    except OSError:
        return False


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
