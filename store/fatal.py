"""The end of a process that cannot trust its disk.

Nothing is closed, flushed or retried on the way out: each of these could acknowledge, or make
durable, what belongs to a write that failed. The reason goes to stderr and to a file beside the
data directory, where the supervisor and a human find it even if the log is lost.
"""

import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from store.errors import InvariantViolated

EXIT_STORAGE = 70
EXIT_INVARIANT = 72


def die(fatal_path: Path, error: BaseException) -> NoReturn:
    """Write the reason down and leave by `os._exit`: 72 for a bug of ours, else 70."""
    broken = isinstance(error, InvariantViolated)
    what = "an invariant of the store is broken" if broken else "the disk refused a write"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    text = f"{stamp} {what}: {type(error).__name__}: {error}\n"
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
        fatal_path.write_text(text)
    except (OSError, ValueError):  # the same full disk, a closed stderr: the exit code must do
        pass
    finally:
        os._exit(EXIT_INVARIANT if broken else EXIT_STORAGE)
