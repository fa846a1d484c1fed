"""`python -m cluster [--progress-fd N] CONFIG`: become a daemon, start the zygote, supervise.

CONFIG is the JSON document of a `ClusterConfig`. The zygote's interpreter is started before this
one imports anything else of weight, so that both load at the same time; that is why imports stand
below.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback

LAUNCHED_AT = time.monotonic()


def main(arguments: list[str]) -> int:
    """Run the daemon; the process that was started returns at once, its child goes on."""
    progress_fd: int | None = None
    if arguments[:1] == ["--progress-fd"]:
        progress_fd, arguments = int(arguments[1]), arguments[2:]
        os.set_inheritable(progress_fd, False)
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    os.chdir("/")
    # Until the loop takes it over: an impatient launcher must not leave half a start behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if progress_fd is not None:
        os.write(progress_fd, b'{"pid": %d}\n' % os.getpid())

    from cluster.zygote import Zygote

    zygote = Zygote(["cluster.preload"])
    zygote.start()

    import json
    from pathlib import Path

    from cluster import daemon
    from cluster.config import ClusterConfig

    Path("/proc/self/comm").write_text("conclave")
    try:
        config = ClusterConfig.from_document(json.loads(arguments[0]))
        return daemon.run(config, zygote, progress_fd, LAUNCHED_AT)
    finally:
        # A refused start leaves the zygote in the middle of its preload: it must not outlive us.
        if zygote.pid is not None:
            os.kill(zygote.pid, signal.SIGKILL)


if __name__ == "__main__":
    code = 1
    try:
        code = main(sys.argv[1:])
    except BaseException:
        traceback.print_exc()
    # Not sys.exit: a thread may still wait for a zygote that is gone.
    os._exit(code)
