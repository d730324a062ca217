"""What a student's process may not do: limits of the kernel, and where there is no sandbox what it would lack.

Runs in that process, before any code of the student's. There is no way back, and none for a thread or child of it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# Of each machine: its number for seccomp, and the system calls fork, vfork (where it has them), clone and clone3.
CALLS = {"x86_64": (0xC000003E, (57, 58), 56, 435), "aarch64": (0xC00000B7, (), 220, 435)}
CLONE_THREAD = 0x10000
OTHER_NUMBERS = 0x40000000  # from here on x86-64 numbers its calls anew
KILL, REFUSE, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000  # what a filter answers; REFUSE carries an errno
LOAD, EQUAL, AT_LEAST, ANY_BIT, ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions of a filter
NUMBER_AT, MACHINE_AT, FLAGS_AT = 0, 4, 16  # where a filter finds the call, the machine, the call's first argument
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2
STARTS = ["os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "os.exec", "os.startfile"]
STARTS += ["subprocess.Popen", "_winapi.CreateProcess"]
NEAR = ("127.", "localhost", "::1")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def limited(limits: dict[str, int]) -> None:
    """What this process may use from here on, as `resource` names it. NPROC counts threads: it starts no process."""
    try:
        import resource
    except ImportError:  # Windows
        return
    if "NPROC" in limits and sys.platform == "linux":
        threads = _refuse_processes() and _room_for_threads(resource, limits["NPROC"])
        limits = limits | {"NPROC": threads or 0}
    for name, value in limits.items():
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is None:
            continue
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(number, (value, value))
        except (ValueError, OSError):
            continue  # macOS knows limits that it does not let one set


def _refuse_processes() -> bool:
    """Have the kernel refuse to start processes, and still start threads; False where it cannot."""
    if platform.machine() not in CALLS or sys.byteorder != "little" or sys.maxsize < 1 << 32:
        return False
    machine, forks, clone, clone3 = CALLS[platform.machine()]
    steps = [(LOAD, 0, 0, MACHINE_AT), (EQUAL, 1, 0, machine), (ANSWER, 0, 0, KILL), (LOAD, 0, 0, NUMBER_AT)]
    steps += [(AT_LEAST, 0, 1, OTHER_NUMBERS), (ANSWER, 0, 0, REFUSE | errno.ENOSYS)]
    for fork in forks:
        steps += [(EQUAL, 0, 1, fork), (ANSWER, 0, 0, REFUSE | errno.EPERM)]
    # A filter cannot read the flags of clone3, which lie in memory. Told that it is missing, the C library uses clone.
    steps += [(EQUAL, 0, 1, clone3), (ANSWER, 0, 0, REFUSE | errno.ENOSYS)]
    steps += [(EQUAL, 1, 0, clone), (ANSWER, 0, 0, ALLOW), (LOAD, 0, 0, FLAGS_AT)]
    steps += [(ANY_BIT, 1, 0, CLONE_THREAD), (ANSWER, 0, 0, REFUSE | errno.EPERM), (ANSWER, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(steps), ctypes.addressof(code)))
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return False
    zero = ctypes.c_ulong(0)
    if prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero):
        return False
    return not prctl(PR_SET_SECCOMP, ctypes.c_ulong(FILTER), program, zero, zero)


def _room_for_threads(resource: Any, threads: int) -> int:
    """The limit with which so many threads can be started: kernels before 5.14 count all processes of the user."""
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    most = 1 << 22 if hard == resource.RLIM_INFINITY else hard
    room = threads
    while room < most:
        resource.setrlimit(resource.RLIMIT_NPROC, (room, hard))
        try:
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()
            break
        except RuntimeError:
            room *= 2
    return min(room, most)


class Walls:
    """Refuses, where there is no sandbox, what one would not have: an honest program meets the same here and there.

    An audit hook, and no protection: a program that wants to gets around it.
    """

    def __init__(self, readable: Iterable[str]) -> None:
        """readable: folders that may be read, beside the working folder and files that this process made."""
        scratch = os.path.realpath(Path.cwd())
        self._readable = [*map(os.path.realpath, readable), scratch]
        self._writable = [scratch, os.path.realpath("/tmp")]
        self._made = {os.path.realpath(os.devnull), "/dev/urandom"}
        self._checks: dict[str, Callable[..., None]] = {
            "open": self._opened,
            "os.listdir": self._read,
            "os.scandir": self._read,
            "socket.connect": lambda _, address: self._reached(address[0] if isinstance(address, tuple) else ""),
            "socket.getaddrinfo": lambda host, *_: self._reached(host),
            "socket.gethostbyname": self._reached,
        }
        self._checks |= dict.fromkeys(STARTS, self._started)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in self._checks:
            self._checks[event](*arguments)

    def _opened(self, path: Any, mode: str | None, flags: int) -> None:
        if isinstance(path, int) or not ((flags or 0) & WRITES or set(mode or "") & set("wax+")):
            return self._read(path)
        name = os.path.realpath(os.fsdecode(path))
        if name not in self._made and not _inside(name, self._writable):
            raise OSError(errno.EROFS, "grading lets a program write into its working folder only", path)
        self._made.add(name)

    def _read(self, path: Any) -> None:
        if isinstance(path, int):
            return
        name = os.path.realpath(os.fsdecode(path or "."))
        if name not in self._made and not _inside(name, self._readable):
            raise FileNotFoundError(errno.ENOENT, "grading does not have this file", path)

    def _reached(self, host: Any) -> None:
        if isinstance(host, str) and host and not host.startswith(NEAR):
            raise OSError(errno.ENETUNREACH, "grading has no network", host)

    def _started(self, *_: Any) -> None:
        raise PermissionError(errno.EPERM, "grading has no other processes")


def _inside(name: str, folders: list[str]) -> bool:
    return any(name == folder or name.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)
