"""Answers in words from the release to the grades, by tables alone; the browser's part is in tests/e2e."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tito.course.edition import Edition
from tito.grading.grade import Grade
from tito.grading.options import Options
from tito.grading.reports.marking.marks import blind
from tito.grading.sandbox import bubblewrap
from tito.grading.sandbox.bubblewrap import Protection
from tito.grading.submission import Submission
from tito.testing.outcome import Finding, outcome_of

from ..grading.reports.reported import Page
from ..toy_course import NOTEBOOK, TABLE, Course, Said, add_questions

HERE = "*Your answer here.*"
ANSWERS = {"ada": ("Above 63.", "The total."), "bob": ("Above 63.", HERE), "cem": ("Never.", "Nothing.")}
RUBRIC = """
[overflow]
points = 3
items.bound = { points = 2, text = "the bound" }
items.type = { points = 1, text = "the type" }
"""
HEAD = "grader,question,answer,items,comment\n"


@dataclass
class Instructor:
    """A class of the toy course, and the folder of its grades; judges are fakes that give no points."""

    course: Course
    folder: Path
    graded: list[str]

    @property
    def out(self) -> Path:
        return self.folder / "grades"

    def hand_in(self, answers: Mapping[str, tuple[str, str]]) -> None:
        """Every student writes into what was released, and hands in what `tito submit` makes."""
        given = self.folder / "given"
        assert self.course.tito("release", "01", "--to", str(given)).status == 0
        edition = Course(given, self.course._capsys)
        as_given = edition.read(NOTEBOOK)
        (self.folder / "submissions").mkdir(exist_ok=True)
        for name, (first, second) in answers.items():
            text = as_given.replace(HERE, first.replace(HERE, "-"), 1)
            text = text.replace(HERE, second) if first != HERE else "".join(text.rsplit("-", 1)).replace(HERE, second)
            edition.write(NOTEBOOK, text + f"\n# %%\n# {name}\n")
            assert edition.tito("submit", "--untested", "--name", name).status == 0
            (given / "01_toy_submission.zip").replace(self.folder / "submissions" / f"{name}.zip")
        edition.write(NOTEBOOK, as_given)

    def grade(self, *options: str, out: str = "grades") -> Said:
        folder = str(self.folder / "submissions")
        return self.course.tito("grade", "01", folder, "--out", str(self.folder / out), *options)

    def write(self, name: str, text: str) -> None:
        (self.out / name).parent.mkdir(parents=True, exist_ok=True)
        (self.out / name).write_text(text, encoding="utf-8")

    def rows(self, out: str = "grades") -> dict[str, dict[str, str]]:
        with (self.folder / out / "grades.csv").open(encoding="utf-8-sig", newline="") as stream:
            return {row["submission"]: row for row in csv.DictReader(stream)}

    def page(self, name: str) -> Page:
        return Page((self.out / name).read_bytes())

    def files(self) -> dict[str, bytes]:
        return {p.relative_to(self.out).as_posix(): p.read_bytes() for p in self.out.rglob("*") if p.is_file()}


@pytest.fixture
def instructor(course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instructor:
    graded = list[str]()

    class FakeJudge:
        def __init__(self, edition: Edition, options: Options, exercises: Sequence[str]) -> None:
            self.exercises = edition.module.exercises

        def __enter__(self) -> FakeJudge:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def grade(self, one: Submission, exercises: Sequence[str]) -> Grade:
            graded.append(one.name)
            asked = (exercise for exercise in self.exercises if exercise.id in exercises)
            outcomes = tuple(outcome_of(exercise, Finding("claim", "it works", "no")) for exercise in asked)
            return Grade(one.name, outcomes, "graded", 0.1, (), one.digest)

    monkeypatch.setattr("tito.grading.api.Judge", FakeJudge)
    monkeypatch.setattr(bubblewrap, "protection", lambda: Protection("sandbox"))
    add_questions(course)
    return Instructor(course, tmp_path, graded)


def score(grader: str, question: str, text: str, items: str, comment: str = "") -> str:
    return f"{grader},{question},{blind(question, text)},{items},{comment}\n"


def test_words_become_points_in_every_report(instructor: Instructor) -> None:
    instructor.hand_in(ANSWERS)
    instructor.write("rubric.toml", RUBRIC)
    instructor.write("adjustments.csv", "submission,exercise,points,reason\nada,,-0.5,one day late\n")
    assert instructor.grade().status == 0
    assert {(row["points"], row["max_points"]) for row in instructor.rows().values()} == {("0", "8")}
    table = (instructor.out / "questions" / "answers.csv").read_text(encoding="utf-8-sig")
    graded = table.replace(
        f",{blind('overflow', 'Above 63.')},,,", f",{blind('overflow', 'Above 63.')},bound type,Good!,"
    )
    graded = graded.replace(f",{blind('overflow', 'Never.')},,,", f",{blind('overflow', 'Never.')},none,,")
    assert graded.count("bound type") == 1, "two who wrote the same are marked once"
    instructor.write("scores/mine.csv", graded)
    assert instructor.grade().status == 0
    rows = instructor.rows()
    assert {name: row["points"] for name, row in rows.items()} == {"ada": "2.5", "bob": "3", "cem": "0"}
    assert rows["bob"]["reason"] == "overflow: Too large: 3 of 3: the bound, the type"
    assert rows["cem"]["reason"] == "overflow: Too large: 0 of 3"
    with (instructor.out / "canvas.csv").open(encoding="utf-8", newline="") as stream:
        canvas = {row[0]: row[-1] for row in csv.reader(stream)}
    assert canvas == {"Student": "A toy module", "Points Possible": "8", "ada": "2.5", "bob": "3", "cem": "0"}
    results = json.loads((instructor.out / "gradescope" / "bob.json").read_text(encoding="utf-8"))
    assert results["score"] == 3 and "overflow: Too large: 3 of 3: the bound, the type" in results["output"]
    bob = instructor.page("students/bob.html").text
    assert "3 of 8 points" in bob and "3 of 3 points the bound (+2) the type (+1) Good! What you wrote Above 63." in bob
    assert "What is kept state not answered" in bob
    index = instructor.page("index.html")
    assert "questions/index.html" in index.links
    assert "one day late" in index.text and "Too large" not in index.text, "of marks a class has too many for its page"
    assert "Too large 3 3 of 3 0" in instructor.page("questions/index.html").text
    assert instructor.graded == ["ada"], "cells that are alike are judged once, and words judge nothing again"


def test_words_that_change_grade_no_exercise_again_and_are_marked_again(instructor: Instructor) -> None:
    instructor.hand_in(ANSWERS)
    instructor.write("rubric.toml", RUBRIC)
    instructor.write("scores/mine.csv", HEAD + score("", "overflow", "Never.", "type"))
    assert instructor.grade().status == 0
    assert instructor.rows()["cem"]["points"] == "1"
    instructor.hand_in({"cem": ("Never, ever.", HERE)})
    said = instructor.grade()
    assert instructor.rows()["cem"]["points"] == "0" and instructor.graded == ["ada"]
    assert (
        f"scores: 1 score is of answers that nobody hands in now, {blind('overflow', 'Never.')} the first" in said.out
    )


def test_a_question_s_own_points_come_on_top_and_without_them_the_module_s_stay(instructor: Instructor) -> None:
    instructor.hand_in(ANSWERS)
    assert instructor.grade().status == 0
    assert {row["max_points"] for row in instructor.rows().values()} == {"5"}
    instructor.course.change(TABLE, 'title = "Too large"\n', 'title = "Too large"\npoints = 2\n')
    instructor.write("scores/mine.csv", HEAD + score("", "overflow", "Never.", "right"))
    assert instructor.grade(out="grades").status == 0
    assert (instructor.rows()["cem"]["points"], instructor.rows()["cem"]["max_points"]) == ("2", "7")
    assert instructor.grade("--exercise", "double", out="one").status == 0
    assert instructor.rows("one")["cem"]["max_points"] == "2", "where one exercise is graded, words are not"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("rubric.toml", "[overfull]\n", "grades/rubric.toml: there is no question 'overfull'"),
        (
            "scores/a.csv",
            HEAD + f"ada,overflow,{'b' * 10},bond,\n",
            "grades/scores/a.csv, line 2: overflow has no item 'bond'",
        ),
        ("scores/a.csv", HEAD + f'ada,overflow,{"b" * 10},"bound\n', "grades/scores/a.csv, line 2: not a table"),
        ("comments.csv", "submission,exercise,line,text\nada,doubel,,no\n", "grades/comments.csv, line 2: there is no"),
        (
            "comments.csv",
            "submission,exercise,line,text\nada,double,0,no\n",
            "line 2: line must be the number of a line",
        ),
        ("comments.csv", "submission,exercise,line,text\nada,overflow,3,no\n", "line 2: line must be the number of a"),
        (
            "comments.csv",
            "submission,exercise,line,text\nada,double,3,\n",
            "line 2: the text, in the last column, must have 1 to 2000 letters, got 0",
        ),
        (
            "comments.csv",
            "submission,exercise,text\nada,double,no\n",
            "line 1: the columns must be submission,exercise,",
        ),
    ],
)
def test_a_wrong_line_is_told_before_anybody_is_graded_and_leaves_the_reports(
    instructor: Instructor, name: str, text: str, sentence: str
) -> None:
    instructor.hand_in({"ada": ANSWERS["ada"]})
    instructor.write("rubric.toml", RUBRIC)
    assert instructor.grade().status == 0
    before, graded = instructor.files(), len(instructor.graded)
    instructor.hand_in(ANSWERS)
    instructor.write(name, text)
    instructor.grade("--seed", "8").refuses(sentence)
    after = {key: data for key, data in instructor.files().items() if key != name}
    assert after == {key: data for key, data in before.items() if key != name} and len(instructor.graded) == graded


def test_comments_stand_where_they_belong_on_the_student_s_own_page_alone(instructor: Instructor) -> None:
    instructor.hand_in(ANSWERS)
    comments = ["ada,,,Come and see me.", "ada,double,2,<b>Twice</b> of what?", "ada,double,,Nearly."]
    comments += ["ada,state,,Which total?", "ada,double,999,Beyond.", "dora,double,,Who is that?"]
    instructor.write("comments.csv", "\n".join(["submission,exercise,line,text", *comments]))
    said = instructor.grade()
    assert said.status == 0 and "comments.csv, line 7: there is no submission 'dora'" in said.out
    page = instructor.page("students/ada.html")
    for text in ('"""Twice x. <b>Twice</b> of what? >>> double(2)', "Said by your instructor Come and see me."):
        assert text in page.text
    assert page.text.index("Nearly.") < page.text.index("What you handed in") < page.text.index("line 999: Beyond.")
    assert "Which total? What you wrote The total." in page.text and not page.all("b")
    assert "Come and see me" not in instructor.page("students/bob.html").text


def test_a_comment_on_what_was_not_written_or_could_not_be_read_is_shown_nevertheless(instructor: Instructor) -> None:
    instructor.hand_in({"ada": ANSWERS["ada"]})
    for name, text in {"bob": "{", "cem": "# %%\n#| exercise: counter\nx = 1\n"}.items():
        (instructor.folder / "submissions" / f"{name}.ipynb").write_text(text, encoding="utf-8")
    (instructor.folder / "submissions" / "cem.ipynb").rename(instructor.folder / "submissions" / "cem.py")
    lines = ["bob,double,3,What happened?", "bob,overflow,,Try.", "cem,double,1,Where is it?", "cem,counter,1,One?"]
    instructor.write("comments.csv", "\n".join(["submission,exercise,line,text", *lines]))
    assert instructor.grade().status == 0
    assert "Said by your instructor double, line 3: What happened?" in instructor.page("students/bob.html").text
    assert "Try." in instructor.page("students/bob.html").text
    assert "line 1: Where is it?" in instructor.page("students/cem.html").text
    assert "x = 1 One?" in instructor.page("students/cem.html").text


def test_shards_bring_their_answers_and_a_merged_batch_is_marked(instructor: Instructor) -> None:
    instructor.hand_in(ANSWERS)
    for part in ("1", "2"):
        assert instructor.grade("--shard", f"{part}/2", "--seed", "3", out=part).status == 0
    instructor.write("rubric.toml", RUBRIC)
    instructor.write("scores/mine.csv", HEAD + score("", "overflow", "Above 63.", "bound"))
    parts = [str(instructor.folder / part) for part in ("1", "2")]
    assert instructor.course.tito("merge", *parts, "--out", str(instructor.out)).status == 0
    assert {name: row["points"] for name, row in instructor.rows().items()} == {"ada": "2", "bob": "2", "cem": "0"}


def test_mark_refuses_what_it_cannot_serve_in_one_sentence(instructor: Instructor, tmp_path: Path) -> None:
    course, out = instructor.course, str(instructor.out)
    course.tito("mark", out).refuses("holds no journal.sqlite: name the --out of `tito grade`", status=2)
    assert not instructor.out.exists()
    instructor.hand_in({"ada": ANSWERS["ada"]})
    assert instructor.grade().status == 0
    course.tito("mark", out, "--port", "70000").refuses("--port must be from 0 to 65535, got 70000", status=2)
    course.tito("mark", out, "--grader", "x" * 61).refuses("--grader must be a name of up to 60 letters", status=2)
    instructor.write("scores/a.csv", "grader\n")
    course.tito("mark", out).refuses("scores/a.csv, line 1: the columns must be")
    for text in course.read(NOTEBOOK).split("# %% [markdown]\n# ## Reflect")[:1]:
        course.write(NOTEBOOK, text)
    course.write(TABLE, course.read(TABLE).split("\n[[notebook.question]]")[0])
    course.tito("mark", out).refuses("01_toy asks no question in words", status=2)


def test_a_module_without_questions_has_no_pages_for_them(instructor: Instructor) -> None:
    instructor.hand_in({"ada": ANSWERS["ada"]})
    instructor.course.write(TABLE, instructor.course.read(TABLE).split("\n[[notebook.question]]")[0])
    text = instructor.course.read(NOTEBOOK).split("\n# %% [markdown]\n# ## Reflect")[0]
    instructor.course.write(NOTEBOOK, text)
    assert instructor.grade().status == 0
    assert not (instructor.out / "questions").exists()
    assert "in words" not in instructor.page("index.html").text + instructor.page("students/ada.html").text
