"""A pool that starts work within a microsecond: threads that look out for a job for a moment before they sleep.

A job is a compiled function, its arguments, and a number of tasks; every thread, the caller too, takes the next task
until none is left. Who wins a task changes no bit: tasks write to separate places, and their sums are integers.
The caller never waits for a thread that has not come: a sleeping or slow worker costs speed, not an answer. A second
caller finds the pool busy and does its job alone. Once started, a worker never touches Python: it sleeps in the
interpreter's own lock (PyThread_acquire_lock, which needs no GIL) and is woken from compiled code.
"""

import atexit
import ctypes
import os
import threading

import numpy as np

from .compiled import add, call, compiled, inlined, peek, poke, relax

# Offsets in bytes into the pool's shared words, a cache line each: what several threads write does not share one.
OPEN, NEXT, ACTIVE, BUSY, STOP, JOB, LOCKS, WORKERS = 0, 64, 128, 192, 256, 320, 384, 448  # a worker: asleep, its lock
LOOKOUT = 4000  # looks before a thread sleeps: some 0.2 ms


@inlined
def take(pool: int) -> None:
    """Do tasks of the open job until none is left."""
    function, arguments, count = peek(pool + JOB), peek(pool + JOB + 8), peek(pool + JOB + 16)
    index = add(pool + NEXT, 1)
    while index < count:
        call(function, (arguments, index))
        index = add(pool + NEXT, 1)


@inlined
def ring(pool: int, enough: int) -> None:
    """Wake workers that sleep, up to `enough`. Only the pool's present owner rings."""
    worker, last = pool + WORKERS, pool + WORKERS + 64 * min(enough, peek(pool + LOCKS + 16))
    while worker < last:
        if peek(worker) == 1:
            poke(worker, 0)
            call(peek(pool + LOCKS + 8), (peek(worker + 8),))
        worker += 64


@inlined
def run(pool: int, function: int, arguments: int, count: int) -> None:
    """Do `count` tasks, with the workers' help where there is more than one and the pool is free. pool 0: alone."""
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
        ring(pool, count - 1)
        take(pool)
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
        if peek(pool + OPEN) == 1 and peek(pool + NEXT) < peek(pool + JOB + 16):
            add(pool + ACTIVE, 1)  # first say so, then look again: the caller closes first, then asks who is there
            if peek(pool + OPEN) == 1:
                take(pool)
                looks = 0
            add(pool + ACTIVE, -1)
        elif looks > patience:
            poke(worker, 1)
            call(peek(pool + LOCKS), (peek(worker + 8), 1))
            looks = 0
        relax()


@compiled("void(int64)")
def stop(pool: int) -> None:
    """Tell all workers to end."""
    poke(pool + STOP, 1)
    ring(pool, 1 << 30)


def _python_api(name: str) -> int:
    return int(ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0)


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
        acquire, release = _python_api("PyThread_acquire_lock"), _python_api("PyThread_release_lock")
        words[LOCKS // 8 : LOCKS // 8 + 3] = acquire, release, threads - 1
        ctypes.pythonapi.PyThread_allocate_lock.restype = ctypes.c_void_p
        for offset in range(WORKERS, WORKERS + 64 * (threads - 1), 64):
            lock = ctypes.pythonapi.PyThread_allocate_lock()
            ctypes.pythonapi.PyThread_acquire_lock(ctypes.c_void_p(lock), 1)
            words[offset // 8 + 1] = lock
            self._workers.append(threading.Thread(target=work, args=(base, base + offset, LOOKOUT), daemon=True))
            self._workers[-1].start()

    def stop(self) -> None:
        """End the workers and wait for them."""
        while any(worker.is_alive() for worker in self._workers):
            stop(self.address)
            self._workers[-1].join(0.001)
            self._workers = [worker for worker in self._workers if worker.is_alive()]


_pool: list[Pool] = []


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
