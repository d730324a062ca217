"""What a student's code finds where it is graded, declared once.

The sandbox is made of it; `tito test`, `check` and `tito submit` say what an exercise wants and will not find there.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import accumulate

from tito.course.edition import Edition
from tito.course.given import Given
from tito.course.module import Module
from tito.course.notebook import Cell
from tito.course.project import Project

PACKAGES = ("numpy",)  # beside the standard library and what the course gives
SCRATCH_BYTES = 16 << 20  # for files, in a folder that is empty at first
MEMORY_BYTES = 2 << 30
THREADS = 64
WITHOUT = {  # modules of the standard library whose work ends at a wall
    "multiprocessing": "grading has no other processes",
    "subprocess": "grading has no other processes",
    "urllib.request": "grading has no network",
    "http.client": "grading has no network",
    "zoneinfo": "grading has no time zones",
    "tkinter": "grading has no screen",
    "turtle": "grading has no screen",
}
THREADED = ("multiprocessing.pool", "multiprocessing.dummy")  # they are of threads, or can be
FORGIVING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
# Exceptions of the builtin classes that a program meets where it asks for what grading does not have.
WALLS = {
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, ImportError | OSError | MemoryError | EOFError)
}
WANTED = re.compile(  # how Python says that a module, or a name of one, is not there
    r"No module named '(?P<module>[\w.]+)'|cannot import name '(?P<name>\w+)' from '(?P<of>[\w.]+)'"
    r"|module '(?P<owner>[\w.]+)' has no attribute '(?P<attribute>\w+)'"
)

HAS = (
    "Grading has Python's standard library, NumPy, what the course gives, threads, an empty folder to write up to "
    f"{SCRATCH_BYTES >> 20} MB into, and {MEMORY_BYTES >> 30} GB of memory; no other package, process or file of "
    "yours, and no network."
)
GivenHas = Callable[[str], bool]  # a dotted name of the course's package -> whether grading has it


def lacking_in(project: Project, module: Module, cells: Iterable[Cell]) -> list[str]:
    """A sentence for everything that the exercises' cells among these import, and will not find in grading."""

    given = given_by(project, module)
    return [
        sentence
        for cell in cells
        if cell.exercise
        for sentence in lacking(cell.exercise, _text(cell), project.package_name, given)
    ]


def given_by(project: Project, module: Module) -> GivenHas:
    """Has grading this dotted name of the course's package? What is given is read at the first question."""

    @cache
    def given() -> Given:
        return Edition(project, module).package

    return lambda name: given().has(name)


def _text(cell: Cell) -> str:
    return "\n".join(line for _, line in cell.body)


def lacking(exercise: str, source: str, package: str, given: GivenHas) -> Iterator[str]:
    """One sentence for each thing that an exercise's cell imports and that grading does not have.

    >>> next(lacking("quantize", "import numba", "tinytorch", lambda name: True))
    'quantize imports numba, which grading does not have: write it with NumPy, or move it to a cell without `#| export`'
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # a cell that cannot be read is told elsewhere
    wanted = _wanted(tree.body, package)
    yield from dict.fromkeys(filter(None, (without(exercise, name, package, given) for name in wanted)))


def explained(exercise: str, exceptions: Iterable[tuple[str, str]], package: str, given: GivenHas) -> tuple[str, ...]:
    """What an exercise met in grading that it does not have, in sentences, and at the end what it has.

    exceptions: those that its tests ended with, as the builtin class's name and the text.

    >>> met = ("ModuleNotFoundError", "No module named 'numba'")
    >>> sentences = explained("quantize", [met], "tinytorch", lambda name: True)
    >>> sentences[0].partition(":")[0], sentences[1] == HAS
    ('quantize imports numba, which grading does not have', True)
    """
    sentences, met_wall = list[str](), False
    for kind, text in exceptions:
        met_wall |= kind in WALLS
        if found := WANTED.match(text):
            name = ".".join(filter(None, found.group("module", "of", "name", "owner", "attribute")))
            sentences.append(without(exercise, name, package, given))
    told = tuple(filter(None, dict.fromkeys(sentences)))
    return (*told, HAS) if met_wall or told else ()


def together(explanations: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """What was explained of several exercises: of those that miss the same, the sentence of the first.

    >>> together([("quantize imports numba", HAS), ("measure imports numba", HAS)]) == ("quantize imports numba", HAS)
    True
    """
    found = dict[str, str]()  # a sentence without the exercise with which it begins -> the sentence
    for sentence in (sentence for sentences in explanations for sentence in sentences):
        found.setdefault(sentence.partition(" ")[2], sentence)
    return tuple(sorted(found.values(), key=HAS.__eq__))


def without(exercise: str, name: str, package: str, given: GivenHas) -> str:
    """The sentence about a dotted name that grading does not have; empty where it has it."""
    top = name.partition(".")[0]
    wall = next((module for module in WITHOUT if _within(name, module) and not _threaded(name)), "")
    if wall:
        return f"{exercise} imports {wall}, and {WITHOUT[wall]}"
    lacks = next((outer for outer in accumulate(name.split("."), "{}.{}".format) if not given(outer)), "")
    if top == package and lacks:
        return f"{exercise} uses {lacks}, which grading does not have, as it may do the exercise: write it with NumPy"
    if has_package(top) or top == package:
        return ""
    elsewhere = "or move it to a cell without `#| export`"
    return f"{exercise} imports {top}, which grading does not have: write it with NumPy, {elsewhere}"


def has_package(name: str) -> bool:
    """Is a top-level name of the standard library, or NumPy?"""
    return name in PACKAGES or name in sys.stdlib_module_names


def _within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def _threaded(name: str) -> bool:
    return any(_within(name, module) for module in THREADED)


def _wanted(body: Iterable[ast.AST], package: str) -> list[str]:
    """The dotted names that these statements import, in order; of the package also those it is asked for by a dot."""
    found, known = list[str](), dict[str, str]()  # known: a name here -> the package's module that it stands for
    for node in _unguarded(body):
        match node:
            case ast.Import(names=names):
                found += [alias.name for alias in names]
                known |= {alias.asname or package: alias.name if alias.asname else package for alias in names}
            case ast.ImportFrom(module=str(module), names=names, level=0):
                found += [module if alias.name == "*" else f"{module}.{alias.name}" for alias in names]
                known |= {alias.asname or alias.name: f"{module}.{alias.name}" for alias in names}
            case ast.Attribute():
                first, _, rest = _dotted(node).partition(".")
                if known.get(first, "").partition(".")[0] == package and rest:
                    found.append(f"{known[first]}.{rest}")
    return found


def _unguarded(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes in order, without those that run only if an import succeeds, or never."""
    for node in body:
        if isinstance(node, ast.Try) and any(_forgives(handler) for handler in node.handlers):
            children: Iterable[ast.AST] = [*node.handlers, *node.orelse, *node.finalbody]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            children = node.orelse
        else:
            children = ast.iter_child_nodes(node)
            yield node
        yield from _unguarded(children)


def _forgives(handler: ast.ExceptHandler) -> bool:
    caught = {part.id for part in ast.walk(handler.type) if isinstance(part, ast.Name)} if handler.type else FORGIVING
    return bool(caught & FORGIVING)


def _dotted(node: ast.AST) -> str:
    """a.b.c as text; empty where it does not begin with a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""
