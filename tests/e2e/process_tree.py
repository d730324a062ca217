"""The processes that a command has started, on Linux: how many are left, and how much memory they hold."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """From now on whoever loses its parent below us becomes our child, so that nothing can hide by forking twice."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this kernel does not let a process adopt orphans")


def below(root: int) -> list[int]:
    """The ids of all living processes below this one, itself not among them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, parent = (
                    (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:2]
                )
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(entry.name))
    found, ahead = list[int](), [root]
    while ahead:
        mine = children.get(ahead.pop(), [])
        found += mine
        ahead += mine
    return found


def left_after(seconds: float) -> list[int]:
    """Processes below us that have not ended by themselves after so many seconds; the dead are buried on the way."""
    until = time.monotonic() + seconds
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        found = below(os.getpid())
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.02)


def described(process: int) -> str:
    """What a process is: its number, its state, and how it was called."""
    folder, state, command = Path(f"/proc/{process}"), "?", ""
    with suppress(OSError):
        state = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    shown = command if len(command) <= 160 else f"{command[:80]} ... {command[-80:]}"
    return f"{process} ({state}) {shown}"


def kill(processes: list[int]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def memory(processes: list[int]) -> tuple[int, int]:
    """Bytes that these processes hold: shared pages counted in each of them, and shared pages counted once."""
    resident = proportional = 0
    for process in processes:
        with suppress(OSError):
            for line in (
                Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii", errors="replace").splitlines()
            ):
                words = line.split()
                resident += int(words[1]) * 1024 if words[0] == "Rss:" else 0
                proportional += int(words[1]) * 1024 if words[0] == "Pss:" else 0
    return resident, proportional
