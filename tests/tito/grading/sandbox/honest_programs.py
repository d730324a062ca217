"""What an honest student may do beside arithmetic: loaded into a sandbox, where every function returns True."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ctypes
import datetime
import faulthandler
import mmap
import multiprocessing
import multiprocessing.dummy
import multiprocessing.pool
import os
import pathlib
import platform
import random
import resource
import secrets
import selectors
import shutil
import signal
import socket
import sqlite3
import tarfile
import tempfile
import threading
import time
import tracemalloc
import uuid
import zipfile

import numpy as np


def threads() -> object:
    seen = list[int]()
    some = [threading.Thread(target=seen.append, args=(number,)) for number in range(20)]
    for one in some:
        one.start()
    for one in some:
        one.join()
    return len(seen) == 20


def threads_that_wait_for_one_another() -> object:
    barrier, passed = threading.Barrier(4), list[int]()

    def run() -> None:
        for _ in range(50):
            barrier.wait()
        passed.append(1)

    some = [threading.Thread(target=run) for _ in range(4)]
    for one in some:
        one.start()
    for one in some:
        one.join()
    return len(passed) == 4


def pool_of_threads() -> object:
    with multiprocessing.pool.ThreadPool(4) as pool, multiprocessing.dummy.Pool(2) as other:
        return sum(pool.map(abs, range(100))) == sum(other.imap_unordered(abs, range(100))) == 4950


def executor() -> object:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return sum(pool.map(abs, range(100))) == 4950


def lock_that_processes_could_share() -> object:
    lock, count = multiprocessing.Lock(), [0]

    def add() -> None:
        for _ in range(500):
            with lock:
                count[0] += 1

    some = [threading.Thread(target=add) for _ in range(4)]
    for one in some:
        one.start()
    for one in some:
        one.join()
    return count == [2000]


def thread_of_c() -> object:
    """`pthread_join` waits by a futex that is not private."""
    function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _: time.sleep(0.05))
    libc, thread = ctypes.CDLL(None), ctypes.c_ulong()
    started = libc.pthread_create(ctypes.byref(thread), None, function, None) == 0
    return started and libc.pthread_join(thread, None) == 0


def timer() -> object:
    event = threading.Event()
    threading.Timer(0.01, event.set).start()
    return event.wait(10)


def clocks_and_sleep() -> object:
    begun = time.perf_counter()
    time.sleep(0.01)
    read = time.time(), time.monotonic(), time.process_time(), time.thread_time(), datetime.datetime.now().timestamp()
    return time.perf_counter() - begun > 0.009 and min(read) >= 0


def event_loop() -> object:
    async def run() -> int:
        slept = await asyncio.gather(*(asyncio.sleep(0.001, number) for number in range(10)))
        return sum(slept) + await asyncio.to_thread(abs, -3)

    return asyncio.run(run()) == asyncio.run(run()) == 48


def pair_of_sockets() -> object:
    one, other = socket.socketpair()
    with one, other, selectors.DefaultSelector() as selector:
        selector.register(other, selectors.EVENT_READ)
        one.send(b"x")
        return len(selector.select(5)) == 1 and other.recv(9) == b"x"


def pipe() -> object:
    reading, writing = os.pipe()
    os.write(writing, b"abc")
    return os.read(reading, 9) == b"abc"


def temporary_files() -> object:
    with tempfile.NamedTemporaryFile("w+", encoding="utf-8") as named, tempfile.TemporaryFile() as unnamed:
        named.write("hello")
        named.seek(0)
        return named.read() == "hello" and unnamed.write(b"x" * 5000) == 5000


def files_and_folders() -> object:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "a").write_text("x" * 100_000, encoding="utf-8")
        (folder / "new").touch()
        (folder / "new").touch()
        shutil.copy(folder / "a", folder / "b")
        (folder / "below").mkdir()
        shutil.move(folder / "b", folder / "below" / "c")
        pathlib.Path(folder / "a").replace(folder / "d")
        os.truncate(folder / "d", 10)
        with pathlib.Path(folder / "d").open("a", encoding="utf-8") as file:
            file.flush()
            os.fsync(file.fileno())
        return sorted(path.name for path in folder.rglob("*")) == ["below", "c", "d", "new"]


def links() -> object:
    with tempfile.TemporaryDirectory() as name:
        file = pathlib.Path(name, "file")
        file.touch()
        file.chmod(0o600)
        pathlib.Path(name, "soft").symlink_to(file)
        pathlib.Path(name, "hard").hardlink_to(file)
        return pathlib.Path(name, "soft").readlink() == file and file.stat().st_nlink == 2


def archives() -> object:
    with tempfile.TemporaryDirectory() as name:
        file = pathlib.Path(name, "file")
        file.write_text("x", encoding="utf-8")
        with zipfile.ZipFile(f"{name}/z.zip", "w") as packed, tarfile.open(f"{name}/t.tgz", "w:gz") as tarred:
            packed.write(file, "file")
            tarred.add(file, "file")
        with zipfile.ZipFile(f"{name}/z.zip") as packed, tarfile.open(f"{name}/t.tgz") as tarred:
            packed.extractall(f"{name}/1")
            tarred.extractall(f"{name}/2", filter="data")
        return pathlib.Path(name, "1/file").read_bytes() == pathlib.Path(name, "2/file").read_bytes() == b"x"


def arrays_in_files() -> object:
    with tempfile.TemporaryDirectory() as name:
        np.save(f"{name}/a.npy", np.arange(10))
        np.savez_compressed(f"{name}/b.npz", b=np.arange(4))
        np.savetxt(f"{name}/c.txt", np.eye(3))
        mapped = np.memmap(f"{name}/d", np.float32, "w+", shape=(100,))
        mapped[:] = 1
        mapped.flush()
        read = np.load(f"{name}/a.npy").sum() + np.load(f"{name}/b.npz")["b"].sum() + np.loadtxt(f"{name}/c.txt").sum()
        return bool(read + np.memmap(f"{name}/d", np.float32, "r").sum() == 154)


def memory() -> object:
    with mmap.mmap(-1, 1 << 20) as mapped:
        mapped.madvise(mmap.MADV_DONTNEED)
        mapped.resize(1 << 21)
        return np.ones(100_000_000, np.uint8).astype(np.float32).nbytes == 400_000_000


def linear_algebra() -> object:
    x = np.random.default_rng(1).normal(size=(300, 300))
    return np.allclose(x @ np.linalg.inv(x), np.eye(300)) and np.fft.rfft(x).shape == (300, 151)


def database() -> object:
    with contextlib.closing(sqlite3.connect(":memory:")) as base:
        base.execute("create table t(a)")
        base.execute("insert into t values(1)")
        return base.execute("select sum(a) from t").fetchone() == (1,)


def signals() -> object:
    heard = list[str]()
    signal.signal(signal.SIGALRM, lambda *_: heard.append("alarm"))
    signal.signal(signal.SIGUSR1, lambda *_: heard.append("user"))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(0.1)
    signal.raise_signal(signal.SIGUSR1)
    return heard == ["alarm", "user"]


def chance() -> object:
    drawn = os.urandom(4), secrets.token_bytes(4), random.SystemRandom().randbytes(4), uuid.uuid4().bytes[:4]
    return [len(one) for one in drawn] == [4] * 4 and uuid.uuid1() != uuid.uuid1()


def facts() -> object:
    known = os.cpu_count(), os.getpid(), platform.platform(), pathlib.Path.cwd(), os.sysconf("SC_PAGE_SIZE"), os.uname()
    return all(known) and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0 and os.statvfs("/tmp").f_bsize > 0


def tools_of_the_trade() -> object:
    tracemalloc.start()
    with (
        tempfile.TemporaryFile() as file,
        pathlib.Path(os.devnull).open("w", encoding="utf-8") as nothing,
        contextlib.redirect_stdout(nothing),
    ):
        print(tracemalloc.get_traced_memory(), shutil.get_terminal_size())
        faulthandler.dump_traceback(file)
        tracemalloc.stop()
        return file.tell() > 0
