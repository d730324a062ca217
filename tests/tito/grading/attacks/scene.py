"""The machine that attacks are let loose on, and the witness of what they did outside of their sandbox.

A listener waits on loopback, on the machine's own address, on a socket in the file system and on an abstract one.
Afterwards the witness says how many packets arrived, which processes are left, and which files appeared or changed.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import site
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tito.course.project import PYPROJECT, Project
from tito.grading.sandbox import system_calls

from .... import copying

SECRET_NAME = "TITO_SECRET_OF_THE_INSTRUCTOR"
IGNORED = ("__pycache__", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".venv", "build")
NESTED = "-" * 200_000 + "1"
ASKS = """

def test_the_witness_asks_whether_an_attack_was_made(student):
    try:
        told = student.witnessed()
    except Exception:
        return
    with open({path!r}, "a", encoding="utf-8") as file:
        print(told, file=file)
"""
ADD_KEY, SESSION_KEYRING = 248, -3  # as x86-64 numbers the call, and as the kernel names the keyring
SUBREAPER = 36  # prctl: orphans of ours become our children, so that none can hide


def copied(project: Project, folder: Path) -> Project:
    """A copy of the course that may be attacked."""
    copying.copy(project.root, ("modules", "tests", "tinytorch", "tito", PYPROJECT), folder)
    return Project(folder)


def with_a_question(project: Project) -> Project:
    """The same course; behind the visible tests of each exercise, and behind its hidden ones, the witness asks."""
    for file in [*project.tests.glob("*/test_*.py"), *project.tests.glob("*/hidden/test_*.py")]:
        text = file.read_text(encoding="utf-8")
        file.write_text(text + ASKS.format(path=str(answers_to_it(project))), encoding="utf-8")
    return project


def answers_to_it(project: Project) -> Path:
    """Who said that it was made: one attack a line."""
    return project.root.with_name("witnessed.txt")


@dataclass
class Scene:
    """`with Scene(project, out) as scene`: the attacked course, and the one folder that the grader may write to.

    login: grade as in a login session, whose keyring holds a secret of the instructor's.
    """

    project: Project
    out: Path
    token: str = field(default_factory=lambda: f"tito{secrets.token_hex(6)}")
    secret: str = field(default_factory=secrets.token_hex)
    packets: list[str] = field(default_factory=list)
    login: bool = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scene_")))
            folder.chmod(0o755)
            self._unix = folder / "line"
            self._listeners = [stack.enter_context(line) for line in self._open()]
            self._closing = threading.Event()
            for line in self._listeners:
                line.settimeout(0.1)
                threading.Thread(target=self._listen, args=(line,), daemon=True).start()
            os.environ[SECRET_NAME] = self.secret
            if self.login:
                _log_in(self.token, self.secret)
            ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
            self._processes, self._files = set(descendants()), self._written()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        ctypes.CDLL(None).prctl(SUBREAPER, 0, 0, 0, 0)
        os.environ.pop(SECRET_NAME, None)
        self._stack.close()

    def _open(self) -> list[socket.socket]:
        tcp, udp = socket.create_server(("", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("", 0))
        path, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        path.bind(str(self._unix))
        self._unix.chmod(0o777)
        abstract.bind(f"\0{self.token}")
        for line in (path, abstract):
            line.listen()
        return [tcp, udp, path, abstract]

    def _listen(self, line: socket.socket) -> None:
        while not self._closing.is_set():
            with suppress(TimeoutError):
                try:
                    told = str(line.recvfrom(4096) if line.type == socket.SOCK_DGRAM else line.accept()[1])
                except OSError as error:
                    if isinstance(error, TimeoutError):
                        raise
                    return
                self.packets.append(told)

    def call(self) -> int:
        """Send one packet to each listener: a witness that hears nothing proves nothing. Returns how many were sent."""
        for line in self._listeners:
            with socket.socket(line.family, line.type) as mine:
                at = line.getsockname()
                mine.connect(("127.0.0.1", at[1]) if line.family == socket.AF_INET else at)
                if line.type == socket.SOCK_DGRAM:
                    mine.send(b"?")
        return len(self._listeners)

    def fill(self, text: str, name: str = "") -> str:
        """An attack's code, knowing all that an insider would know of this machine."""
        tcp, udp = (line.getsockname()[1] for line in self._listeners[:2])
        known = {
            "@TCP@": tcp, "@UDP@": udp, "@UNIX@": self._unix, "@HOST@": _address(), "@GRADER@": os.getpid(),
            "@TOKEN@": self.token, "@PROJECT@": self.project.root, "@OUT@": self.out, "@NAME@": name,
            "@SUBMISSIONS@": self.out.parent, "@SECRET_NAME@": SECRET_NAME,
            "DEEP_EXPRESSION": NESTED, "NUL_CHARACTER": "\0",
        }  # fmt: skip
        for word, value in known.items():
            text = text.replace(word, str(value))
        return text

    def told(self, text: str) -> list[str]:
        """Which secrets stand in a text that a student will see."""
        hidden = self.project.tests.glob("*/hidden/test_*.py")
        lines = {line.strip() for path in hidden for line in path.read_text(encoding="utf-8").splitlines()}
        found = [line for line in lines if len(line) > 30 and line in text]
        return found + [what for what in (self.secret, f"taken-{self.token}") if what in text]

    def processes(self) -> list[str]:
        """Command lines of our descendants that were not there before and have not ended."""
        found = []
        for pid in set(descendants()) - self._processes:
            with suppress(OSError):
                if Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z":
                    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                    found.append(f"{pid}: {command.decode(errors='replace')}")
        return found

    def files(self) -> list[str]:
        """What appeared, changed or went outside of the output folder."""
        now = self._written()
        return sorted(path for path in now.keys() | self._files.keys() if now.get(path) != self._files.get(path))

    def sweep(self) -> None:
        """Remove what attacks left outside, where a grader let them."""
        for pid in set(descendants()) - self._processes:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for path in map(Path, self.files()):
            if self.token in path.name and not path.is_dir():
                path.unlink(missing_ok=True)

    def _written(self) -> dict[str, tuple[int, int]]:
        """Path -> (size, time of change): all of the course, start-up files, and whatever bears the token's name."""
        home = Path.home()
        places = [
            Path(folder)
            for folder in {
                tempfile.gettempdir(),
                "/tmp",
                "/var/tmp",
                "/dev/shm",
                "/run",
                str(home),
                str(Path.cwd()),
                "/",
            }
        ]
        paths = [path for place in places if place.is_dir() for path in place.glob(f"*{self.token}*")]
        for folder in {*site.getsitepackages(), site.getusersitepackages()}:
            paths += [Path(folder, name) for name in ("sitecustomize.py", "usercustomize.py", f"{self.token}.pth")]
        paths += [home / ".bashrc", home / ".profile"]
        paths += list(_tree(self.project.root, self.out))
        return {str(path): _stamp(path) for path in paths if path.is_symlink() or path.exists()}


def _log_in(name: str, secret: str) -> None:
    """Join a new session keyring that holds a key of this name."""
    libc = ctypes.CDLL(None, use_errno=True)
    joined = libc.syscall(system_calls.KEYCTL[0], system_calls.JOIN_SESSION_KEYRING, None)
    added = libc.syscall(ADD_KEY, b"user", name.encode(), secret.encode(), len(secret), SESSION_KEYRING)
    if joined < 0 or added < 0:
        raise OSError(ctypes.get_errno(), "this machine gives no session keyring, so nothing can be said about one")


def _tree(folder: Path, out: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path == out or path.name in IGNORED:
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _tree(path, out)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return (0, 0) if path.is_dir() else (status.st_size, status.st_mtime_ns)


def _address() -> str:
    """This machine's own address, as others see it. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line, suppress(OSError):
        line.connect(("192.0.2.1", 9))
        return str(line.getsockname()[0])
    return "127.0.0.1"


def descendants() -> Iterator[int]:
    """Process ids of everything that this process started, and that those started."""
    parents = dict[int, int]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError):
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[1]
                )
    found = {os.getpid()}
    while new := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= new
        yield from new
