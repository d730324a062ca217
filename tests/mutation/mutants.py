"""The mutants of an exercise: its reference with one thing wrong; and the reasons why some of them are not wrong."""

from __future__ import annotations

import ast
import difflib
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

from tito.course.project import Project

from ..solutions import Scope, joined, pieces_of, scopes_of
from .operators import OPERATORS, refusals


@dataclass(frozen=True)
class Mutant:
    """where: the changed function. diff: what is changed, as lines of `ast.unparse`. text: the whole exported file."""

    exercise: str
    where: str
    diff: str
    text: str

    @property
    def key(self) -> tuple[str, str]:
        return self.where, self.diff


def mutants(project: Project, module: str, exercise: str) -> list[Mutant]:
    """All of them, each different from the reference and from the others."""
    pieces = pieces_of(project, module, exercise)
    found = dict[tuple[int, str], Mutant]()
    for i, (owner, solution) in enumerate(pieces):
        if owner != exercise:
            continue
        indent = solution[: len(solution) - len(solution.lstrip())].rpartition("\n")[2]
        reference = ast.parse(textwrap.dedent(solution))
        right, scopes = ast.unparse(reference), scopes_of(pieces, i)
        where = ".".join(scope.name for scope in scopes)
        for wrong in (*_wrong(reference), *_refusing(reference, scopes[-1])):
            if wrong != right:
                text = joined([*pieces[:i], (owner, textwrap.indent(wrong, indent) + "\n"), *pieces[i + 1 :]])
                found.setdefault((i, wrong), Mutant(exercise, where, _diff(right, wrong), text))
    return list(found.values())


def explained(project: Project, module: str, exercise: str) -> dict[tuple[str, str], str]:
    """Where and what an equivalent mutant changes -> the reason why no test can tell it from the reference."""
    path = project.module_tests(module) / "equivalents" / f"{exercise}.toml"
    if not path.is_file():
        return {}
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["equivalent"]
    return {(entry["where"], diff.strip()): entry["why"] for entry in entries for diff in entry["diffs"]}


def _wrong(tree: ast.Module) -> Iterator[str]:
    """The solution's text with one node replaced."""
    for holder, field, index in list(_places(tree)):
        values = getattr(holder, field)
        right = values if index is None else values[index]
        for operator in OPERATORS:
            for wrong in operator(right):
                _put(holder, field, index, wrong)
                yield ast.unparse(ast.fix_missing_locations(tree))
        _put(holder, field, index, right)


def _refusing(tree: ast.Module, scope: Scope) -> Iterator[str]:
    """The solution's text behind a statement that refuses a kind of input."""
    for refusal in refusals(scope) if isinstance(scope, ast.FunctionDef) else ():
        yield ast.unparse(ast.Module([refusal, *tree.body], []))


def _places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Every node below, by its place. What an error says is left as it is."""
    for field, value in ast.iter_fields(node):
        for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(child, ast.AST):
                yield node, field, index
                if not (isinstance(child, ast.JoinedStr | ast.Raise) or _is_negative(child)):
                    yield from _places(child)


def _is_negative(node: ast.AST) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)


def _put(holder: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(holder, field, node)
    else:
        getattr(holder, field)[index] = node


def _diff(right: str, wrong: str) -> str:
    """What is changed, with the number of its line where the text alone does not tell the place."""
    before = right.splitlines()
    _, _, head, *lines = difflib.unified_diff(before, wrong.splitlines(), n=0, lineterm="")
    removed = [line[1:] for line in lines if line[0] == "-"]
    unique = all(before.count(line) == 1 for line in removed) if removed else head.startswith("@@ -0,0")
    told = [line[0] + " " + line[1:].strip() for line in lines if not line.startswith("@@")]
    return "\n".join(told if unique else [head, *told])
