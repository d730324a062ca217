"""The package's own rules, held by machine: small files and functions, floors that load downwards, the field's words.

Imports between floors are import-linter's (pyproject.toml). It cannot see modules that `load("...")` names in strings.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import tinytorch.acceleration

PACKAGE = Path(tinytorch.acceleration.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FLOORS = ["runtime", "codegen", "loops", "calls", "operations", "models"]  # from the ground up
MOST_PARAMETERS, MOST_LINES, MOST_FILES = 8, 30, 12
DIALECT = {  # our own old words -> the field's
    "rung": "kernel", "ruler": "quantization parameters, qparams", "team": "thread pool", "sweep": "prologue, epilogue",
}  # fmt: skip


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """(file:name, node) of every function."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield f"{path.relative_to(PACKAGE).as_posix()}:{node.name}", node


def parameters(function: ast.FunctionDef) -> int:
    """How many a function has, self aside."""
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def lines(function: ast.FunctionDef) -> int:
    """How many the body has, its docstring aside."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_a_function_has_few_parameters() -> None:
    """What travels together is a record."""
    found = {name for name, node in functions() if parameters(node) > MOST_PARAMETERS}
    assert not found


def test_a_function_is_short() -> None:
    """Thirty lines can be read at once; the docstring is not counted."""
    found = {name for name, node in functions() if lines(node) > MOST_LINES}
    assert not found


def test_a_floor_has_few_files() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(FLOORS)
    for floor in FLOORS:
        files = [path for path in (PACKAGE / floor).glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= MOST_FILES, f"{floor} has {len(files)} files: which of them belong together?"


def test_modules_that_need_numba_are_loaded_downwards() -> None:
    for path in FILES:
        own = path.relative_to(PACKAGE).parts[0]
        for floor, module in re.findall(r'load\("(\w+)\.(\w+)"\)', path.read_text(encoding="utf-8")):
            assert (PACKAGE / floor / f"{module}.py").is_file(), f"{path.name} loads {floor}.{module}, which is gone"
            if own in FLOORS:
                assert FLOORS.index(floor) <= FLOORS.index(own), f"{path.name} loads {floor}.{module}, from below it"


def test_the_words_are_those_of_the_field() -> None:
    """docs/kernels.md lists them."""
    said = re.compile(rf"(?i)(?<![a-z])({'|'.join(DIALECT)})s?(?![a-z])")
    for path in FILES:
        name, words = path.relative_to(PACKAGE).as_posix(), said.findall(path.read_text(encoding="utf-8"))
        assert not words, f"{name} says {words[0]}: say {DIALECT[words[0].lower()]}"
