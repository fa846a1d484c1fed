"""Long work on the loop's thread, in steps between which others get their turn.

Nobody else runs while a handler does: no heartbeat leaves, and a leader that is busy for longer
than an election timeout is replaced. So whatever grows with the store is done in steps.
"""

from __future__ import annotations

from collections.abc import Callable

from node.api.call import Link

RECORDS_PER_STEP = 256
"""What is done between two looks at the clock."""
WORK_SECONDS = 0.002
REST_SECONDS = 0.004
"""Work that nobody is in a hurry for leaves two thirds of the time to everybody else."""


def in_steps(
    link: Link,
    now: Callable[[], float],
    gone: Callable[[], bool],
    work: Callable[[int], bool],
    done: Callable[[], None],
    *,
    hurry: bool = False,
) -> None:
    """Work until `work(records)` says that nothing is left, or the client is `gone`.

    In a `hurry` whoever waits gets one turn between two steps, and no rest is made. All who work in
    steps take turns: that each works for a short time only is of no use where there are hundreds.
    """

    def go_on() -> None:
        in_steps(link, now, gone, work, done, hurry=hurry)

    if gone():
        return
    until = now() + WORK_SECONDS
    while not work(RECORDS_PER_STEP):
        if now() >= until:
            if hurry:
                link.in_turn(go_on)
            else:
                link.later(REST_SECONDS, lambda: link.in_turn(go_on))
            return
    done()
