"""Inside the sandbox: load a student's cells, then answer the judge, call by call.

Only this part of the grader ever runs a student's code. It holds no test and no answer, and what it says is taken for
an answer, never for a verdict. Of `tito` it needs the door and the channel, which need NumPy.
"""

from __future__ import annotations
import __future__

import _sitebuiltins
import ast
import builtins
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import os
import random
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any

import numpy as np

from tito.grading.sandbox import confinement, system_calls
from tito.grading.sandbox.channel import KINDS, LONGEST_NAME, METHODS, Channel, TooLarge
from tito.testing.proxies import InProcess, Ref, as_builtin

FUTURES = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
SEED = 0  # of what the code draws itself; that of the tests' inputs is not told in here
LONGEST_TEXT = 10_000
LAST_FRAMES = 50
HERE = Path(__file__).parents[3]  # where what is given lies, and the modules' files would


class Text:
    """A module's cells, one below the other, as if they were its file: tracebacks and `inspect` find lines there."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines = list[str]()
        self._starts = list[tuple[int, str]]()  # lines above a cell, its name

    def compiled(self, name: str, source: str, flags: int) -> CodeType:
        """A cell's code, its lines counted in the whole text, of which it is now the end."""
        above = len(self.lines)
        self._starts.append((above, name))
        self.lines += source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        linecache.cache.pop(self.path, None)
        code: CodeType = compile("\n" * above + source, self.path, "exec", flags, dont_inherit=True)
        return code

    def withdraw(self) -> None:
        """Blank the last cell: it could not be loaded, and the text is to stay Python."""
        above = self._starts[-1][0]
        self.lines[above:] = [""] * (len(self.lines) - above)
        linecache.cache.pop(self.path, None)

    def locate(self, line: int) -> tuple[str, int]:
        """A line of the text -> the cell and its line there."""
        above, name = next((start for start in reversed(self._starts) if start[0] < line), (0, self.path))
        return name, line - above


def _text(module: str) -> Text:
    return Text(str(HERE.joinpath(*module.split(".")).with_suffix(".py")))


class Planned(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Makes the module's files from cells. A cell that cannot be loaded is told, and what was given takes its place."""

    def __init__(self, channel: Channel, modules: dict[str, list[tuple[str, str, str]]]) -> None:
        self._channel, self._modules = channel, modules  # module -> (name of the cell, source, what was given)
        self._texts = {name: _text(name) for name in modules}
        self._done = list[
            tuple[dict[str, Any], str, str]
        ]()  # of each cell: its names, what it is called, what was given
        self._finders = list[tuple[dict[str, Any], Callable[[str], Any]]]()
        self.loaded = False  # all modules are: what happens from here on, such as a reload, is told to nobody

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._modules:
            return None
        return importlib.util.spec_from_file_location(name, self._texts[name].path, loader=self)

    def is_package(self, fullname: str) -> bool:
        return False

    def get_source(self, fullname: str) -> str:
        return "\n".join(self._texts[fullname].lines) + "\n"

    def exec_module(self, module: ModuleType) -> None:
        flags, text, cells = 0, _text(module.__name__), self._modules[module.__name__]
        self._texts[module.__name__] = text
        names = [self._exported(name, source) for name, source, _ in cells]
        module.__doc__ = f"The cells of {module.__name__}."
        module.__dict__["__all__"] = _together(names)
        for number, (name, source, given) in enumerate(cells):
            self._send(("loading", name))
            try:
                code = text.compiled(name, source, flags)
                exec(code, module.__dict__)
            except BaseException as error:
                self._send(("unloaded", name, self.failure(error)))
                text.withdraw()
                self._stand_in(given, flags)
                names[number] = exported(given)
                module.__dict__["__all__"] = _together(names)
                code = text.compiled(name, given, flags)
                exec(code, module.__dict__)
            flags |= code.co_flags & FUTURES  # as in a notebook, what a cell imports from the future stays
            self._done.append((module.__dict__, name, given))
        if not self.loaded:
            module.__dict__.setdefault("__getattr__", self._standing_in(module, flags))

    def _standing_in(self, module: ModuleType, flags: int) -> Callable[[str], Any]:
        """The module's `__getattr__` while others are loaded: hand-written files, too, import what was given."""

        def find(name: str) -> Any:
            if not name.startswith("__"):
                self._stand_in(name, flags)
            if name in module.__dict__:
                return module.__dict__[name]
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        self._finders.append((module.__dict__, find))
        return find

    def finish(self) -> None:
        """All modules are loaded: what the notebook does not define is missing from here on."""
        self.loaded = True
        for names, find in self._finders:
            if names.get("__getattr__") is find:
                del names["__getattr__"]

    def _stand_in(self, needed_by: str, flags: int) -> None:
        """Define as it was given what given code needs and no cell above it defines, and tell whose that is."""
        for names, cell, given in self._done:
            for statement in ast.parse(given).body:
                missing = [name for name in _defined(statement) if name not in names]
                if any(re.search(rf"\b{name}\b", needed_by) for name in missing):
                    exec(compile(ast.Module([statement], []), cell, "exec", flags, dont_inherit=True), names)
                    message = f"the notebook defines no `{missing[0]}`: was its name changed?"
                    self._send(("unloaded", cell, ("NameError", (message,), message, [])))

    def _send(self, message: tuple[Any, ...]) -> None:
        if not self.loaded:
            self._channel.send(message)

    def _exported(self, name: str, source: str) -> list[str]:
        """What a cell exports. Reading a cell can end Python as running it can, so it is told which one is read."""
        self._send(("loading", name))
        try:
            return exported(source)
        except Exception:  # it cannot be loaded either, and what was given takes its place
            return []
        finally:
            self._send(("read", name))

    def failure(self, error: BaseException) -> tuple[Any, ...]:
        """An exception as plain values, its places in cells."""
        return failure(error, {text.path: text for text in self._texts.values()})


def exported(source: str) -> list[str]:
    """The names of a cell that `tito export` writes into `__all__`, by nbdev's rule. Raises what `ast.parse` raises."""
    names, asked = list[str](), list[str]()  # asked: private names too, by a list `_all_`
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = _targets(node)
            names += targets
            asked += _named(getattr(node.value, "elts", ())) if targets[:1] == ["_all_"] else []
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            patch = any(name.startswith("patch") for name in _named(node.decorator_list))
            names += [] if patch else [node.name]
    return [name for name in names if not name.startswith("_")] + asked


def _defined(statement: ast.stmt) -> list[str]:
    """The names that a definition or an assignment defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    return _targets(statement) if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign) else []


def _together(names: Iterable[list[str]]) -> list[str]:
    return list(dict.fromkeys(name for some in names for name in some))


def _targets(node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> list[str]:
    """The names of `a, b = c = ...`."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return _named(part for target in targets for part in getattr(target, "elts", [target]))


def _named(nodes: Iterable[ast.AST]) -> list[str]:
    """The names among some expressions; of a call what is called, of a text the text."""
    plain = (node.func if isinstance(node, ast.Call) else node for node in nodes)
    found = (node.value if isinstance(node, ast.Constant) else getattr(node, "id", None) for node in plain)
    return [name for name in found if isinstance(name, str)]


class Inside(InProcess):
    """The backend in the sandbox. Of the first classes whose objects it keeps it tells once which names are methods.

    The judge then need not ask for such a method before it calls it.
    """

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module)
        self._kinds: dict[type, int] = {}
        self.new_kinds: list[tuple[int, tuple[str, ...]]] = []  # the number of a kind, the names of its methods

    def _keep(self, value: Any) -> Ref:
        ref, is_class = super()._keep(value), isinstance(value, type)
        owner = value if is_class else type(value)
        kind = self._kinds.get(owner, 0)
        if not kind and len(self._kinds) < KINDS // 2:
            kind = self._kinds[owner] = 2 * len(self._kinds) + 2
            self.new_kinds += [
                (kind, _methods(owner, FunctionType)),
                (kind + 1, _methods(owner, classmethod | staticmethod)),
            ]
        return replace(ref, kind=kind + is_class if kind else 0)


def _methods(owner: type, how: Any) -> tuple[str, ...]:
    """The names that a class defines in this way, by `def` or by a decorator; not all where there are very many."""
    found: dict[str, Any] = {}
    for base in reversed(owner.__mro__):
        found |= vars(base)
    names = [name for name, value in found.items() if isinstance(value, how) and len(name) <= LONGEST_NAME]
    return tuple(names[:METHODS])


def failure(error: BaseException, texts: Mapping[str, Text] = MappingProxyType({})) -> tuple[Any, ...]:
    """An exception as plain values: the builtin class, what it was made of, its text, where it came through."""

    def place(file: str, line: int) -> tuple[str, int]:
        return texts[file].locate(line) if file in texts else (file, line)

    try:
        shown: Any = error if hasattr(error, "student_frames") else as_builtin(error)  # once is enough
        frames = [place(str(file), int(line)) for file, line in shown.student_frames[-LAST_FRAMES:]]
        if isinstance(error, SyntaxError) and error.filename and error.lineno:
            return "SyntaxError", (error.msg,), error.msg, [place(error.filename, error.lineno)]
        text, args = str(shown)[:LONGEST_TEXT], list[Any]()
        if len(shown.args) <= 3 and all(a is None or type(a) in (str, int, float, bool) for a in shown.args):
            args = [a[:LONGEST_TEXT] if type(a) is str else a for a in shown.args]
        return type(shown).__name__, tuple(args), text, frames
    except BaseException:  # its own text could not be told
        return "RuntimeError", (), "an exception that cannot be shown", []


def answer(backends: list[Inside], request: tuple[Any, ...]) -> Any:
    match request:
        case ("get", drops, which, target, name):
            release(backends, drops)
            return backends[which].get(target, name)
        case ("call", drops, which, target, args, kwargs):
            release(backends, drops)
            return backends[which].call(target, args, kwargs)
    raise ValueError("an unknown request")


def release(backends: list[Inside], drops: tuple[tuple[int, int, int], ...]) -> None:
    for which, number, times in drops:
        for _ in range(times):
            backends[which].release(Ref(number, ""))


def serve(channel: Channel, planned: Planned, backends: list[Inside]) -> None:
    while True:
        request = channel.receive().message
        reply: tuple[Any, ...]
        try:
            reply = ("value", answer(backends, request))
        except BaseException as error:
            reply = ("error", *planned.failure(error))
        new_kinds = tuple(kind for backend in backends for kind in backend.new_kinds)
        for backend in backends:
            backend.new_kinds.clear()
        try:
            channel.send((reply, new_kinds))
        except TooLarge as error:
            channel.send((("error", *planned.failure(error)), ()))


def line() -> Channel:
    """The line to the judge, taken off standard input and output: from here on those lead nowhere."""
    reading, writing = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # what is printed never fails
    return Channel(os.fdopen(reading, "rb"), os.fdopen(writing, "wb"), trusting=True)


def _confined(limits: dict[str, int], sandboxed: bool) -> None:
    """From here on this process has what a student's code may have; where there is no sandbox, as nearly as it can."""
    confinement.limited(limits)
    if sandboxed:
        return system_calls.confine()
    sys.addaudithook(confinement.Walls([*sys.path, *map(str, Path(np.__file__).parents[1].glob("numpy*"))]))
    if sys.platform == "linux":
        with suppress(OSError):
            system_calls.confine()


def main(sandboxed: bool = True) -> None:
    channel = line()
    limits, modules = channel.receive().message
    random.seed(SEED)
    np.random.seed(SEED)
    builtins.exit = builtins.quit = _sitebuiltins.Quitter("exit", "Ctrl-D")  # what every other Python has
    builtins.help = _sitebuiltins._Helper()
    planned = Planned(channel, modules)
    sys.meta_path.insert(0, planned)
    _confined(limits, sandboxed)
    backends = [Inside(importlib.import_module(name)) for name in modules]
    gc.freeze()  # what is loaded stays: not to be looked through for garbage again and again
    gc.set_threshold(10_000, 20, 100)
    planned.finish()
    channel.send(("loaded",))
    serve(channel, planned, backends)
