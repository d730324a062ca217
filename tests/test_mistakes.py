"""What students write is judged rightly: a mistake fails with a message that names it, another right answer passes.

`tests/MODULE/mistakes/EXERCISE.toml` and `tests/MODULE/alternatives/EXERCISE.toml` hold entries of
  slip        one sentence: what was done (of an alternative: how it differs)
  instead_of  text of the exercise's solution, found there exactly once
  wrote       what stands there instead;  also = {instead_of, wrote}: a second place, where one is not enough
  says        a regular expression for the message of the first failing test (mistakes only)
The notebook is exported in memory as `tito export` would; each entry takes its place in the exported text, and the
exercise's visible tests judge the result.
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
from tito.editions import MARKER
from tito.project import PYPROJECT, Project
from tito.reporting import describe

PROJECT = Project(Path(__file__).parent.parent)
PASSED = ""


@dataclass(frozen=True)
class Case:
    """One answer to one exercise; the reference where the entry is empty."""

    module: str
    exercise: str
    name: str
    entry: dict[str, Any]

    def text(self) -> str:
        """The exported file with this answer in it. ValueError unless each text to replace is there exactly once."""
        pieces = pieces_of(self.module, self.exercise)
        for change in (part for part in (self.entry, self.entry.get("also")) if part):
            old = change["instead_of"]
            places = [
                n for n, (is_solution, piece) in enumerate(pieces) if is_solution for _ in range(piece.count(old))
            ]
            if len(places) != 1:
                raise ValueError(f"{old!r} stands {len(places)} times in the solutions of {self.exercise}, wanted once")
            pieces[places[0]] = (True, pieces[places[0]][1].replace(old, change["wrote"]))
        return "".join(piece for _, piece in pieces)


def pieces_of(module: str, exercise: str) -> list[tuple[bool, str]]:
    """The exported file in pieces: (is it a solution of this exercise?, text)."""
    exported = next(file for file in exports(module) if exercise in {cell.exercise for cell in file.document.code})
    solved = set[tuple[int, int]]()
    for cell in exported.document.code:
        inside = False
        for number, line in enumerate(cell.source.split("\n"), 1):
            marker = MARKER.match(line)
            inside = marker["edge"] == "BEGIN" if marker else inside
            if inside and cell.exercise == exercise:
                solved.add((cell.number, number))
    places = [origin and (origin[0].number, origin[1]) for origin in exported.origin]
    lines = zip(places, exported.text.splitlines(keepends=True), strict=True)
    groups = groupby(lines, key=lambda line: line[0] in solved)
    return [(is_solution, "".join(text for _, text in group)) for is_solution, group in groups]


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
EXERCISES = [
    (name, exercise.id) for name in course.module_names(PROJECT) for exercise in course.load(PROJECT, name).exercises
]
REFERENCES = [Case(module, exercise, f"{module}-{exercise}", {}) for module, exercise in EXERCISES]


@pytest.fixture(scope="session")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Case -> the first failing test's message, PASSED where there is none. One process a core shares the work."""
    folder, asked, found = tmp_path_factory.mktemp("verdicts"), list[dict[str, str]](), dict[str, str]()
    for case in [*MISTAKES, *ALTERNATIVES, *REFERENCES]:
        try:
            (folder / f"{case.name}.py").write_text(case.text(), encoding="utf-8")
            tests, _ = PROJECT.test_files(case.module, case.exercise)
            asked.append({"name": case.name, "student": str(folder / f"{case.name}.py"), "tests": str(tests)})
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


def first_failure(student: str, tests: str) -> str:
    """Run a test file against a student's file, up to the first failure."""
    first = First()
    where = ["--rootdir", str(PROJECT.root), "-c", str(PROJECT.root / PYPROJECT), "--student-file", student, tests]
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
