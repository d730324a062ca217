"""The example in every command's help runs: here on the toy course, whose names stand for those of the course."""

from __future__ import annotations

import io
import re
import shutil
import sys

import pytest
from typer.main import get_command

from tito.cli import app
from tito.course.edition import Edition
from tito.errors import Status
from tito.grading import api
from tito.grading.grade import Grade
from tito.grading.reports.marking.serving import Server
from tito.grading.sandbox import bubblewrap
from tito.grading.submission import Submission
from tito.learning import starting
from tito.releasing import new_course
from tito.testing.outcome import Finding, outcome_of

from ..toy_course import NOTEBOOK, Course, add_questions

HERE = {"17_quantization": "01_toy", "17": "01", "choose_qparams": "double", "../class": "class"}
STUDENTS = ("start", "watch", "hint", "status", "reset", "submit")  # whose examples need a student's edition
GRADING = ("grade", "merge", "mark")  # which take what students, or commands before them, have made
ENDS = {"doctor": Status.FAILED, "mark": Status.INTERRUPTED}  # the toy's package is not installed; Ctrl-C ends a server
PROGRAM = "import sys\nprint(sys.argv)\n"


COMMANDS = vars(get_command(app))["commands"]


def example(name: str) -> list[str]:
    """The arguments of a command's example, as they are typed behind `tito`."""
    found = re.search(r"Example: tito (.*)", " ".join(COMMANDS[name].help.split()))
    assert found, f"the help of tito {name} has no example"
    return [HERE.get(word, word) for word in found[1].split()]


def runs(course: Course, name: str) -> None:
    said = course.tito(*example(name))
    assert (said.status, "Traceback" in said.err) == (ENDS.get(name, Status.DONE), False), said


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, course: Course) -> None:
    """No window opens, nobody types but `q`, Ctrl-C ends a server at once, and `tito new` lays the toy course down."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(starting, "open_lab", lambda *_: 0)
    monkeypatch.setattr(sys, "stdin", io.StringIO("q\n"))
    monkeypatch.setattr(Server, "serve_forever", interrupted)
    monkeypatch.setattr(new_course, "INSTALLED", course.root)
    monkeypatch.chdir(course.root)


class FakeJudge:
    """Finds everything failed. The real one grades in tests/e2e, and takes seconds to begin."""

    def __init__(self, edition: Edition, *_: object) -> None:
        self.exercises = edition.module.exercises

    def __enter__(self) -> FakeJudge:
        return self

    def __exit__(self, *_: object) -> None: ...

    def grade(self, one: Submission, _: object) -> Grade:
        outcomes = tuple(outcome_of(exercise, Finding("claim", "it works", "no")) for exercise in self.exercises)
        return Grade(one.name, outcomes, "graded", 0.0, digest=one.digest)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in (*STUDENTS, *GRADING)])
@pytest.mark.usefixtures("quiet")
def test_an_example_runs(name: str, course: Course) -> None:
    course.write("modules/source/01_toy/deploy.py", PROGRAM)
    course.write("benchmarks/kernels.py", PROGRAM)
    for room in ("", "deployment/", "deployment/published/"):
        course.write(f"tinytorch/{room}__init__.py", "")
    course.write("tinytorch/deployment/published/__main__.py", PROGRAM)
    runs(course, name)


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.usefixtures("quiet")
def test_a_students_example_runs(name: str, edition: Course) -> None:
    runs(edition, name)


@pytest.mark.usefixtures("quiet")
def test_the_examples_of_grading_run_one_after_the_other(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "Judge", FakeJudge)
    monkeypatch.setattr(bubblewrap, "check", lambda unsafe: None)
    add_questions(course)
    course.write("submissions/ada.py", course.read(NOTEBOOK))
    for part in ("1", "2"):
        shard = ("--shard", f"{part}/2", "--seed", "0")
        assert course.tito("grade", "01", "submissions", "--out", f"part{part}", *shard).status == Status.DONE
    runs(course, "merge")
    shutil.rmtree(course.root / "grades")
    runs(course, "grade")
    runs(course, "mark")
    course.tito(*example("mark")).refuses("stopped by Ctrl-C: nothing was marked", status=Status.INTERRUPTED)
