"""What students write is judged rightly: a mistake fails with a message that names it, another right answer passes.

`tests/MODULE/mistakes/EXERCISE.toml` and `tests/MODULE/alternatives/EXERCISE.toml` hold entries of
  slip        one sentence: what was done (of an alternative: how it differs)
  instead_of  text of the exercise's solution, found there exactly once
  wrote       what stands there instead;  also = {instead_of, wrote}: a second place, where one is not enough
  says        a regular expression for the message of the first failing test (mistakes only)
The notebook is exported in memory as `tito export` would, each entry takes its place in the exported text, and the
exercise's visible tests judge the result. The first alternatives of all exercises together must pass the hidden tests.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Generator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tito import course, exporting
from tito.course import Notebook
from tito.editions import MARKER
from tito.project import PYPROJECT, Project
from tito.reporting import describe

PROJECT = Project(Path(__file__).parent.parent)
PASSED = ""


Pieces = list[tuple[str | None, str]]  # the exported file cut up: (the exercise whose solution this is, or None; text)


@dataclass(frozen=True)
class Case:
    """One answer to one exercise; the reference where the entry is empty."""

    module: str
    exercise: str
    name: str
    entry: dict[str, Any]

    def written(self, pieces: Pieces) -> Pieces:
        """The file with this answer in it. ValueError unless each text to replace is there exactly once."""
        for change in (part for part in (self.entry, self.entry.get("also")) if part):
            old, new = change["instead_of"], change["wrote"]
            count = sum(text.count(old) for exercise, text in pieces if exercise == self.exercise)
            if count != 1:
                raise ValueError(f"{old!r} stands {count} times in the solutions of {self.exercise}, wanted once")
            pieces = [(e, text.replace(old, new) if e == self.exercise else text) for e, text in pieces]
        return pieces


def joined(pieces: Pieces) -> str:
    return "".join(text for _, text in pieces)


def pieces_of(module: str, exercise: str) -> Pieces:
    """The exported file that holds this exercise."""
    exported = next(file for file in exports(module) if exercise in {cell.exercise for cell in file.document.code})
    solved = dict[tuple[int, int], str | None]()
    for cell in exported.document.code:
        inside = False
        for number, line in enumerate(cell.source.split("\n"), 1):
            marker = MARKER.match(line)
            inside = marker["edge"] == "BEGIN" if marker else inside
            if inside:
                solved[cell.number, number] = cell.exercise
    owners = [solved.get((origin[0].number, origin[1])) if origin else None for origin in exported.origin]
    lines = zip(owners, exported.text.splitlines(keepends=True), strict=True)
    return [(owner, "".join(text for _, text in group)) for owner, group in groupby(lines, key=lambda line: line[0])]


@functools.cache
def exports(module: str) -> list[exporting.Exported]:
    return exporting.make(PROJECT, course.load(PROJECT, module))


def cases(kind: str) -> list[Case]:
    found = []
    for path in sorted(PROJECT.tests.glob(f"*/{kind}s/*.toml")):
        for number, entry in enumerate(tomllib.loads(path.read_text(encoding="utf-8"))[kind], 1):
            found.append(Case(path.parent.parent.name, path.stem, f"{path.stem}-{kind}-{number}", entry))
    return found


MISTAKES, ALTERNATIVES = cases("mistake"), cases("alternative")
NOTEBOOKS = [(name, book) for name in course.module_names(PROJECT) for book in course.load(PROJECT, name).notebooks]
EXERCISES = [(name, exercise.id) for name, book in NOTEBOOKS for exercise in book.exercises]
REFERENCES = [Case(module, exercise, f"{module}-{exercise}", {}) for module, exercise in EXERCISES]


def everything_differently(module: str, notebook: Notebook) -> str:
    """A notebook's file in which every exercise has its first alternative answer."""
    exercises = [exercise.id for exercise in notebook.exercises]
    firsts = {case.exercise: case for case in reversed(ALTERNATIVES) if case.module == module}
    pieces = pieces_of(module, exercises[0])
    for case in (firsts[exercise] for exercise in exercises if exercise in firsts):
        pieces = case.written(pieces)
    return joined(pieces)


@pytest.fixture(scope="session")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Name -> the first failing test's message, PASSED where there is none. One process a core shares the work."""
    folder, asked, found = tmp_path_factory.mktemp("verdicts"), list[dict[str, Any]](), dict[str, str]()

    def ask(name: str, text: str, tests: list[Path]) -> None:
        student = folder / f"{name}.py"
        student.write_text(text, encoding="utf-8")
        asked.append({"name": name, "student": str(student), "tests": [str(test) for test in tests]})

    for module, notebook in NOTEBOOKS:
        hidden = [PROJECT.test_files(module, exercise.id)[1] for exercise in notebook.exercises]
        ask(notebook.path.stem, everything_differently(module, notebook), hidden)
    for case in [*MISTAKES, *ALTERNATIVES, *REFERENCES]:
        try:
            text = joined(case.written(pieces_of(case.module, case.exercise)))
            ask(case.name, text, [PROJECT.test_files(case.module, case.exercise)[0]])
        except ValueError as error:
            found[case.name] = f"could not be written: {error}"
    cores = max(1, min(4, os.cpu_count() or 1))
    shares = [folder / f"{core}.json" for core in range(cores)]
    for core, share in enumerate(shares):
        share.write_text(json.dumps(asked[core::cores]), encoding="utf-8")
    commands = [[sys.executable, __file__, str(share)] for share in shares]
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    processes = [
        subprocess.Popen(command, cwd=PROJECT.root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for command in commands
    ]
    for share, process in zip(shares, processes, strict=True):
        output, _ = process.communicate()
        assert process.returncode == 0, output.decode("utf-8", "replace")[-3000:]
        found |= json.loads(share.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(("module", "exercise"), EXERCISES)
def test_every_exercise_has_mistakes(module, exercise):
    count = sum((case.module, case.exercise) == (module, exercise) for case in MISTAKES)
    assert count >= 3, f"{module}: exercise {exercise} has {count} mistakes, wanted 3 or more"


@pytest.mark.parametrize("case", REFERENCES, ids=lambda case: case.name)
def test_the_reference_passes(case, verdicts):
    assert verdicts[case.name] == PASSED


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case.name)
def test_a_mistake_fails_with_a_message_that_names_it(case, verdicts):
    message, says = verdicts[case.name], case.entry["says"]
    assert message != PASSED, f"all tests passed, although: {case.entry['slip']}"
    named = re.search(says, message)
    assert named, f"{case.entry['slip']}\nwanted a message like {says!r}, got:\n{message}"


@pytest.mark.parametrize("case", ALTERNATIVES, ids=lambda case: case.name)
def test_another_right_answer_passes(case, verdicts):
    assert verdicts[case.name] == PASSED, f"{case.entry['slip']}\nis right, but was refused:\n{verdicts[case.name]}"


@pytest.mark.parametrize("notebook", [notebook.path.stem for _, notebook in NOTEBOOKS])
def test_no_hidden_test_insists_on_the_reference(notebook, verdicts):
    assert verdicts[notebook] == PASSED


class First:
    """A pytest plugin that keeps the text of the first failure."""

    def __init__(self) -> None:
        self.text, self.ran = PASSED, 0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self.ran += report.when == "call"
        if report.failed and self.text == PASSED and call.excinfo:
            told = describe(call.excinfo.value, item.path)
            self.text = f"{item.name}: {told['type']}: {told['text']}"
        return report


def first_failure(student: str, tests: list[str]) -> str:
    """Run test files against a student's file, up to the first failure."""
    first = First()
    where = ["--rootdir", str(PROJECT.root), "-c", str(PROJECT.root / PYPROJECT), "--student-file", student, *tests]
    without = ["-p", "no:cacheprovider", "-p", "no:unraisableexception"]  # the latter collects garbage at every end
    status = pytest.main(["-x", "-q", "--tb=no", *without, *where], plugins=[first])
    return first.text if first.ran else f"no test ran: pytest ended with status {int(status)}"


if __name__ == "__main__":  # a process of its own: many short pytest runs, which share what Python has imported
    share = Path(sys.argv[1])
    with contextlib.redirect_stdout(sys.stderr):
        told = {
            a["name"]: first_failure(a["student"], a["tests"]) for a in json.loads(share.read_text(encoding="utf-8"))
        }
    share.write_text(json.dumps(told), encoding="utf-8")
