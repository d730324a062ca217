"""The tests of `tito` stand in the rooms of what they test, and what the package offers it says by task.

Who may import whom: `lint-imports`, by pyproject.toml.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import tinytorch.quantization as tq

ROOT = Path(__file__).parent.parent


def rooms(top: Path) -> set[str]:
    """The folders below `top` that hold Python files, by their paths from there."""
    return {path.parent.relative_to(top).as_posix() for path in top.rglob("*.py")} - {"."}


def test_the_tests_of_tito_stand_in_the_rooms_that_they_test() -> None:
    tests, tito = ROOT / "tests" / "tito", ROOT / "tito"
    courses = {room for room in rooms(tests) if room.startswith(("toy", "fuzz"))}
    assert rooms(tests) - courses - {"grading/attacks"} == rooms(tito)
    assert {path.name.removeprefix("test_") for path in tests.glob("test_*.py")} <= {
        path.name for path in tito.iterdir()
    }


PACKAGE = ROOT / "tinytorch" / "quantization"
GENERATED = {"quantize", "networks", "qat", "mixed_precision"}
OF_THE_LESSON = {  # what notebooks export for each other, and nobody outside needs
    "HALVES", "LARGEST_CODE", "LOSS_SCALES", "Magnitudes", "OutputSums", "ROUNDINGS", "check_between",
    "equalized_pairs", "prepared_layers", "quantize_observed", "without_losers",
}  # fmt: skip


def exported(path: Path) -> list[str]:
    """The names in a file's `__all__`."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "__all__":
            assert isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
            return list(ast.literal_eval(node.value))
    return []


def test_what_the_files_of_the_package_export_the_package_offers() -> None:
    files = [path for path in PACKAGE.glob("*.py") if path.stem != "__init__"]
    missing = {name for path in files for name in exported(path)} - set(tq.__all__) - OF_THE_LESSON
    assert not missing, (
        f"tinytorch.quantization exports {sorted(missing)} and does not offer them: add each to __all__ and to the "
        "table in the docstring of tinytorch/quantization/__init__.py, or leave it out of its file's __all__"
    )
    assert {path.stem for path in files} >= GENERATED and all(hasattr(tq, name) for name in tq.__all__)


def test_every_name_that_the_package_offers_stands_in_its_table_of_tasks() -> None:
    table = (tq.__doc__ or "").partition("by task:\n")[2].partition("`docs/library.md`")[0]
    told = set(re.findall(r"\w+", " ".join(line[22:] for line in table.split("\n"))))
    assert not set(tq.__all__) - told, f"the table does not tell of {sorted(set(tq.__all__) - told)}"


def test_internals_are_not_offered() -> None:
    internals = ("owner", "ends", "as_scale", "map_modules", "as_real", "check_fits", "fuse_chain", "codes_of")
    assert not [name for name in internals if hasattr(tq, name)]
    assert dir(tq) == sorted(tq.__all__)
