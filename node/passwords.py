"""Hashing passwords and comparing them with hashes, on a thread of its own.

bcrypt is slow on purpose: a tenth of a second, in which the loop would serve nobody. It gives up
the interpreter lock, so one thread beside the loop costs it nothing but a share of the processor;
and only one, so that a flood of attempts cannot take all processors from the heartbeats. The
thread begins with the first password.

Source: etcd server/etcdserver/v3_server.go (Authenticate, UserAdd, UserChangePassword).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import bcrypt

T = TypeVar("T")

WAITING_MAX = 64
"""About what one thread can do within the patience with a request."""
COST_DEFAULT = 10
COST_MIN, COST_MAX = 4, 31
"""What bcrypt takes; each more doubles the time."""
_PREFIX = b"2a"
"""The mark of the hashes that etcd writes."""


def usable_cost(cost: int) -> int:
    """A cost that bcrypt takes; as in etcd, the default in place of one that it does not."""
    return cost if COST_MIN <= cost <= COST_MAX else COST_DEFAULT


class PasswordRefused(Exception):
    """It cannot be hashed."""


def one_thread() -> Executor:
    """Where passwords are worked on in life."""
    return ThreadPoolExecutor(1, "passwords")


class Passwords:
    """One thread, and what waits for it."""

    def __init__(
        self, cost: int = COST_DEFAULT, make_pool: Callable[[], Executor] = one_thread
    ) -> None:
        """`cost` is that of new hashes; those that there are carry their own."""
        self._cost = cost
        self._make_pool = make_pool
        self._pool: Executor | None = None
        self._waiting = 0

    @property
    def full(self) -> bool:
        """Whether no more may wait; to be asked before."""
        return self._waiting >= WAITING_MAX

    def hash(self, password: str, done: Callable[[bytes | PasswordRefused], None]) -> None:
        """Hash a password; `done` comes later, in the event loop that runs now."""

        def work() -> bytes | PasswordRefused:
            try:
                salt = bcrypt.gensalt(self._cost, _PREFIX)
                return bcrypt.hashpw(password.encode(), salt)
            except ValueError as error:  # longer than the 72 bytes that bcrypt takes
                return PasswordRefused(str(error))

        self._submit(work, done)

    def check(self, password: str, hashed: bytes, done: Callable[[bool], None]) -> None:
        """Compare a password with a hash, which may be no hash at all; `done` as above."""

        def work() -> bool:
            try:
                return bcrypt.checkpw(password.encode(), hashed)
            except ValueError:
                return False

        self._submit(work, done)

    def close(self) -> None:
        """Do nothing more; nobody is answered."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _submit(self, work: Callable[[], T], done: Callable[[T], None]) -> None:
        loop = asyncio.get_running_loop()
        if self._pool is None:
            self._pool = self._make_pool()
        self._waiting += 1

        def worked(future: Future[T]) -> None:
            if not future.cancelled():
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(finish, future)

        def finish(future: Future[T]) -> None:
            self._waiting -= 1
            done(future.result())

        self._pool.submit(work).add_done_callback(worked)
