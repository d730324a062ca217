"""What a process makes once and keeps: machine code, what it needs, and the threads of the pool.

Machine code is called by its address, from threads that hold nothing else of it. So it is never freed, and one thread
makes it while the others that want it wait for MAKING. What is made already is found without a lock.

A half-made thing would be worse than none: a Ctrl-C may not stop the making, and a fork may not copy it.
"""

import _thread
import atexit
import contextvars
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import cache, update_wrapper
from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")
PACKAGE = __package__.rpartition(".")[0]  # tinytorch.acceleration
MAKING = threading.RLock()
_here: list[bool] = []  # whether the main thread makes something itself, as there is no other thread to be had


class Thread:
    """A thread that nobody waits for in vain: without memory a new one may end before its first line, unheard of, and
    threading.Thread would wait for ever for that line."""

    def __init__(self, run: Callable[[], None]) -> None:
        """Start it. RuntimeError or MemoryError if the system refuses."""
        began, ended = _thread.allocate_lock(), _thread.allocate_lock()
        began.acquire()
        ended.acquire()

        def body(life: object) -> None:
            del life  # its starter keeps it to the end, and no traceback for longer
            began.release()
            try:
                run()
            finally:
                ended.release()

        life = set[None]()  # the new thread alone will hold it
        self._ended, self._life = ended, weakref.ref(life)
        _thread.start_new_thread(body, (life,))
        del life
        if not self._released(began):
            raise MemoryError("a new thread got no memory")

    def _released(self, lock: Any) -> bool:
        """Wait until the thread releases `lock`; False if it ended without."""
        lives = True
        while not lock.acquire(timeout=0.1 if lives else 0):
            if not lives:
                return False
            lives = self._life() is not None
        return True

    def join(self) -> None:
        """Wait until it has ended."""
        self._released(self._ended)


def uninterrupted(make: Callable[[], T]) -> T:
    """make(), which no signal stops half-way: only Python's main thread hears of signals, so another one makes it. If
    the main thread is interrupted, it stops waiting; what was begun is still finished."""
    if _here or threading.get_ident() != threading.main_thread().ident:
        with MAKING:
            return make()
    made: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            with MAKING:
                made.append(make())
        except BaseException as error:
            failed.append(error)

    context = contextvars.copy_context()
    try:
        maker = Thread(lambda: context.run(run))
    except (RuntimeError, MemoryError):  # the system or a dying interpreter refuses
        _here.append(True)
        try:
            run()
        finally:
            _here.clear()
    else:
        maker.join()
    if failed:
        raise failed[0]
    return made[0]


def once(make: Callable[..., T]) -> Callable[..., T]:
    """functools.cache, but threads that miss together get the same object, and making it is `uninterrupted`."""
    kept: dict[Any, T] = {}

    def get(*key: Any) -> T:
        def look_again() -> T:
            if key not in kept:
                kept[key] = make(*key)
            return kept[key]

        return uninterrupted(look_again)

    return update_wrapper(cache(get), make)


@once
def load(name: str) -> Any:
    """A module of this package that needs numba. So it is imported when it is first wanted, and never by half."""
    return import_module(f"{PACKAGE}.{name}")


@atexit.register
def _wait() -> None:
    """Python ends: LLVM may not be taken down while a thread, whose caller was interrupted, still compiles."""
    with MAKING:
        pass


_held: list[Any] = []  # locks that this thread holds while it forks
_interrupted: list[bool] = []  # whether a Ctrl-C came meanwhile


def _locks() -> list[Any]:
    """MAKING, and the locks of the compilers that have been imported, in the order in which they are taken."""
    numba, llvm = sys.modules.get("numba.core.compiler_lock"), sys.modules.get("llvmlite.binding.ffi")
    found: list[Any] = [MAKING]
    with suppress(AttributeError):  # these two are private
        found += [numba.global_compiler_lock._lock] if numba else []
        found += [llvm.lib._lock._lock] if llvm else []
    return found


def _before_fork() -> None:
    """Wait until nothing is being made: a child would have it half made, and a lock that nobody releases."""
    for lock in _locks():
        if not lock._is_owned():
            _take(lock)
            _held.append(lock)


def _take(lock: Any) -> None:
    """Acquire a lock though signals arrive: an exception would end the hook and not the fork."""
    while not lock._is_owned():
        try:
            lock.acquire()
        except KeyboardInterrupt:
            _interrupted.append(True)


def _after_fork() -> None:
    while _held:
        _held.pop().release()
    if _interrupted:
        _interrupted.clear()
        signal.raise_signal(signal.SIGINT)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
