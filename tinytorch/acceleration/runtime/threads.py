"""A pool that starts work within a microsecond: threads that look out for a job for a moment before they sleep.

    the caller, thread 0                                      the workers, threads 1, 2, ...

    job -> POOL, is_open = 1, wake who sleeps                 look at is_open again and again, or sleep
    takes tasks from the first on   -> 0 1 2 3 4 5 6 7 <-     active += 1, take tasks from the last, active -= 1
    is_open = 0, waits until active = 0

A job is a compiled function, its arguments, and a number of tasks. From call to call a thread gets the same tasks, and
so the weights, rows and results that are in its own cache. Who wins a task changes no bit: tasks write to separate
places, and each sum is made in one task.
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
from .intrinsics import address_of, call, int64s_at, spin_pause
from .layout import ALIGNMENT
from .once import MAKING, Thread, uninterrupted
from .records import atomic_add, atomic_load, atomic_store, fields_on_lines, view_of

POOL = fields_on_lines(
    "is_open",  # 1 while workers may join the job
    "taken",  # tasks that are taken: those from the front in the lower half, those from the back in the upper one
    "active",  # workers that have joined
    "callers",  # 1 for the one who has the pool, and those who found it busy
    "function arguments tasks max_threads missed_jobs",  # the job; missed_jobs: short ones that a sleeper missed
    "acquire_lock release_lock workers "  # two functions of the interpreter; how many workers have been started
    "sched_getcpu sched_setaffinity",  # 0 where there is only one processor
)
WORKER = fields_on_lines("is_asleep lock thread_id away_from must_end")  # away_from: a processor's number, plus 1
pool_at, worker_at = view_of(POOL), view_of(WORKER)
# Behind a POOL: the set of processors where workers may run, the same without the caller's, and the WORKERs.
CPU_SET_BYTES = 128
CPUS = POOL.itemsize
OTHER_CPUS = CPUS + CPU_SET_BYTES
WORKERS = OTHER_CPUS + CPU_SET_BYTES
WORKER_BYTES = WORKER.itemsize
MAX_WORKERS = 1 << 12
EVERYBODY = 1 << 30  # as `max_threads` of a job that needs no scratch
FRONT, BACK, LOWER_HALF = 1, 1 << 32, (1 << 32) - 1  # what a task from either side adds to `taken`
LOOKS = 40_000  # before a thread sleeps: 0.5 to 2 ms, as long as a processor's PAUSE takes
MAX_MISSED = 8  # short jobs in a row that found a worker asleep wake it


@inlined
def count_of(taken: int) -> int:
    """How many tasks are taken, from both sides."""
    return (taken & LOWER_HALF) + (taken >> 32)


@inlined
def do_tasks(pool: Any, side: int, thread: int) -> None:
    """Do tasks of the open job until none is left, from the FRONT or from the BACK."""
    function, arguments = atomic_load(pool, "function"), atomic_load(pool, "arguments")
    tasks, taken = atomic_load(pool, "tasks"), atomic_add(pool, "taken", side)
    while count_of(taken) < tasks:
        index = taken & LOWER_HALF if side == FRONT else tasks - 1 - (taken >> 32)
        call(function, (arguments, index, thread))
        taken = atomic_add(pool, "taken", side)


@inlined
def keep_off(pool: Any, worker: Any, cpu: int) -> None:
    """Let a worker run on any processor but `cpu`."""
    address = address_of(pool)
    cpus, others = int64s_at(address + CPUS), int64s_at(address + OTHER_CPUS)
    for i in range(CPU_SET_BYTES // 8):
        others[i] = cpus[i]
    others[cpu // 64] &= ~(1 << (cpu % 64))
    call(
        atomic_load(pool, "sched_setaffinity"), (atomic_load(worker, "thread_id"), CPU_SET_BYTES, address + OTHER_CPUS)
    )
    atomic_store(worker, "away_from", cpu + 1)


@inlined
def wake_workers(pool: Any, wanted: int, is_long: bool) -> None:
    """Wake workers that sleep, up to `wanted`, if the job is long. Only the pool's present owner does."""
    wakes, missed, cpu = is_long or atomic_load(pool, "missed_jobs") >= MAX_MISSED, 0, -1
    if atomic_load(pool, "sched_getcpu") != 0:
        cpu = call(atomic_load(pool, "sched_getcpu"), (0,)) & 0xFFFF
    for i in range(min(wanted, atomic_load(pool, "workers"))):
        worker = worker_at(address_of(pool) + WORKERS + i * WORKER_BYTES)
        must_move = 0 <= cpu < 8 * CPU_SET_BYTES and atomic_load(worker, "away_from") != cpu + 1
        if must_move and atomic_load(worker, "thread_id") != 0:
            keep_off(pool, worker, cpu)
        if atomic_load(worker, "is_asleep") == 1:
            if wakes:
                atomic_store(worker, "is_asleep", 0)
                call(atomic_load(pool, "release_lock"), (atomic_load(worker, "lock"),))
            else:
                missed = atomic_load(pool, "missed_jobs") + 1
    atomic_store(pool, "missed_jobs", missed)


@inlined
def do_alone(function: int, arguments: int, tasks: int) -> None:
    """Do all tasks in this thread."""
    for index in range(tasks):
        call(function, (arguments, index, 0))


@inlined
def run(address: int, function: int, arguments: int, tasks: int, max_threads: int, is_long: bool) -> None:
    """Do `tasks` tasks, with the workers' help where there is more than one and the pool is free. address: the pool's,
    0 to do them alone.

    A task is called as function(arguments, index, thread). The caller is thread 0; only threads below `max_threads`
    come, for so many the arguments hold scratch: a task must not allocate, as it could not say that it failed. is_long:
    whether the tasks take 100 microseconds or more.
    """
    if tasks <= 1 or address == 0:
        do_alone(function, arguments, tasks)
        return
    pool = pool_at(address)
    if atomic_add(pool, "callers", 1) == 0:
        atomic_store(pool, "function", function)
        atomic_store(pool, "arguments", arguments)
        atomic_store(pool, "tasks", tasks)
        atomic_store(pool, "max_threads", max_threads)
        atomic_store(pool, "taken", 0)
        atomic_store(pool, "is_open", 1)
        wake_workers(pool, min(tasks, max_threads) - 1, is_long)
        do_tasks(pool, FRONT, 0)
        atomic_store(pool, "is_open", 0)
        while atomic_load(pool, "active") != 0:  # those who came are still at their last task
            spin_pause()
    else:
        do_alone(function, arguments, tasks)
    atomic_add(pool, "callers", -1)


@inlined
def join_job(pool: Any, thread: int) -> bool:
    """Do tasks of the job from the last on, unless it is closed by now or has no scratch for this thread."""
    atomic_add(pool, "active", 1)  # first say so, then look again: the caller closes first, then asks who is there
    joins: bool = atomic_load(pool, "is_open") == 1 and thread < atomic_load(pool, "max_threads")
    if joins:
        do_tasks(pool, BACK, thread)
    atomic_add(pool, "active", -1)
    return joins


@compiled("void(int64, int64, int64)")
def work(pool_address: int, index: int, max_looks: int) -> None:
    """A worker's life: join every job that opens; after `max_looks` looks in vain, sleep until somebody wakes it."""
    pool, worker, looks = pool_at(pool_address), worker_at(pool_address + WORKERS + index * WORKER_BYTES), 0
    while atomic_load(worker, "must_end") == 0:
        looks += 1
        if atomic_load(pool, "is_open") == 1 and count_of(atomic_load(pool, "taken")) < atomic_load(pool, "tasks"):
            if join_job(pool, index + 1):
                looks = 0
        elif looks > max_looks:
            atomic_store(worker, "is_asleep", 1)
            if atomic_load(worker, "must_end") == 0:  # here, too: first say so, then look again
                call(atomic_load(pool, "acquire_lock"), (atomic_load(worker, "lock"), 1))
            looks = 0
        spin_pause()
    atomic_store(worker, "is_asleep", 0)
    atomic_store(worker, "thread_id", 0)


@compiled("void(int64, int64)")
def end(pool_address: int, index: int) -> None:
    """Tell a worker to end. If a caller wakes it just now, too, the lock is released twice: who sleeps there next is
    woken once in vain."""
    pool, worker = pool_at(pool_address), worker_at(pool_address + WORKERS + index * WORKER_BYTES)
    atomic_store(worker, "must_end", 1)
    if atomic_load(worker, "is_asleep") == 1:
        atomic_store(worker, "is_asleep", 0)
        call(atomic_load(pool, "release_lock"), (atomic_load(worker, "lock"),))


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _address(library: Any, name: str) -> int:
    return int(ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0)


def _affinity() -> tuple[list[int], NDArray[np.int64]]:
    """The addresses of sched_getcpu and sched_setaffinity, and the set of processors where workers may run: all 0 where
    there is no other processor to keep a thread on."""
    if platform.system() != "Linux" or _cpus() < 2:
        return [0, 0], np.zeros(CPU_SET_BYTES // 8, np.int64)
    library, mask = ctypes.CDLL(None), sum(1 << cpu for cpu in os.sched_getaffinity(0) if cpu < 8 * CPU_SET_BYTES)
    functions = [_address(library, "sched_getcpu"), _address(library, "sched_setaffinity")]
    return functions, np.frombuffer(mask.to_bytes(CPU_SET_BYTES, "little"), np.int64)


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
    """threads: the caller and its workers; 0: not started. address: what `run` takes; 0 while the caller is alone.
    shared, workers: a POOL and its WORKERs, as compiled code sees them."""

    def __init__(self) -> None:
        size = WORKERS + WORKER_BYTES * MAX_WORKERS  # of which the system gives the pages that are used
        memory = np.zeros(size + ALIGNMENT, np.uint8)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))  # never freed, not even when Python ends
        memory = memory[-memory.ctypes.data % ALIGNMENT :][:size]
        self._base = memory.ctypes.data
        self.shared = memory[:CPUS].view(POOL)[0]
        self._cpus = memory[CPUS:OTHER_CPUS].view(np.int64)
        self.workers = memory[WORKERS:].view(WORKER)
        for verb in ("acquire", "release"):
            self.shared[f"{verb}_lock"] = _address(ctypes.pythonapi, f"PyThread_{verb}_lock")
        self._threads: list[Thread] = []
        self._closed, self._newest = False, 0
        self.threads = self.address = 0

    def resize(self, threads: int) -> None:
        """Start or end workers until there are as many threads as wanted, or as the system allows."""
        wanted = 0 if self._closed else threads - 1
        failure: Exception | None = None
        while len(self._threads) > wanted:
            end(self._base, len(self._threads) - 1)
            self._threads[-1].join()
            self._threads.pop()
        while len(self._threads) < wanted and failure is None:
            failure = self._start(len(self._threads))
        self.shared["workers"] = len(self._threads)
        self.address = self._base if self._threads else 0
        self.threads = 1 + len(self._threads)
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
        if index >= MAX_WORKERS:
            return RuntimeError("there is no room for more")
        live, _ = work.made, end.made  # compiled here: all workers want them at the same time
        functions, self._cpus[:] = _affinity()
        self.shared["sched_getcpu"], self.shared["sched_setaffinity"] = functions
        worker = self.workers[index]
        worker["lock"] = worker["lock"] or _new_lock()  # it stays for the next worker that lives here
        worker["must_end"] = worker["away_from"] = 0

        def work_here() -> None:
            worker["thread_id"] = threading.get_native_id()
            live(self._base, index, LOOKS)

        try:
            self._threads.append(Thread(work_here))
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
        uninterrupted(_start)
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
    uninterrupted(lambda: _pool.resize_by(number, n))


def get_num_threads() -> int:
    """How many threads products use: at first as many as processors this process may use."""
    return pool().threads


@atexit.register
def _close() -> None:
    with MAKING:
        _pool.close()


def _renew() -> None:
    """A child has no workers, and the old pool may say that somebody is calling."""
    global _pool
    _pool = Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
