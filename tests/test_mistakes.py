"""What students write is judged rightly: a mistake fails with a message that names it, another right answer passes.

The notebook is exported in memory as `tito export` would, each answer of the catalogue takes its place in the exported
text, and the exercise's visible tests judge the result. A mistake costs the part of its exercise in which it was made.
The first alternatives of all exercises together must pass the hidden tests. A function that returns the right answer
and spoils its arguments passes nothing.
"""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tito.course.module import Notebook, load_module, module_names
from tito.course.project import Project

from .catalogue import Answer, Kind, answers
from .solutions import Pieces, joined, pieces_of, scopes_of

HERE = Path(__file__).parent
PROJECT = Project(HERE.parent)
PASSED, NOTHING_RAN = "", "no test ran: pytest ended with status 5"
NOTEBOOKS = [(name, book) for name in module_names(PROJECT) for book in load_module(PROJECT, name).notebooks]
EXERCISES = [(name, exercise.id) for name, book in NOTEBOOKS for exercise in book.exercises]


class Verdict(Protocol):
    """A student's file, tests, and perhaps one part that they are to bear on -> the first failure's text, or PASSED."""

    def __call__(self, text: str, tests: list[Path], part: str = "") -> str: ...


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

        def judge(text: str, tests: list[Path], part: str = "") -> str:
            student = folder / f"student_{next(number)}.py"  # bytecode of one name would be taken for another text
            student.write_text(text, encoding="utf-8")
            asking.write(
                json.dumps({"student": str(student), "tests": [str(test) for test in tests], "part": part}) + "\n"
            )
            asking.flush()
            line = answering.readline()
            assert line, f"the judging process ended with status {process.wait()}"
            return str(json.loads(line))

        yield judge


def judged(verdict: Verdict, module: str, answer: Answer, part: str = "") -> str:
    """What the exercise's visible tests say of an answer, all or those of a part."""
    pieces = with_answer(pieces_of(PROJECT, module, answer.exercise), answer)
    return verdict(joined(pieces), [PROJECT.test_files(module, answer.exercise)[0]], part)


def part_of(module: str, answer: Answer) -> str:
    """The part of its exercise in which an answer differs from the reference; of an exercise without parts, none."""
    exercise = next(one for one in load_module(PROJECT, module).exercises if one.id == answer.exercise)
    pieces = pieces_of(PROJECT, module, answer.exercise)
    place = next(i for i, (owner, text) in enumerate(pieces) if owner and answer.changes[0].instead_of in text)
    around = [scope.name for scope in scopes_of(pieces, place)]
    return next((part.name for part in exercise.parts if part.name in around), "")


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
    if part := part_of(module, mistake):
        costs = judged(verdict, module, mistake, part)
        assert costs not in (PASSED, NOTHING_RAN), f"the part {part} passes, although: {mistake.slip}"


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


SPOILING = """

def _spoiling(function):
    import functools

    def spoil(value):
        if isinstance(value, list | dict):
            value.clear()
        model = [tensor for _, tensor in value.named_tensors()] if hasattr(value, "named_tensors") else []
        for tensor in model or getattr(value, "params", [value]):
            array = getattr(tensor, "data", tensor) if not isinstance(tensor, np.ndarray) else tensor
            if isinstance(array, np.ndarray) and array.flags.writeable:
                array[...] = not array.any()

    @functools.wraps(function)
    def spoiling(*args, **kwargs):
        result = function(*args, **kwargs)
        for value in (*args[{own}:], *kwargs.values()):
            spoil(value)
        return result

    return spoiling


{name} = _spoiling({name})
"""
TAKES_NO_ARRAY = (
    "MinMaxObserver.range", "PercentileObserver.range", "accuracy_interval", "GradScaler.update", "MasterWeights.step",
)  # fmt: skip
CHANGES_ON_PURPOSE = ("GradScaler.step",)  # the optimizer's parameters, whose values its tests look at


def functions() -> list[Any]:
    """Every function and method that has a solution in it, with its exercise."""
    found = dict[tuple[str, str, str], None]()
    for module, exercise in EXERCISES:
        pieces = pieces_of(PROJECT, module, exercise)
        for i in (i for i, (owner, _) in enumerate(pieces) if owner == exercise):
            first, *others = scopes_of(pieces, i)
            inner = [other.name for other in others[:1]] if isinstance(first, ast.ClassDef) else []
            found[module, exercise, ".".join([first.name, *inner])] = None
    return [pytest.param(*one, id=one[2], marks=together(one[1])) for one in found if one[2] not in TAKES_NO_ARRAY]


@pytest.mark.parametrize(("module", "exercise", "name"), functions())
def test_a_right_answer_that_spoils_what_it_was_given_fails(
    module: str, exercise: str, name: str, verdict: Verdict
) -> None:
    text = joined(pieces_of(PROJECT, module, exercise)) + SPOILING.replace("{name}", name).replace(
        "{own}", str(name.count("."))
    )
    told = "" if name in CHANGES_ON_PURPOSE else "changed its argument"
    for tests in PROJECT.test_files(module, exercise):
        message = verdict(text, [tests])
        assert message != PASSED and told in message, f"{tests.name} of {name}, which spoils its arguments: {message}"


def test_a_text_to_replace_that_is_not_there_exactly_once_is_refused() -> None:
    module, exercise = EXERCISES[0]
    first = answers(PROJECT, module, exercise, "mistake")[0]
    for copies in (0, 2):
        with pytest.raises(ValueError, match=f"stands {copies} times in the solution of {first.exercise}"):
            first.written([first.changes[0].instead_of] * copies)
