"""A pool that starts work within a microsecond: threads that look out for a job for a moment before they sleep.

A job is a compiled function, its arguments, and a number of tasks. The caller takes them from the first on, workers
from the last, until they meet: so from call to call a thread gets the same weights, rows and results, which are in its
own cache. Who wins a task changes no bit: tasks write to separate places, and each sum is made in one task.
The caller never waits for a thread that has not come: a sleeping or slow worker costs speed, not an answer. To wake
one costs the caller itself some 50 microseconds in a virtual machine, so a short job lets it sleep, unless there were
many in a row. A second caller finds the pool busy and does its job alone. Once started, a worker never touches Python:
it sleeps in the interpreter's own lock (PyThread_acquire_lock, which needs no GIL) and is woken from compiled code.

On Linux a worker is kept off its caller's processor, and only off that one. A kernel in a virtual machine takes a
halted processor for one that its host has given to somebody else, wakes the worker where the caller is, and lets the
two share it for milliseconds while the other processor idles.
"""

import atexit
import ctypes
import os
import platform
import threading
from typing import Any

import numpy as np

from .compiled import add, call, compiled, inlined, peek, poke, relax

# Offsets in bytes into the pool's shared words, a cache line each: what several threads write does not share one.
OPEN, NEXT, ACTIVE, BUSY, STOP, JOB, LOCKS, PLACES, WORKERS = 0, 64, 128, 192, 256, 320, 384, 448, 640
ASLEEP, LOCK, THREAD, AWAY = 0, 8, 16, 24  # of a worker; AWAY: the processor that it is kept off, plus 1
HERE, MOVE, MASK, MASK_BYTES = 0, 8, 16, 128  # of PLACES: sched_getcpu, sched_setaffinity, where workers may run
FRONT, BACK, LOWER = 1, 1 << 32, (1 << 32) - 1  # steps of NEXT, and the mask of its lower half
LOOKOUT = 40_000  # looks before a thread sleeps: 0.5 to 2 ms, as long as a processor's PAUSE takes
MISSED, PATIENCE = JOB + 24, 8  # short jobs in a row that found a worker asleep, and how many of them wake it


@inlined
def taken(both: int) -> int:
    """How many tasks are gone: NEXT counts those from the front in its lower half, those from the back in its upper."""
    return (both & LOWER) + (both >> 32)


@inlined
def take(pool: int, side: int) -> None:
    """Do tasks of the open job until none is left, from the FRONT or from the BACK."""
    function, arguments, count = peek(pool + JOB), peek(pool + JOB + 8), peek(pool + JOB + 16)
    before = add(pool + NEXT, side)
    while taken(before) < count:
        index = before & LOWER if side == FRONT else count - 1 - (before >> 32)
        call(function, (arguments, index))
        before = add(pool + NEXT, side)


@inlined
def keep_off(pool: int, worker: int, here: int) -> None:
    """Let a worker run on any processor but `here`."""
    word, bit = pool + PLACES + MASK + here // 64 * 8, 1 << (here % 64)
    before = peek(word)
    poke(word, before & ~bit)
    call(peek(pool + PLACES + MOVE), (peek(worker + THREAD), MASK_BYTES, pool + PLACES + MASK))
    poke(word, before)
    poke(worker + AWAY, here + 1)


@inlined
def ring(pool: int, enough: int, long: bool) -> None:
    """Wake workers that sleep, up to `enough`, if the job is long. Only the pool's present owner rings."""
    worker, last = pool + WORKERS, pool + WORKERS + 64 * min(enough, peek(pool + LOCKS + 16))
    wake, missed, here = long or peek(pool + MISSED) >= PATIENCE, 0, -1
    if peek(pool + PLACES + HERE) != 0:
        here = call(peek(pool + PLACES + HERE), (0,)) & 0xFFFF
    while worker < last:
        if 0 <= here < 8 * MASK_BYTES and peek(worker + AWAY) != here + 1:
            keep_off(pool, worker, here)
        if peek(worker + ASLEEP) == 1:
            if wake:
                poke(worker + ASLEEP, 0)
                call(peek(pool + LOCKS + 8), (peek(worker + LOCK),))
            else:
                missed = peek(pool + MISSED) + 1
        worker += 64
    poke(pool + MISSED, missed)


@inlined
def run(pool: int, function: int, arguments: int, count: int, long: bool) -> None:
    """Do `count` tasks, with the workers' help where there is more than one and the pool is free. pool 0: alone. long:
    whether they take 100 microseconds or more."""
    if count <= 1 or pool == 0:
        for index in range(count):
            call(function, (arguments, index))
        return
    if add(pool + BUSY, 1) == 0:
        poke(pool + JOB, function)
        poke(pool + JOB + 8, arguments)
        poke(pool + JOB + 16, count)
        poke(pool + NEXT, 0)
        poke(pool + OPEN, 1)
        ring(pool, count - 1, long)
        take(pool, FRONT)
        poke(pool + OPEN, 0)
        while peek(pool + ACTIVE) != 0:  # those who came are still at their last task
            relax()
    else:
        for index in range(count):
            call(function, (arguments, index))
    add(pool + BUSY, -1)


@compiled("void(int64, int64, int64)")
def work(pool: int, worker: int, patience: int) -> None:
    """A worker's life: join every job that opens; after `patience` looks in vain, sleep until somebody rings."""
    looks = 0
    while peek(pool + STOP) == 0:
        looks += 1
        if peek(pool + OPEN) == 1 and taken(peek(pool + NEXT)) < peek(pool + JOB + 16):
            add(pool + ACTIVE, 1)  # first say so, then look again: the caller closes first, then asks who is there
            if peek(pool + OPEN) == 1:
                take(pool, BACK)
                looks = 0
            add(pool + ACTIVE, -1)
        elif looks > patience:
            poke(worker + ASLEEP, 1)
            call(peek(pool + LOCKS), (peek(worker + LOCK), 1))
            looks = 0
        relax()


@compiled("void(int64)")
def stop(pool: int) -> None:
    """Tell all workers to end."""
    poke(pool + STOP, 1)
    ring(pool, 1 << 30, True)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _address(library: Any, name: str) -> int:
    return int(ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0)


def _places() -> list[int]:
    """The words of PLACES: all 0 where a thread cannot be kept off a processor, or there is no other one."""
    if platform.system() != "Linux" or _cpus() < 2:
        return []
    library, mask = ctypes.CDLL(None), sum(1 << cpu for cpu in os.sched_getaffinity(0) if cpu < 8 * MASK_BYTES)
    words = np.frombuffer(mask.to_bytes(MASK_BYTES, "little"), np.int64)
    return [_address(library, "sched_getcpu"), _address(library, "sched_setaffinity"), *words]


class Pool:
    """`threads` - 1 workers beside the caller. address: what `run` takes."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._words = np.zeros(WORKERS // 8 + 8 * threads + 8, np.int64)
        base = int(self._words.ctypes.data)
        base += -base % 64
        words = self._words[(base - int(self._words.ctypes.data)) // 8 :]
        self.address = base if threads > 1 else 0
        self._workers: list[threading.Thread] = []
        acquire, release = (_address(ctypes.pythonapi, f"PyThread_{verb}_lock") for verb in ("acquire", "release"))
        words[LOCKS // 8 : LOCKS // 8 + 3] = acquire, release, threads - 1
        places = _places()
        words[PLACES // 8 : PLACES // 8 + len(places)] = places
        ctypes.pythonapi.PyThread_allocate_lock.restype = ctypes.c_void_p
        for offset in range(WORKERS, WORKERS + 64 * (threads - 1), 64):
            lock = ctypes.pythonapi.PyThread_allocate_lock()
            ctypes.pythonapi.PyThread_acquire_lock(ctypes.c_void_p(lock), 1)
            words[(offset + LOCK) // 8] = lock
            self._workers.append(threading.Thread(target=work, args=(base, base + offset, LOOKOUT), daemon=True))
            self._workers[-1].start()
            words[(offset + THREAD) // 8] = self._workers[-1].native_id or 0

    def stop(self) -> None:
        """End the workers and wait for them."""
        while any(worker.is_alive() for worker in self._workers):
            stop(self.address)
            self._workers[-1].join(0.001)
            self._workers = [worker for worker in self._workers if worker.is_alive()]


_pool: list[Pool] = []


def pool() -> Pool:
    """The process's pool; made at the first call, with a thread for each processor this process may use."""
    if not _pool:
        _pool.append(Pool(_cpus()))
    return _pool[0]


def set_num_threads(n: int) -> None:
    """Let products use `n` threads, the caller's among them. Answers do not depend on it."""
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"the number of threads must be an integer >= 1, got {n!r}")
    if _pool and _pool[0].threads != n:
        _pool.pop().stop()
    if not _pool:
        _pool.append(Pool(n))


def get_num_threads() -> int:
    """How many threads products use: at first as many as processors this process may use."""
    return pool().threads


@atexit.register
def _stop() -> None:
    if _pool:
        _pool.pop().stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.clear)  # a child has no workers, and makes its own pool
