"""A pool that starts work within a microsecond: threads that look out for a job for a moment before they sleep.

A job is a compiled function, its arguments, and a number of tasks. The caller takes them from the first on, workers
from the last, until they meet: so from call to call a thread gets the same weights, rows and results, which are in its
own cache. Who wins a task changes no bit: tasks write to separate places, and each sum is made in one task.
The caller never waits for a thread that has not come: a sleeping or slow worker costs speed, not an answer. To wake
one costs the caller itself some 50 microseconds in a virtual machine, so a short job lets it sleep, unless there were
many in a row. A second caller finds the pool busy and does its job alone. Once started, a worker never touches Python:
it sleeps in the interpreter's own lock (PyThread_acquire_lock, which needs no GIL) and is woken from compiled code.

There is one pool in a process, and its memory is never freed: so its address is good for whoever holds it, whatever
becomes of the workers meanwhile. Workers start and end under the lock of `once`, where no signal stops half-way what is
being done. A caller needs none of them: those that could not be started, or have ended, only do not come.

On Linux a worker is kept off its caller's processor, and only off that one. A kernel in a virtual machine takes a
halted processor for one that its host has given to somebody else, wakes the worker where the caller is, and lets the
two share it for milliseconds while the other processor idles.
"""

import atexit
import ctypes
import itertools
import os
import platform
import threading
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled, inlined
from .intrinsics import atomic_add, atomic_load, atomic_store, call, spin_pause
from .once import MAKING, Thread, whole

# Offsets in bytes into the pool's shared words, a cache line each: what several threads write does not share one.
OPEN, NEXT, ACTIVE, BUSY = range(0, 256, 64)
FUNCTION, ARGUMENTS, COUNT, ROOM, MISSED = range(256, 296, 8)  # the job; ROOM: how many threads it has scratch for
ACQUIRE, RELEASE, STARTED = range(320, 344, 8)  # of a lock; and how many workers there are
HERE, MOVE, MASK_BYTES = 344, 352, 128  # sched_getcpu, sched_setaffinity; 0 where there is only one processor
MASK, OTHERS, WORKERS = 384, 512, 640  # where workers may run; MASK without the caller's processor; the workers
ASLEEP, LOCK, THREAD, AWAY, END = range(0, 40, 8)  # of a worker; AWAY: the processor that it is kept off, plus 1
MOST = 1 << 12  # workers
EVERYBODY = 1 << 30  # as `room` of a job that needs no scratch
FRONT, BACK, LOWER = 1, 1 << 32, (1 << 32) - 1  # steps of NEXT, and the mask of its lower half
LOOKOUT = 40_000  # looks before a thread sleeps: 0.5 to 2 ms, as long as a processor's PAUSE takes
PATIENCE = 8  # MISSED short jobs in a row that found a worker asleep wake it


@inlined
def taken(both: int) -> int:
    """How many tasks are gone: NEXT counts those from the front in its lower half, those from the back in its upper."""
    return (both & LOWER) + (both >> 32)


@inlined
def take(pool: int, side: int, thread: int) -> None:
    """Do tasks of the open job until none is left, from the FRONT or from the BACK."""
    function, arguments, count = atomic_load(pool + FUNCTION), atomic_load(pool + ARGUMENTS), atomic_load(pool + COUNT)
    before = atomic_add(pool + NEXT, side)
    while taken(before) < count:
        index = before & LOWER if side == FRONT else count - 1 - (before >> 32)
        call(function, (arguments, index, thread))
        before = atomic_add(pool + NEXT, side)


@inlined
def keep_off(pool: int, worker: int, here: int) -> None:
    """Let a worker run on any processor but `here`."""
    for byte in range(0, MASK_BYTES, 8):
        atomic_store(pool + OTHERS + byte, atomic_load(pool + MASK + byte))
    word = pool + OTHERS + here // 64 * 8
    atomic_store(word, atomic_load(word) & ~(1 << (here % 64)))
    call(atomic_load(pool + MOVE), (atomic_load(worker + THREAD), MASK_BYTES, pool + OTHERS))
    atomic_store(worker + AWAY, here + 1)


@inlined
def ring(pool: int, enough: int, long: bool) -> None:
    """Wake workers that sleep, up to `enough`, if the job is long. Only the pool's present owner rings."""
    worker, last = pool + WORKERS, pool + WORKERS + 64 * min(enough, atomic_load(pool + STARTED))
    wake, missed, here = long or atomic_load(pool + MISSED) >= PATIENCE, 0, -1
    if atomic_load(pool + HERE) != 0:
        here = call(atomic_load(pool + HERE), (0,)) & 0xFFFF
    while worker < last:
        if 0 <= here < 8 * MASK_BYTES and atomic_load(worker + AWAY) != here + 1 and atomic_load(worker + THREAD) != 0:
            keep_off(pool, worker, here)
        if atomic_load(worker + ASLEEP) == 1:
            if wake:
                atomic_store(worker + ASLEEP, 0)
                call(atomic_load(pool + RELEASE), (atomic_load(worker + LOCK),))
            else:
                missed = atomic_load(pool + MISSED) + 1
        worker += 64
    atomic_store(pool + MISSED, missed)


@inlined
def run(pool: int, function: int, arguments: int, count: int, room: int, long: bool) -> None:
    """Do `count` tasks, with the workers' help where there is more than one and the pool is free. pool 0: alone.

    A task is called as function(arguments, index, thread). The caller is thread 0; only threads below `room` come, for
    so many the arguments hold scratch: a task must not allocate, as it could not say that it failed. long: whether the
    tasks take 100 microseconds or more.
    """
    if count <= 1 or pool == 0:
        for index in range(count):
            call(function, (arguments, index, 0))
        return
    if atomic_add(pool + BUSY, 1) == 0:
        atomic_store(pool + FUNCTION, function)
        atomic_store(pool + ARGUMENTS, arguments)
        atomic_store(pool + COUNT, count)
        atomic_store(pool + ROOM, room)
        atomic_store(pool + NEXT, 0)
        atomic_store(pool + OPEN, 1)
        ring(pool, min(count, room) - 1, long)
        take(pool, FRONT, 0)
        atomic_store(pool + OPEN, 0)
        while atomic_load(pool + ACTIVE) != 0:  # those who came are still at their last task
            spin_pause()
    else:
        for index in range(count):
            call(function, (arguments, index, 0))
    atomic_add(pool + BUSY, -1)


@compiled("void(int64, int64, int64)")
def work(pool: int, worker: int, patience: int) -> None:
    """A worker's life: join every job that opens; after `patience` looks in vain, sleep until somebody rings."""
    looks, thread = 0, (worker - pool - WORKERS) // 64 + 1
    while atomic_load(worker + END) == 0:
        looks += 1
        if atomic_load(pool + OPEN) == 1 and taken(atomic_load(pool + NEXT)) < atomic_load(pool + COUNT):
            atomic_add(
                pool + ACTIVE, 1
            )  # first say so, then look again: the caller closes first, then asks who is there
            if atomic_load(pool + OPEN) == 1 and thread < atomic_load(pool + ROOM):
                take(pool, BACK, thread)
                looks = 0
            atomic_add(pool + ACTIVE, -1)
        elif looks > patience:
            atomic_store(worker + ASLEEP, 1)
            if atomic_load(worker + END) == 0:  # here, too: first say so, then look again
                call(atomic_load(pool + ACQUIRE), (atomic_load(worker + LOCK), 1))
            looks = 0
        spin_pause()
    atomic_store(worker + ASLEEP, 0)
    atomic_store(worker + THREAD, 0)


@compiled("void(int64, int64)")
def end(pool: int, worker: int) -> None:
    """Tell a worker to end. If a caller rings just now, too, the lock is released twice: who sleeps there next is woken
    once in vain."""
    atomic_store(worker + END, 1)
    if atomic_load(worker + ASLEEP) == 1:
        atomic_store(worker + ASLEEP, 0)
        call(atomic_load(pool + RELEASE), (atomic_load(worker + LOCK),))


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _address(library: Any, name: str) -> int:
    return int(ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0)


def _places() -> tuple[list[int], NDArray[np.int64]]:
    """What stands at HERE and MOVE, and the MASK: all 0 where there is no other processor to keep a thread on."""
    if platform.system() != "Linux" or _cpus() < 2:
        return [0, 0], np.zeros(MASK_BYTES // 8, np.int64)
    library, mask = ctypes.CDLL(None), sum(1 << cpu for cpu in os.sched_getaffinity(0) if cpu < 8 * MASK_BYTES)
    functions = [_address(library, "sched_getcpu"), _address(library, "sched_setaffinity")]
    return functions, np.frombuffer(mask.to_bytes(MASK_BYTES, "little"), np.int64)


def _new_lock() -> int:
    """The address of a lock of the interpreter, acquired."""
    python = ctypes.pythonapi
    python.PyThread_allocate_lock.restype = ctypes.c_void_p
    lock = python.PyThread_allocate_lock()
    if lock is None:
        raise MemoryError("there is no memory for a lock")
    python.PyThread_acquire_lock(ctypes.c_void_p(lock), 1)
    return int(lock)


class Pool:
    """threads: the caller and its workers; 0: not started. address: what `run` takes; 0 while the caller is alone."""

    def __init__(self) -> None:
        words = np.zeros((WORKERS + 64 * MOST) // 8 + 8, np.int64)  # of which the system gives the pages that are used
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(words))  # never freed, not even when Python ends
        self._base = -(-words.ctypes.data // 64) * 64
        self._words = words[(self._base - words.ctypes.data) // 8 :]
        for offset, verb in ((ACQUIRE, "acquire"), (RELEASE, "release")):
            self._words[offset // 8] = _address(ctypes.pythonapi, f"PyThread_{verb}_lock")
        self._workers: list[Thread] = []
        self._closed, self._newest = False, 0
        self.threads = self.address = 0

    def resize(self, threads: int) -> None:
        """Start or end workers until there are as many threads as wanted, or as the system allows."""
        wanted = 0 if self._closed else threads - 1
        failure: Exception | None = None
        while len(self._workers) > wanted:
            end(self._base, self._base + WORKERS + 64 * (len(self._workers) - 1))
            self._workers[-1].join()
            self._workers.pop()
        while len(self._workers) < wanted and failure is None:
            failure = self._start(len(self._workers))
        self._words[STARTED // 8] = len(self._workers)
        self.address = self._base if self._workers else 0
        self.threads = 1 + len(self._workers)
        if failure is not None:
            _tell(threads, self.threads, failure)

    def resize_by(self, number: int, threads: int) -> None:
        """resize, by the call of that number. An interrupted call is still finished, and may be so after a later one:
        then the later one holds."""
        if number > self._newest:
            self._newest = number
            self.resize(threads)

    def _start(self, index: int) -> Exception | None:
        """Start a worker; returns why not, if the system refuses."""
        if index >= MOST:
            return RuntimeError("there is no room for more")
        live, _ = work.made, end.made  # compiled here: all workers want them at the same time
        self._words[[HERE // 8, MOVE // 8]], self._words[MASK // 8 : OTHERS // 8] = _places()
        worker = WORKERS + 64 * index
        words = self._words[worker // 8 : worker // 8 + 8]
        words[LOCK // 8] = words[LOCK // 8] or _new_lock()  # it stays for the next worker that lives here
        words[END // 8] = words[AWAY // 8] = 0

        def work_here() -> None:
            words[THREAD // 8] = threading.get_native_id()
            live(self._base, self._base + worker, LOOKOUT)

        try:
            self._workers.append(Thread(work_here))
        except (RuntimeError, MemoryError) as failure:
            return failure
        return None

    def close(self) -> None:
        """End the workers for good: while Python ends, and after, callers are alone."""
        self._closed = True
        self.resize(1)


_pool = Pool()
_numbers = itertools.count(1)  # of the calls of set_num_threads
_told: list[bool] = []


def _tell(wanted: int, got: int, failure: Exception) -> None:
    """Say once that there are fewer threads than wanted."""
    if not _told:
        _told.append(True)
        text = f"{wanted} threads were wanted, and {got} could be had ({failure}): products are as right, and slower"
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def pool() -> Pool:
    """The process's pool; started at the first call, with a thread for each processor this process may use."""
    if _pool.threads == 0:
        whole(_start)
    return _pool


def _start() -> None:
    if _pool.threads == 0:
        _pool.resize(_cpus())


def set_num_threads(n: int) -> None:
    """Let products use `n` threads, the caller's among them. Answers do not depend on it.

    Calls that run meanwhile in other threads are not disturbed. Where the system does not start so many threads, there
    are fewer, and a RuntimeWarning says so once.
    """
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"the number of threads must be an integer >= 1, got {n!r}")
    number = next(_numbers)
    whole(lambda: _pool.resize_by(number, n))


def get_num_threads() -> int:
    """How many threads products use: at first as many as processors this process may use."""
    return pool().threads


@atexit.register
def _close() -> None:
    with MAKING:
        _pool.close()


def _renew() -> None:
    """A child has no workers, and the words may say that somebody is calling."""
    global _pool
    _pool = Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
