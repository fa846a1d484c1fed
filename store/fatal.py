"""The end of a process that cannot trust its disk.

Nothing is closed, flushed or retried on the way out: each of these could acknowledge, or make
durable, what belongs to a write that failed. The reason goes to whoever the process reports to and
to a file beside the data directory, where a human finds it even if the log is lost.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from store.errors import Damaged, InvariantViolated
from store.leveldb import DAMAGE, describe_failure

LastWords = Callable[[int, str], None]
"""Is told the exit code that is about to come, and why."""

EXIT_STORAGE = 70
EXIT_QUARANTINE = 71
EXIT_INVARIANT = 72

FOUND_DAMAGE: tuple[type[Exception], ...] = (Damaged, *DAMAGE)
"""What a read raises when bytes on disk are not what was written."""


def to_stderr(_: int, text: str) -> None:
    """Where last words go that nobody listens to."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def die(fatal_path: Path, last_words: LastWords, error: BaseException) -> NoReturn:
    """Write the reason down, tell it, and leave by `os._exit` with the code of its kind.

    Called on the writer's thread, and so is `last_words`.
    """
    code, what = _verdict(error)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    text = f"{what}: {type(error).__name__}: {describe_failure(error)}"
    try:
        last_words(code, text)
        fatal_path.write_text(f"{stamp} {text}\n")
    except (OSError, ValueError):  # the same full disk, a closed stderr: the exit code must do
        pass
    finally:
        os._exit(code)


def _verdict(error: BaseException) -> tuple[int, str]:
    """A write also fails because LevelDB read something: sweeping looks for what is to go, and its
    compactions read whole tables. What they find damaged will be so at the next start, too."""
    if isinstance(error, InvariantViolated):
        return EXIT_INVARIANT, "an invariant of the store is broken"
    if isinstance(error, FOUND_DAMAGE):
        return EXIT_QUARANTINE, "found damaged while writing"
    return EXIT_STORAGE, "the disk refused a write"
