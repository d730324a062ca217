"""Who may import whom, and where the tests of `tito` stand. The imports are read, not run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ROOMS = ("course", "testing", "grading", "learning", "releasing", "commands")  # of tito, each above what it imports

# What must never be imported by the files of a folder.
FORBIDDEN = [
    *((f"tito/{lower}", f"tito.{upper}") for place, lower in enumerate(ROOMS) for upper in ROOMS[place + 1 :]),
    *((f"tito/{room}", "tito.cli") for room in ROOMS),
    ("tinytorch", "tito"),
    ("tito", "tinytorch"),
    ("tinytorch/core", "tinytorch.acceleration"),
    ("tinytorch/core", "tinytorch.quantization"),
    ("tinytorch/acceleration", "tinytorch.quantization"),
    ("tito", "tests"),
    ("tinytorch", "tests"),
]


def imported(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, in full: relative imports are resolved."""
    package = path.relative_to(ROOT).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join((*package[: len(package) - node.level + 1], *filter(None, [node.module])))
                if node.level
                else node.module
            )
            found |= {str(base)} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def offences(folder: str, module: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT).as_posix()} imports {name}"
        for path in files(folder)
        for name in sorted(imported(path))
        if name == module or name.startswith(module + ".")
    ]


@pytest.mark.parametrize(("folder", "module"), FORBIDDEN)
def test_no_import_goes_against_the_house(folder, module):
    assert not offences(folder, module)


def rooms(top: Path) -> set[str]:
    """The folders below `top` that hold Python files, by their paths from there."""
    return {path.parent.relative_to(top).as_posix() for path in top.rglob("*.py")} - {"."}


def test_the_tests_of_tito_stand_in_the_rooms_that_they_test():
    tests, tito = ROOT / "tests" / "tito", ROOT / "tito"
    courses = {room for room in rooms(tests) if room.startswith(("toy", "fuzz"))}
    assert rooms(tests) - courses - {"grading/attacks"} == rooms(tito)
    assert {path.name.removeprefix("test_") for path in tests.glob("test_*.py")} <= {
        path.name for path in tito.iterdir()
    }


def test_the_reader_sees_every_form_of_import(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    path = tmp_path / "tinytorch" / "core" / "a.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import tito.cli\ndef f():\n    from ..quantization import x\n"
        "from . import b\nfrom tinytorch import acceleration\n",
        encoding="utf-8",
    )
    assert imported(path) >= {"tito.cli", "tinytorch.quantization", "tinytorch.core.b", "tinytorch.acceleration"}
    assert len(offences("tinytorch", "tito")) == 1
    assert offences("tinytorch/core", "tinytorch.quantization") and offences("tinytorch/core", "tinytorch.acceleration")


def test_there_is_something_to_read():
    assert len(files("tito")) > 10 and len(files("tinytorch/core")) > 3
