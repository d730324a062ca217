"""The toy course: a whole course, copied for each test to a folder with spaces and an umlaut in its name."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tito.cli import main
from tito.course import notebook, replacing
from tito.course.module import load_module
from tito.course.project import Project

collect_ignore = ["toy"]  # its tests belong to the toy course, not to this one

TOY = Path(__file__).parent / "toy"
NOTEBOOK = "modules/source/01_toy/toy_dev.py"
TABLE = "modules/source/01_toy/module.toml"
TARGET = "toy/sums.py"


@dataclass
class Said:
    """What a command answered."""

    status: int
    out: str
    err: str

    def refuses(self, *parts: str, status: int = 1) -> None:
        """One sentence on standard error, with these parts in it, and nothing else."""
        assert self.status == status, f"expected exit status {status}, got {self.status}: {self.err}"
        assert self.err.startswith("tito: ") and self.err.count("\n") == 1, f"expected one sentence, got: {self.err!r}"
        for part in parts:
            assert part in self.err, f"expected {part!r} in: {self.err}"


@dataclass
class Course:
    """A copy of the toy course that a test may spoil."""

    root: Path
    _capture: Callable[[], tuple[str, str]]

    @property
    def project(self) -> Project:
        return Project(self.root)

    def read(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")

    def change(self, name: str, old: str, new: str) -> None:
        text = self.read(name)
        assert old in text, f"{name} does not hold {old!r}: the test is out of date"
        self.write(name, text.replace(old, new, 1))

    def line_of(self, name: str, part: str, nth: int = 1) -> int:
        """The number of the nth line that holds `part`."""
        return [number for number, line in enumerate(self.read(name).split("\n"), 1) if part in line][nth - 1]

    def files(self) -> dict[str, bytes]:
        """Every file of the course with its bytes: what must not change when a command refuses."""
        found = (path for path in self.root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in found}

    def tito(self, *arguments: str) -> Said:
        """Run a command in this process."""
        self._capture()
        status = main(["--project", str(self.root), *arguments])
        return Said(status, *self._capture())


def copy_toy(folder: Path) -> Path:
    root = folder / "a course für me"
    shutil.copytree(TOY, root, ignore=shutil.ignore_patterns("__pycache__", "sums.py"))
    return root


@pytest.fixture
def course(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Course]:
    monkeypatch.delenv("TITO_PROJECT", raising=False)
    yield Course(copy_toy(tmp_path), lambda: tuple(capsys.readouterr()))


@pytest.fixture
def edition(course: Course, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Course:
    """The toy course as a student has it: what `tito release` made."""
    folder = tmp_path / "für die Schüler"
    assert course.tito("release", "01", "--to", str(folder)).status == 0
    return Course(folder, lambda: tuple(capsys.readouterr()))


@pytest.fixture
def solve(course: Course) -> Callable[[Course, str], None]:
    """Put the reference's cells of an exercise into a student's notebook, as a student would write them."""

    def solve(edition: Course, exercise: str) -> None:
        given, reference = (notebook.load(p, p.root / NOTEBOOK) for p in (edition.project, course.project))
        chosen = tuple(item for item in load_module(course.project, "01_toy").exercises if item.id == exercise)
        text = replacing.graft(given, reference, chosen)
        edition.write(NOTEBOOK, "\n".join(line for line in text.split("\n") if "SOLUTION" not in line))

    return solve
