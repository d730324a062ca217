"""Every name that the lesson puts into backquotes, and hints call, exists: nobody is told to use what is not there."""

from __future__ import annotations

import ast
import builtins
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import jupytext
import numpy as np
import pytest

from tito.course.module import load_module, module_names
from tito.course.project import Project

ROOT = Path(__file__).parent.parent
PROJECT = Project(ROOT)
NOTEBOOKS = sorted(ROOT.glob("modules/source/*/*_dev.py"))
CODE = [*NOTEBOOKS, *ROOT.glob("tinytorch/core/*.py"), *ROOT.glob("tinytorch/quantization/*.py")]
FORMULA = {"s_a", "s_b", "s_y", "batch_lo"}  # letters of a formula, not of the code
SPAN = re.compile(r"`([^`\n]+)`")
NO_CODE = re.compile(r"tito .*|.*\.py|.*\.zip|.*/.*\.\w+")  # commands and files
NAME = re.compile(r"(?<![\w\"'])[A-Za-z_]\w*")
CALLED = re.compile(r"\b[A-Za-z_]\w*(?=\()|\b[a-z]+_\w+\b")


def _in_code(path: Path) -> Iterator[str]:
    """All names that a file defines, reads or passes."""
    lines = path.read_text(encoding="utf-8").split("\n")
    for node in ast.walk(ast.parse("\n".join(lines))):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.keyword(arg=str(name)):
                yield name


@pytest.fixture(scope="module")
def known() -> set[str]:
    """Python's names and keywords, NumPy's, the package's, and what its code calls things."""
    packages = [
        importlib.import_module(f"tinytorch.{name}") for name in ("core", "quantization", "acceleration", "deployment")
    ]
    names = set(dir(builtins)) | set(dir(np)) | FORMULA | {"np", "with", "tinytorch"}
    names.update(*map(dir, packages), *map(_in_code, CODE))
    return names | {package.__name__.rpartition(".")[2] for package in packages}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_names_in_backquotes_exist(path: Path, known: set[str]) -> None:
    cells = [cell.source for cell in jupytext.read(path).cells]
    spans = [span for source in cells for span in SPAN.findall(source) if not NO_CODE.fullmatch(span)]
    assert len(spans) > 20
    unknown = {span for span in spans if set(NAME.findall(re.sub(r"0x\w+|\"[^\"]*\"", "", span))) - known}
    assert not unknown, f"{path.name} speaks of what does not exist: {', '.join(sorted(unknown))}"


@pytest.mark.parametrize("module", module_names(PROJECT))
def test_names_in_hints_exist(module: str, known: set[str]) -> None:
    for exercise in load_module(PROJECT, module).exercises:
        for hint in exercise.hints:
            unknown = set(CALLED.findall(hint)) - known
            assert not unknown, f"a hint of {exercise.id} speaks of what does not exist: {', '.join(sorted(unknown))}"
