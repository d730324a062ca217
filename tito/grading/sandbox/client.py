"""The judge's end of the line: a sandbox a submission, asked call by call, ended when its time is up."""

from __future__ import annotations

import builtins
import re
import subprocess
import threading
from collections import Counter, deque
from contextlib import suppress
from typing import Any, Literal, NoReturn

from tito import processes
from tito.grading.sandbox.channel import KINDS, LONGEST_NAME, METHODS, Channel, ChannelBroken, Received, TooLarge
from tito.testing.protocol import Failure
from tito.testing.proxies import MOST_UNWRITTEN, Method, Ref

ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")
SHOWN_BYTES = 4000  # of an exception's text, as UTF-8: what a student's code can tell is bounded in bits
REAPING_SECONDS = 10.0  # in which bubblewrap notes that what it started has ended, and ends; else that is a zombie
LAST_FRAMES, LONGEST_PATH = 50, 300  # of an exception's places those kept, and the characters of each
REFUSED = (KeyboardInterrupt, GeneratorExit, BaseExceptionGroup, SystemError)  # raised here they would end the judge


class SandboxLost(BaseException):
    """The sandbox is gone, or its time is up. No test catches it: it is not an Exception."""


class Sandbox:
    """A process with a student's code in it. Every answer of it is checked; none is believed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._channel = Channel(process.stdout, process.stdin)
        self._drops: deque[tuple[int, int, int]] = deque()
        self._kinds = 0  # of objects whose methods were told
        self._lock = threading.Lock()
        self.why: Literal["", "late", "gone"] = ""  # why it is lost; empty while it lives
        self.message = ""
        self.loading: list[str] = []  # the cells that were loaded, the last one perhaps not to its end
        self.modules: list[SandboxModule] = []
        self.unloaded: dict[str, Failure] = {}  # cell -> why it could not be loaded

    def load(self, limits: dict[str, int], modules: dict[str, list[tuple[str, str, str]]]) -> None:
        """Send the cells and wait until they are loaded; `loading` tells how far it came."""
        names = {cell[0] for cells in modules.values() for cell in cells}
        self._send((limits, modules))
        while True:
            match self._receive().message:
                case ("loaded",):
                    self.modules = [SandboxModule(self, which) for which in range(len(modules))]
                    return
                case ("loading", str(name)) if name in names and len(self.loading) <= len(names):
                    self.loading.append(name)
                case ("read", str(name)) if self.loading[-1:] == [name]:
                    self.loading.pop()
                case ("unloaded", str(name), *error) if name in names and len(error) == 1:
                    self.unloaded[name] = described(error[0])
                case _:
                    self.lose("gone", "what it said cannot be understood")

    def ask(self, *request: Any) -> tuple[Any, list[Ref], dict[int, frozenset[str]]]:
        """One question, one answer: what came back, or the nearest builtin exception to what the student's code raised.

        With it the handles in the answer, and the methods of kinds of object that are new.
        """
        __tracebackhide__ = True
        if self.why:
            raise SandboxLost(self.message)
        drops = tuple(self._drops.popleft() for _ in range(len(self._drops)))
        self._send((request[0], drops, *request[1:]))
        got = self._receive()
        match got.message:
            case ((str(how), *rest), tuple(kinds)) if how == "error" or len(rest) == 1:
                value = rest[0] if how == "value" else rebuilt(described((*rest,)), rest)
                return value, got.refs, self._methods_of(kinds)
        self.lose("gone", "what it said cannot be understood")

    def drop(self, which: int, number: int, times: int) -> None:
        """Handles that are no longer held; told with the next question."""
        self._drops.append((which, number, times))

    def _methods_of(self, kinds: tuple[Any, ...]) -> dict[int, frozenset[str]]:
        self._kinds += len(kinds)
        if self._kinds > KINDS or not all(map(_is_kind, kinds)):
            self.lose("gone", "what it said cannot be understood")
        return {kind: frozenset(names) for kind, names in kinds}

    def _send(self, message: Any) -> None:
        try:
            self._channel.send(message)
        except TooLarge as error:
            raise ValueError(f"a test sent too much: {error}") from None
        except ChannelBroken as error:
            self.lose("gone", str(error))

    def _receive(self) -> Received:
        try:
            return self._channel.receive()
        except ChannelBroken as error:
            self.lose("gone", str(error))

    def lose(self, why: Literal["late", "gone"], message: str) -> NoReturn:
        """End it and say so. What the watchdog said first counts."""
        self.end(why, message)
        raise SandboxLost(self.message)

    def end(self, why: Literal["late", "gone"], message: str) -> None:
        """End the process; may be called from another thread, and twice."""
        with self._lock:
            if not self.why:
                self.why, self.message = why, message
                if processes.end_descendants(self._process):
                    with suppress(subprocess.TimeoutExpired):
                        self._process.wait(REAPING_SECONDS)
                processes.end(self._process)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and threading.current_thread() is threading.main_thread():
                with suppress(OSError):
                    stream.close()


class SandboxModule:
    """A `door.Backend` for one of the modules in a sandbox.

    Two of three questions it need not ask: a function or class of the module is looked up once, and a method not before
    it is called.
    """

    def __init__(self, sandbox: Sandbox, which: int) -> None:
        self._sandbox, self._which = sandbox, which
        self._methods: dict[int, frozenset[str]] = {}  # kind of object -> the names of its methods
        self._found: dict[str, Ref] = {}  # what is defined in the module; kept as long as the sandbox lives
        self._held: Counter[int] = Counter()  # number -> how many handles hold the object here
        self._owed: Counter[int] = Counter()  # number -> of how many the sandbox knows
        self._released: deque[int] = deque()  # numbers whose handles are gone; counted by whoever asks next
        self.unwritten: deque[NotImplementedError] = deque(maxlen=MOST_UNWRITTEN)

    def get(self, target: Ref, name: str) -> Any:
        __tracebackhide__ = True
        if target.number == 0 and name in self._found:
            found = self._found[name]
            self._held[found.number] += 1
            return found
        if name in self._methods.get(target.kind, ()):
            self._held[target.number] += 1  # a method holds its object
            return Method(target.number, "method", name)
        value = self._ask("get", target, name)
        if target.number == 0 and type(value) is Ref:
            self._held[value.number] += 1  # for ourselves
            self._found[name] = value
        return value

    def call(self, target: Ref, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        __tracebackhide__ = True
        return self._ask("call", target, args, kwargs)

    def release(self, target: Ref) -> None:
        """Called by whichever thread collects a handle, at any moment: so it only notes that."""
        self._released.append(target.number)

    def _settle(self) -> None:
        """Count the handles that are gone; of an object that nothing here holds the sandbox is told next."""
        while self._released:
            number = self._released.popleft()
            self._held[number] -= 1
            if number and not self._held[number]:
                del self._held[number]
                self._sandbox.drop(self._which, number, self._owed.pop(number, 0))

    def _ask(self, what: str, *request: Any) -> Any:
        __tracebackhide__ = True
        self._settle()
        answer, refs, kinds = self._sandbox.ask(what, self._which, *request)
        for ref in refs:
            self._held[ref.number] += 1
            self._owed[ref.number] += 1
        self._methods |= kinds
        if isinstance(answer, BaseException):
            raise answer
        return answer


def described(error: Any) -> Failure:
    """An exception as the sandbox told it; odd shapes are made plain."""
    match error:
        case (str(kind), tuple(), str(text), list(frames)):
            pairs = [step for step in frames[-LAST_FRAMES:] if type(step) is tuple and len(step) == 2]
            steps = [(file[:LONGEST_PATH], line) for file, line in pairs if _is_step(file, line)]
            return Failure(kind[:100], _steady(text), tuple(steps))
    return Failure("RuntimeError", "an exception that cannot be shown")


def _steady(text: str) -> str:
    """A text as it is at every run: without the addresses of objects, and of a length that can be shown."""
    start = text[:SHOWN_BYTES].encode("utf-8", "surrogatepass")[:SHOWN_BYTES]
    return ADDRESS.sub("0x...", start.decode("utf-8", "replace"))


def _is_kind(told: Any) -> bool:
    """Is it the number of a kind of object, and the names of its methods, and no more of them than may be told?"""
    match told:
        case (int(), tuple(names)) if len(names) <= METHODS:
            return all(type(name) is str and len(name) <= LONGEST_NAME for name in names)
    return False


def _is_step(file: Any, line: Any) -> bool:
    return type(file) is str and type(line) is int and 0 < line < 1 << 31


def rebuilt(failure: Failure, rest: list[Any]) -> BaseException:
    """The exception itself, of a builtin class that a test may raise."""
    kind, text = getattr(builtins, failure.type, None), failure.text
    if not (isinstance(kind, type) and issubclass(kind, BaseException)) or issubclass(kind, REFUSED):
        kind, text = RuntimeError, f"{failure.type}: {text}"
        rest = []
    args = rest[1] if len(rest) > 1 and isinstance(rest[1], tuple) else ()
    scalars = all(a is None or type(a) in (str, int, float, bool) for a in args) and len(args) <= 3
    try:
        error: Any = kind(*(_steady(a) if type(a) is str else a for a in args)) if scalars and args else kind(text)
    except TypeError:
        error = RuntimeError(text)
    error.student_frames = failure.frames
    return error  # type: ignore[no-any-return]
