"""From a data directory to a store that may be trusted, or to the reason why not.

    no mark, nothing in the directory      first start: create, if the caller brings a membership
    mark at 0                              a first start was interrupted: begin it again
    mark at n, database at m >= n          open and verify
    mark at n, database behind, gone,      quarantine: Raft would forget votes and acknowledged
      damaged or of another member         entries, so this member must not take part any more
    no mark, but a database                quarantine: there is no witness that nothing is missing

Verification reads the whole log once (checksums, no gaps, no term going back, the relations of the
indices), and looks for batons that a lost group should have taken (`store.commit`); state records
are verified when they are read, by LevelDB's block checksums. Nothing is ever repaired here:
LevelDB's repair keeps what it can read and drops the rest, which is the one thing that a Raft
member must not do.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from store import record
from store.commit import Committer, Intake, figures_of
from store.config import StoreConfig
from store.directory import DataDirectory
from store.engine import Engine, Operation, Reader
from store.errors import Damaged, DiskFailed, Quarantined
from store.fatal import LastWords, die, to_stderr
from store.leveldb import describe_failure
from store.log import DurableLog, LogImage
from store.mark import Mark, MarkFigures
from store.medium import FileMedium, Medium
from store.memory import MemoryEngine
from store.overlay import StateView
from store.record import Floor, HardState, Head, Meta, Position
from store.rewrite import ImmediateRewriter, ThreadRewriter
from store.sweep import Sweep
from store.writer import SteppedWriter, Writer

EngineT = TypeVar("EngineT", bound=Engine)

_FIRST_GENERATION = 1
FirstState = Callable[[Reader], Iterable[Sequence[Operation]]]
"""State records in batches; the reader shows each before the next is asked for."""
BEGINNING = Position(0, 0)
"""Before the first entry of any log."""


@dataclass(frozen=True, slots=True)
class Store:
    """An open, verified store: its parts, to be handed to whoever uses them."""

    directory: DataDirectory
    engine: Engine
    mark: Mark
    log: DurableLog
    image: LogImage
    view: StateView
    writer: Writer
    rewriter: ThreadRewriter

    def close(self) -> None:
        """Write what is queued, then release everything, in the only order that is safe.

        A rewrite that is under way keeps all of it until the process ends, which then is near.
        """
        self.writer.close()
        if self.rewriter.busy:
            return
        self.engine.close()
        self.mark.close()
        self.directory.release()


def open_store(
    directory: DataDirectory,
    cluster_id: int,
    member_id: int,
    config: StoreConfig,
    *,
    first_conf: bytes | None = None,
    first_position: Position = BEGINNING,
    first_state: FirstState | None = None,
    last_words: LastWords = to_stderr,
) -> Store:
    """Take the directory, verify it and start the writer.

    `first_conf` is the membership of a member that starts for the first time; it is ignored when
    the directory already has a history, and without it an empty directory is refused. The member
    then starts as if a snapshot had been installed at `first_position`: of an empty state, or of
    `first_state`. Once it is open, a write that fails ends the process, and `last_words` is told
    why.

    Raises:
        DirectoryHeld: another process uses it.
        DiskFailed: its files cannot be opened, for a reason that is not in the data.
        FormatTooNew: a newer release wrote it.
        Quarantined: it must not be trusted. The lock is released in each of these cases.
    """
    directory.acquire()
    try:
        medium = FileMedium(directory)
        trusted = _trust(
            medium, cluster_id, member_id, config, first_conf, first_position, first_state
        )
    except BaseException:
        directory.release()
        raise
    directory.fatal_path.unlink(missing_ok=True)
    engine, mark, log, image = trusted.engine, trusted.mark, trusted.log, trusted.image
    end = partial(die, directory.fatal_path, last_words)
    writer = Writer(trusted.committer(), Intake(image, config), config, end)
    view = StateView(engine, image.generation)
    rewriter = ThreadRewriter(engine, end)
    return Store(directory, engine, mark, log, image, view, writer, rewriter)


@dataclass(frozen=True, slots=True)
class MemoryStore:
    """The same parts in memory, for tests and the simulator: its owner steps the writer."""

    engine: MemoryEngine
    mark: Mark
    log: DurableLog
    image: LogImage
    view: StateView
    writer: SteppedWriter
    rewriter: ImmediateRewriter


def open_memory_store(
    engine: MemoryEngine,
    cluster_id: int,
    member_id: int,
    config: StoreConfig,
    *,
    first_conf: bytes = b"",
    first_position: Position = BEGINNING,
) -> MemoryStore:
    """Open what `engine` holds, or create it there; opening it again plays a restart.

    Raises:
        Quarantined: it must not be trusted, by the same rules as a data directory.
    """
    trusted = _trust(engine, cluster_id, member_id, config, first_conf, first_position)
    image = trusted.image
    writer = SteppedWriter(trusted.committer(), Intake(image, config))
    view = StateView(engine, image.generation)
    rewriter = ImmediateRewriter(engine)
    return MemoryStore(engine, trusted.mark, trusted.log, image, view, writer, rewriter)


@dataclass(frozen=True, slots=True)
class _Trusted(Generic[EngineT]):
    """An open database that has passed every test."""

    engine: EngineT
    mark: Mark
    log: DurableLog
    image: LogImage
    sweep: Sweep

    def committer(self) -> Committer:
        """Whoever writes to it from now on."""
        return Committer(self.engine, self.mark, self.image, self.sweep)


def _trust(
    medium: Medium[EngineT],
    cluster_id: int,
    member_id: int,
    config: StoreConfig,
    first_conf: bytes | None,
    first_position: Position,
    first_state: FirstState | None = None,
) -> _Trusted[EngineT]:
    """Open or create what lies on the medium, and verify it; see `open_store` for the errors."""
    mark = _mark_of(medium, member_id, first_conf)
    engine = _engine_of(
        medium, mark, cluster_id, member_id, config, first_conf, first_position, first_state
    )
    try:
        with _quarantined_if_damaged(engine):
            log = DurableLog(engine)
            image = log.load(config.tail_bytes_max)
            _compare(image, mark.figures, cluster_id, member_id)
            floor = Floor(image.boundary, image.swept)
            sweep = Sweep(engine, floor, image.generation, config)
        with _failed_if_refused(medium.mark_name):
            _catch_up(mark, image)
    except BaseException:
        engine.close()
        raise
    return _Trusted(engine, mark, log, image, sweep)


def first_records(meta: Meta, conf: bytes, position: Position = BEGINNING) -> list[Operation]:
    """What a new database holds: an empty log after `position`, an empty state, a membership."""
    head = Head(1, HardState(position.term, 0, position.index), position)
    return [
        (record.META, record.encode_meta(meta)),
        (record.FLOOR, record.encode_floor(Floor(position, position.index + 1))),
        (record.CONF, record.encode_conf(position.index, conf)),
        (record.APPLIED, record.encode_applied(position, b"")),
        (record.GENERATION, record.encode_generation(_FIRST_GENERATION)),
        (record.HEAD, record.encode_head(head)),
        (record.baton_key(head.write_seq), record.encode_baton()),
    ]


def _mark_of(medium: Medium[Engine], member_id: int, first_conf: bytes | None) -> Mark:
    """The witness, made anew only where there is nothing to witness."""
    with _failed_if_refused(medium.mark_name):
        try:
            return medium.open_mark()
        except FileNotFoundError:
            if medium.holds_database():
                raise Quarantined(f"{medium.mark_name} is missing") from None
            if first_conf is None:
                raise Quarantined(f"there is no data in {medium.name}") from None
        except Damaged as damage:
            raise Quarantined(damage.what) from damage
        return medium.create_mark(member_id)


def _engine_of(
    medium: Medium[EngineT],
    mark: Mark,
    cluster_id: int,
    member_id: int,
    config: StoreConfig,
    first_conf: bytes | None,
    first_position: Position,
    first_state: FirstState | None,
) -> EngineT:
    """Nothing was acknowledged as long as the mark is at 0: what an interrupted try left may go."""
    figures = mark.figures
    if figures.write_seq == 0 and first_conf is not None:
        meta = Meta(figures.uuid, cluster_id, member_id)
        engine = medium.create_engine(config, first_records(meta, first_conf, first_position))
        if first_state is not None:
            _fill(engine, first_state)
        return engine
    if not medium.holds_database():
        raise Quarantined(
            f"the database is gone: batch {figures.write_seq} was acknowledged, "
            f"but {medium.name} is missing or empty"
        )
    return medium.open_engine(config)


def _fill(engine: Engine, first_state: FirstState) -> None:
    """Write what the state begins with; until the mark moves, an interrupted one counts for
    nothing."""
    prefix = record.state_prefix(_FIRST_GENERATION)
    try:
        for batch in first_state(engine.prefixed(prefix)):
            engine.write([(prefix + key, value) for key, value in batch])
    except BaseException:
        engine.close()
        raise


@contextmanager
def _failed_if_refused(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskFailed(f"{error.filename or name}: {error.strerror}") from error


@contextmanager
def _quarantined_if_damaged(engine: Engine) -> Iterator[None]:
    try:
        yield
    except Damaged as damage:
        raise Quarantined(damage.what) from damage
    except engine.failures as error:
        raise Quarantined(f"LevelDB does not read: {describe_failure(error)}") from error


def _compare(image: LogImage, mark: MarkFigures, cluster_id: int, member_id: int) -> None:
    meta = image.meta
    if (meta.cluster_id, meta.member_id) != (cluster_id, member_id):
        raise Quarantined(
            f"the data belongs to member {meta.member_id:x} of cluster {meta.cluster_id:x}, "
            f"not to member {member_id:x} of cluster {cluster_id:x}"
        )
    if meta.uuid != mark.uuid or meta.member_id != mark.member_id:
        raise Quarantined("the database was replaced: it is not the one that the mark knows")
    if image.write_seq < mark.write_seq:
        raise Quarantined(
            f"the disk lost its tail: batch {mark.write_seq} was acknowledged, "
            f"but the database ends at {image.write_seq}"
        )


def _catch_up(mark: Mark, image: LogImage) -> None:
    """The mark knows of all that this member is about to speak for.

    Behind the database it may be after a death between sync and mark, or after a power cut, which
    sets an unsynced mark back. What was read is acknowledged as soon as a peer asks for it, without
    another write. And at 0 the mark would say that the whole database may go.

    It is synced even if it was there already: whoever moved it may have died before it could.
    """
    if mark.figures.write_seq < image.write_seq:
        mark.update(figures_of(image.meta, Head(image.write_seq, image.hard_state, image.last)))
    mark.sync()
