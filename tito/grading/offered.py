"""What a student's code finds where it is graded, declared once.

The box is made of it, and `tito test`, `check` and `tito submit` say what an exercise wants and will not find there.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from tito.course import Module
from tito.notebook import Cell
from tito.project import Project

PACKAGES = ("numpy",)  # beside the standard library and what the course gives
SCRATCH_BYTES = 16 << 20  # for files, in a folder that is empty at first
MEMORY_BYTES = 2 << 30
THREADS = 64
WITHOUT = {  # modules of the standard library whose work ends at a wall
    "multiprocessing": "grading has no other processes",
    "subprocess": "grading has no other processes",
    "urllib.request": "grading has no network",
    "http.client": "grading has no network",
    "tkinter": "grading has no screen",
    "turtle": "grading has no screen",
}
THREADED = ("multiprocessing.pool", "multiprocessing.dummy")  # they are of threads, or can be
FORGIVING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}

HAS = (
    "Grading has Python's standard library, NumPy, what the course gives, threads, an empty folder to write up to "
    f"{SCRATCH_BYTES >> 20} MB into, and {MEMORY_BYTES >> 30} GB of memory; no other package, process or file of "
    "yours, and no network."
)
GivenHas = Callable[[str], bool]  # a dotted name of the course's package -> whether grading has it


def told(project: Project, module: Module, cells: Iterable[Cell]) -> list[str]:
    """A sentence for everything that the exercises' cells among these import, and will not find in grading."""

    @cache
    def given() -> Any:
        from tito.grading.judging import judge  # loads NumPy: who imports nothing from the package need not wait

        return judge.Edition(project, as_given(project, module)).laid_out(project)

    return [
        sentence
        for cell in cells
        if cell.exercise
        for sentence in lacking(cell.exercise, _text(cell), project.package_name, lambda name: given().has(name))
    ]


def as_given(project: Project, module: Module) -> Module:
    """The module with the notebooks as they were released, where they are at hand: from those it is graded."""
    released = {entry: project.released(entry.path) for entry in module.notebooks}
    return replace(module, notebooks=tuple(replace(e, path=r) if r.is_file() else e for e, r in released.items()))


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
    told = set[str]()
    for name in _wanted(tree.body, package):
        top = name.partition(".")[0]
        wall = next((why for module, why in WITHOUT.items() if _within(name, module) and not _threaded(name)), "")
        if wall and wall not in told:
            told.add(wall)
            yield f"{exercise} imports {name}, and {wall}"
        elif top == package and not given(name) and name not in told:
            told.add(name)
            yield f"{exercise} uses {name}, which grading does not have, as it may do the exercise: write it with NumPy"
        elif top not in (*PACKAGES, package, *sys.stdlib_module_names) and top not in told:
            told.add(top)
            yield (
                f"{exercise} imports {top}, which grading does not have: write it with NumPy, or move it to a cell "
                "without `#| export`"
            )


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
