"""The tests of `tito` stand in the rooms of what they test. Who may import whom: `lint-imports`, by pyproject.toml."""

from __future__ import annotations

from pathlib import Path

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
