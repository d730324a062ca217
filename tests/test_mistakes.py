"""What students write is judged rightly: a mistake fails with a message that names it, another right answer passes.

The notebook is exported in memory as `tito export` would, each answer of the catalogue takes its place in the exported
text, and the exercise's visible tests judge the result. The first alternatives of all exercises together must pass the
hidden tests.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tito.course.module import Notebook, load_module, module_names
from tito.course.project import Project

from .catalogue import Answer, Kind, answers
from .solutions import Pieces, joined, pieces_of

HERE = Path(__file__).parent
PROJECT = Project(HERE.parent)
PASSED = ""
NOTEBOOKS = [(name, book) for name in module_names(PROJECT) for book in load_module(PROJECT, name).notebooks]
EXERCISES = [(name, exercise.id) for name, book in NOTEBOOKS for exercise in book.exercises]

Verdict = Callable[[str, list[Path]], str]  # a student's file, tests -> the text of the first that fails, or PASSED


def catalogue(kind: Kind) -> list[Any]:
    return [
        pytest.param(module, answer, id=answer.name, marks=together(exercise))
        for module, exercise in EXERCISES
        for answer in answers(PROJECT, module, exercise, kind)
    ]


def together(exercise: str) -> pytest.MarkDecorator:
    """Of several test processes one gets an exercise."""
    return pytest.mark.xdist_group(f"mistakes: {exercise}")


def with_answer(pieces: Pieces, answer: Answer) -> Pieces:
    """The file with this answer in the place of the exercise's solution."""
    written = iter(answer.written([text for exercise, text in pieces if exercise == answer.exercise]))
    return [(exercise, next(written) if exercise == answer.exercise else text) for exercise, text in pieces]


@pytest.fixture(scope="session")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verdict]:
    """Judges one file after another, in a process of its own: these tests must not share ours with students' code."""
    folder, number = tmp_path_factory.mktemp("judged"), itertools.count()
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "tests.first_failure", str(PROJECT.root)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=PROJECT.root, env=env, stdin=pipe, stdout=pipe, encoding="utf-8") as process:
        asking, answering = process.stdin, process.stdout
        assert asking and answering

        def judge(text: str, tests: list[Path]) -> str:
            student = folder / f"student_{next(number)}.py"  # bytecode of one name would be taken for another text
            student.write_text(text, encoding="utf-8")
            asking.write(json.dumps({"student": str(student), "tests": [str(test) for test in tests]}) + "\n")
            asking.flush()
            line = answering.readline()
            assert line, f"the judging process ended with status {process.wait()}"
            return str(json.loads(line))

        yield judge


def judged(verdict: Verdict, module: str, answer: Answer) -> str:
    """What the exercise's visible tests say of an answer."""
    pieces = with_answer(pieces_of(PROJECT, module, answer.exercise), answer)
    return verdict(joined(pieces), [PROJECT.test_files(module, answer.exercise)[0]])


@pytest.mark.parametrize(("module", "exercise"), EXERCISES)
def test_every_exercise_has_mistakes(module: str, exercise: str) -> None:
    count = len(answers(PROJECT, module, exercise, "mistake"))
    assert count >= 3, f"{module}: exercise {exercise} has {count} mistakes, wanted 3 or more"


@pytest.mark.parametrize(("module", "exercise"), [pytest.param(*one, marks=together(one[1])) for one in EXERCISES])
def test_the_reference_passes(module: str, exercise: str, verdict: Verdict) -> None:
    assert judged(verdict, module, Answer(exercise)) == PASSED


@pytest.mark.parametrize(("module", "mistake"), catalogue("mistake"))
def test_a_mistake_fails_with_a_message_that_names_it(module: str, mistake: Answer, verdict: Verdict) -> None:
    message = judged(verdict, module, mistake)
    assert message != PASSED, f"all tests passed, although: {mistake.slip}"
    named = re.search(mistake.says, message)
    assert named, f"{mistake.slip}\nwanted a message like {mistake.says!r}, got:\n{message}"


@pytest.mark.parametrize(("module", "answer"), catalogue("alternative"))
def test_another_right_answer_passes(module: str, answer: Answer, verdict: Verdict) -> None:
    message = judged(verdict, module, answer)
    assert message == PASSED, f"{answer.slip}\nis right, but was refused:\n{message}"


@pytest.mark.parametrize(
    ("module", "notebook"),
    [pytest.param(*one, id=one[1].path.stem, marks=together(one[1].path.stem)) for one in NOTEBOOKS],
)
def test_no_hidden_test_insists_on_the_reference(module: str, notebook: Notebook, verdict: Verdict) -> None:
    pieces = pieces_of(PROJECT, module, notebook.exercises[0].id)
    for exercise in notebook.exercises:
        for answer in answers(PROJECT, module, exercise.id, "alternative")[:1]:
            pieces = with_answer(pieces, answer)
    hidden = [PROJECT.test_files(module, exercise.id)[1] for exercise in notebook.exercises]
    assert verdict(joined(pieces), hidden) == PASSED


def test_a_text_to_replace_that_is_not_there_exactly_once_is_refused() -> None:
    module, exercise = EXERCISES[0]
    first = answers(PROJECT, module, exercise, "mistake")[0]
    for copies in (0, 2):
        with pytest.raises(ValueError, match=f"stands {copies} times in the solution of {first.exercise}"):
            first.written([first.changes[0].instead_of] * copies)
