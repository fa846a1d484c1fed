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

from store.errors import InvariantViolated
from store.leveldb import describe_failure

LastWords = Callable[[str], None]

EXIT_STORAGE = 70
EXIT_INVARIANT = 72


def to_stderr(text: str) -> None:
    """Where last words go that nobody listens to."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def die(fatal_path: Path, last_words: LastWords, error: BaseException) -> NoReturn:
    """Write the reason down, tell it, and leave by `os._exit`: 72 for a bug of ours, else 70.

    Called on the writer's thread, and so is `last_words`.
    """
    broken = isinstance(error, InvariantViolated)
    what = "an invariant of the store is broken" if broken else "the disk refused a write"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    text = f"{what}: {type(error).__name__}: {describe_failure(error)}"
    try:
        last_words(text)
        fatal_path.write_text(f"{stamp} {text}\n")
    except (OSError, ValueError):  # the same full disk, a closed stderr: the exit code must do
        pass
    finally:
        os._exit(EXIT_INVARIANT if broken else EXIT_STORAGE)
