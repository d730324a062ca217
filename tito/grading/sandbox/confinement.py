"""What a student's process may use of the machine; and where there is no sandbox, what it would lack in one.

Runs in that process, before any code of the student's. Which system calls it may make stands in `system_calls`.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

STARTS = ["os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "os.exec", "os.startfile"]
STARTS += ["subprocess.Popen", "_winapi.CreateProcess"]
NEAR = ("127.", "localhost", "::1")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def limited(limits: dict[str, int]) -> None:
    """What this process may use from here on, as `resource` names it. NPROC counts threads."""
    try:
        import resource
    except ImportError:  # Windows
        return
    if "NPROC" in limits and sys.platform == "linux":
        limits = limits | {"NPROC": _room_for_threads(resource, limits["NPROC"])}
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
