"""The sandbox that a student's code runs in: bubblewrap on Linux, nothing elsewhere.

Inside are the interpreter, its standard library, NumPy and what `layout.lay_out` wrote, all read-only; a small folder
for scratch; no network, no other process, no /proc, no shell, nothing of the grader's environment. What a program there
may ask of the kernel stands in `system_calls`.

Root would not be held by the limit on processes, so it becomes a real, unprivileged user first: an outer sandbox, made
by root, lays out what that user may not be able to reach, and the inner one shuts the door.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tito import processes
from tito.errors import WrongCall
from tito.grading.sandbox import layout
from tito.testing.environment import MEMORY_BYTES, SCRATCH_BYTES, THREADS

SEMAPHORE_BYTES = 1 << 20  # of shared memory, in which the locks of `multiprocessing.pool.ThreadPool` lie
SEMAPHORES = Path("/dev/shm")
INSIDE = Path("/sandbox")
NOBODY = 65534
OF_PYTHON = {"site-packages", "dist-packages", "lib-dynload"}  # these folders' libraries are found by their packages
NODES = [part for node in ("/dev/null", "/dev/urandom") for part in ("--dev-bind", node, node)]
APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
MAPPED = Path("/proc/self/maps")  # the files that are mapped into this process
SCRATCH = "/tmp"
# Other packages may lie beside NumPy: they are not to be found.
IMPORT_NUMPY = "import sys; sys.path[:0] = {paths!r}; import numpy; del sys.path[1]; "
TRY = IMPORT_NUMPY + "from tito.grading.sandbox.system_calls import confine; confine()"
START = IMPORT_NUMPY + "from tito.grading.sandbox.child import main; main({sandboxed})"
PATIENCE = 20.0  # seconds for a sandbox that does nothing
INSTALL = {"apt-get": "sudo apt-get install bubblewrap", "dnf": "sudo dnf install bubblewrap"}
INSTALL |= {"pacman": "sudo pacman -S bubblewrap", "zypper": "sudo zypper install bubblewrap"}
INSTALL |= {"apk": "sudo apk add bubblewrap"}


@dataclass(frozen=True)
class Protection:
    """What holds a student's code on this machine; where nothing does, why, and what to do."""

    kind: Literal["sandbox", "none"]
    reason: str = ""
    fix: str = ""


def limits(seconds: float) -> dict[str, int]:
    """What the process in the sandbox may use, as `resource` names it. It starts threads, and no process."""
    sizes = {"AS": MEMORY_BYTES, "DATA": MEMORY_BYTES, "FSIZE": SCRATCH_BYTES, "NOFILE": 64, "CORE": 0}
    return sizes | {"CPU": int(seconds) + 2, "NPROC": THREADS}


def start(given: Path, unsafe: bool = False) -> subprocess.Popen[bytes]:
    """A sandbox that has imported what is given and waits for cells on its standard input.

    given: the folder that `layout.lay_out` wrote. unsafe: the same process without a sandbox.
    """
    if unsafe:
        code = START.format(paths=[str(given), str(Path(np.__file__).parents[1])], sandboxed=False)
        scratch = tempfile.mkdtemp(prefix="scratch", dir=given)
        return _process([sys.executable, *_python(code)], environment(scratch), scratch)
    return _process(command(_inside(START), given), {})


def protection() -> Protection:
    """Tried by starting a sandbox that imports NumPy and lets its system calls be filtered, as every sandbox does."""
    if not sys.platform.startswith("linux"):
        reason = "the sandbox is bubblewrap, which is for Linux only"
        return Protection("none", reason, "grade on Linux, in a virtual machine of it, or in WSL 2")
    if not shutil.which("bwrap"):
        known = (how for tool, how in INSTALL.items() if shutil.which(tool))
        return Protection("none", "bubblewrap is not installed", next(known, "install the package bubblewrap"))
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        return Protection("none", "root needs setpriv to become another user", "install util-linux, or grade as a user")
    try:
        with tempfile.TemporaryDirectory(prefix="tito_sandbox_") as folder:
            layout.lay_out_ours(Path(folder))
            layout.lay_out_packages(Path(folder))
            tried = subprocess.run(command(_inside(TRY), Path(folder)), capture_output=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Protection("none", f"bubblewrap does not start: {error}", "see whether `bwrap --ro-bind / / true` runs")
    if tried.returncode == 0:
        return Protection("sandbox")
    last_line = tried.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
    if "system calls" in last_line:
        return Protection("none", last_line.partition("] ")[2], "grade on Linux on x86-64 or aarch64, with seccomp")
    return _refused(last_line) if last_line.startswith("bwrap: ") else _without_numpy(last_line)


def check(unsafe: bool) -> None:
    """Raises WrongCall, with the fix, where this machine cannot hold a stranger's code."""
    here = protection()
    if here.kind == "none" and not unsafe:
        raise WrongCall(f"{here.reason}, so a stranger's code could reach everything; {here.fix}, or add --unsafe")


def _refused(error: str) -> Protection:
    if APPARMOR.is_file() and APPARMOR.read_text(encoding="ascii").strip() == "1" and os.geteuid() != 0:
        fix = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (until the next start), or give bwrap a "
        fix += "profile: sudo apt-get install apparmor-profiles && sudo ln -s /usr/share/apparmor/extra-profiles/"
        fix += "bwrap-userns-restrict /etc/apparmor.d/ && sudo systemctl reload apparmor"
        return Protection("none", f"AppArmor keeps users from making user namespaces, as Ubuntu sets it ({error})", fix)
    fix = "a container needs user namespaces: docker run --security-opt seccomp=unconfined, or grade outside of it"
    return Protection("none", f"bubblewrap cannot make a sandbox here ({error})", fix)


def _without_numpy(error: str) -> Protection:
    """The sandbox can be made, and Python or NumPy does not work in it."""
    library = sysconfig.get_path("stdlib")
    if os.geteuid() == 0 and not all(map(layout.is_open, (Path(library), Path(library, "os.py"), _interpreter()))):
        return Protection("none", f"other users cannot read this Python ({error})", f"chmod -R go+rX {sys.base_prefix}")
    fix = processes.typed(sys.executable, "-m", "pip", "install", "--force-reinstall", "numpy")
    return Protection("none", f"NumPy cannot be imported in a sandbox ({error})", f"use NumPy's own build: {fix}")


def environment(scratch: str = SCRATCH) -> dict[str, str]:
    """All that the child finds in its environment: one thread, UTF-8, sets that come in one order, and a home."""
    one_thread = dict.fromkeys(processes.THREADS, "1") | {"MALLOC_ARENA_MAX": "2"}  # each thread's would take 64 MB
    kept = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}  # Windows starts nothing without
    person = dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR", "TEMP"), scratch)
    person |= dict.fromkeys(("USER", "LOGNAME", "USERNAME"), "student") | {"PATH": os.defpath}
    person |= {"PWD": scratch, "SHELL": "/bin/sh", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    folders = dict.fromkeys(str(library.parent) for library in _unusual_libraries())
    found = {"LD_LIBRARY_PATH": ":".join(folders)} if folders else {}
    return one_thread | kept | person | found | {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}


def _python(code: str) -> list[str]:
    return ["-s", "-S", "-P", "-B", "-c", code]


def _inside(code: str) -> list[str]:
    """The command that runs this in a sandbox."""
    paths = [str(INSIDE), str(INSIDE / layout.SITE)]
    return [str(_interpreter()), *_python(code.format(paths=paths, sandboxed=True))]


def _process(arguments: list[str], env: dict[str, str], folder: str | None = None) -> subprocess.Popen[bytes]:
    lines: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    own_group = sys.platform != "win32"
    return subprocess.Popen(arguments, env=env, cwd=folder, start_new_session=own_group, close_fds=True, **lines)


def command(inner: list[str], given: Path | None) -> list[str]:
    """The command line that runs `inner` in a sandbox."""
    bwrap = str(Path(shutil.which("bwrap") or "bwrap").resolve())
    closed = ["--unshare-all", "--unshare-user", "--disable-userns", "--uid", str(NOBODY), "--gid", str(NOBODY)]
    closed += ["--cap-drop", "ALL", "--die-with-parent", "--new-session", "--as-pid-1", "--hostname", "sandbox"]
    closed += ["--chdir", SCRATCH, "--clearenv"]
    closed += [part for name, value in environment().items() for part in ("--setenv", name, value)]
    scratch = ["--size", str(SCRATCH_BYTES), "--perms", "0700", "--tmpfs", SCRATCH]
    scratch += ["--size", str(SEMAPHORE_BYTES), "--perms", "0700", "--tmpfs", str(SEMAPHORES)]
    if os.geteuid() != 0:
        return [bwrap, *_layout(given, []), *scratch, "--remount-ro", "/", *closed, *inner]
    user = str(20_000 + os.getpid() % 40_000)  # another one for each sandbox: a process has one at a time
    setpriv = str(Path(shutil.which("setpriv") or "setpriv").resolve())
    become = [setpriv, "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    outer = [*_layout(given, [Path(bwrap), Path(setpriv)]), "--proc", "/proc", "--die-with-parent", "--clearenv"]
    outer += ["--unshare-pid", "--unshare-net", "--unshare-ipc"]
    hidden = ["--ro-bind", "/", "/", *NODES, "--tmpfs", "/proc", "--remount-ro", "/proc"]
    hidden += [part for tool in (bwrap, setpriv) for part in ("--ro-bind", os.devnull, tool)]
    return [bwrap, *outer, *become, "--no-new-privs", bwrap, *hidden, *scratch, *closed, *inner]


def _layout(given: Path | None, tools: list[Path]) -> list[str]:
    """bubblewrap's arguments for what lies in the sandbox. Folders first: those it makes by itself only root enters."""
    libraries = [*_libraries()]  # what lies in them is there: to mount it again over a link is refused
    elsewhere = [file for file in _unusual_libraries() if not any(map(file.is_relative_to, libraries))]
    binds = {path: path for path in [*libraries, _interpreter(), *elsewhere, *tools]}
    binds |= {INSIDE / layout.SITE / package.name: package for package in layout.packages()}
    if given:
        copied = [*given.glob(f"{layout.SITE}/*")]
        binds |= {INSIDE / item.relative_to(given): item for item in [*given.iterdir(), *copied]}
        binds.pop(INSIDE / layout.SITE, None)
    empty = [Path(folder, "x") for folder in (SCRATCH, SEMAPHORES, "/proc")]
    folders = {parent for path in [*binds, *empty] for parent in path.parents}
    made = sorted(folders - {Path("/")} - binds.keys(), key=lambda path: len(path.parts))
    inside_bound = {folder for folder in made if any(folder.is_relative_to(bound) for bound in binds)}
    arguments = [
        part for folder in made if folder not in inside_bound for part in ("--perms", "0755", "--dir", str(folder))
    ]
    ordered = sorted(binds.items(), key=lambda pair: len(pair[0].parts))
    arguments += [part for path, source in ordered for part in ("--ro-bind", str(source.resolve()), str(path))]
    arguments += [part for link, to in _links() for part in ("--symlink", to, link)]
    arguments += [
        part for folder in _other_packages() for part in ("--tmpfs", str(folder), "--remount-ro", str(folder))
    ]
    return arguments + NODES


def _interpreter() -> Path:
    """The interpreter itself, not a virtual environment's link to it."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def _libraries() -> Iterator[Path]:
    """Shared libraries and the standard library."""
    folders = [Path("/usr/lib"), Path("/usr/lib64"), Path("/lib"), Path("/lib64")]
    folders += [
        Path(sys.base_prefix, "lib"),
        Path(sysconfig.get_path("stdlib")),
    ]
    real = [folder for folder in dict.fromkeys(folders) if folder.is_dir() and not folder.is_symlink()]
    return (folder for folder in real if not any(folder != other and folder.is_relative_to(other) for other in real))


@cache
def _unusual_libraries() -> tuple[Path, ...]:
    """Where the loader, by itself, does not look for shared libraries that NumPy needs: those of a BLAS that
    /etc/alternatives chose, or of one's own. They are among those of this process, which has NumPy."""
    if not MAPPED.is_file():
        return ()
    lines = MAPPED.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    files = {Path(line.split(maxsplit=5)[5]) for line in lines if ".so" in line}
    usual = {file.parent for file in files if file.name.startswith("libc.so")} | {Path(sys.base_prefix, "lib")}
    named = {name for file in files if file.parent not in usual for name in _names(file)}
    return tuple(sorted(name for name in named if not OF_PYTHON & set(name.parts)))


def _names(library: Path) -> Iterator[Path]:
    """A shared library's file, and the links beside it by whose names it is asked for."""
    stem = library.name.partition(".so")[0]
    return (path for path in library.parent.glob(f"{glob.escape(stem)}.so*") if path.resolve() == library)


def _links() -> Iterator[tuple[str, str]]:
    """/lib -> usr/lib, where the machine has it so."""
    return ((name, str(Path(name).readlink())) for name in ("/lib", "/lib64") if Path(name).is_symlink())


def _other_packages() -> Iterator[Path]:
    """Folders with installed packages below what is given: they may do an exercise for the student."""
    for library in _libraries():
        for place in (library, *library.glob("python3*")):
            for name in ("site-packages", "dist-packages"):
                if (place / name).is_dir() and not (place / name).is_symlink():
                    yield place / name
