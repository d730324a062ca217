"""An exercise's points are split over its parts: what a test bears on, what a part earns, and what is shown of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tito.course.markers import stub
from tito.testing.in_notebook import check
from tito.testing.outcome import Outcome

from ..toy_course import ENDS_FILE, NOTEBOOK, TABLE, Course, add_ends

LOWEST, HIGHEST = "    return min(numbers)", "    return max(numbers)"
UNWRITTEN = '    raise NotImplementedError("exercise ends: your code is not written yet")'


@pytest.fixture
def ends(course: Course) -> Course:
    add_ends(course)
    return course


def report_of(course: Course, *options: str) -> dict[str, Any]:
    """What `tito test` reports of the exercise `ends`, and in `line` what it prints of it."""
    file = course.root / "report.json"
    said = course.tito("test", "01", "--exercise", "ends", "--json", str(file), *options)
    assert said.err == "", said
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["exercises"][0]
    return report | {"line": said.out.split("\n")[0], "exit": said.status}


def test_a_right_function_beside_a_wrong_one_earns_its_part(ends: Course) -> None:
    ends.change(NOTEBOOK, HIGHEST, "    return min(numbers)")
    found = report_of(ends)
    assert found["line"] == "ends     3 of 5 points  failed: highest (0 of 2)"
    assert (found["status"], found["points"], found["exit"]) == ("failed", 3, 1)
    assert found["message"] == "the largest is found:\nexpected 3, got 1"
    parts = [(part["name"], part["status"], part["points"], part["max_points"]) for part in found["parts"]]
    assert parts == [("lowest", "passed", 3, 3), ("highest", "failed", 0, 2)]


def test_a_function_that_is_not_written_is_not_started_and_the_other_earns_its_part(ends: Course) -> None:
    ends.change(NOTEBOOK, LOWEST, UNWRITTEN)
    found = report_of(ends)
    assert found["line"] == "ends     2 of 5 points  not started: lowest (0 of 3)"
    assert (found["status"], found["points"]) == ("not started", 2)


def test_what_fails_is_shown_before_what_is_not_started(ends: Course) -> None:
    ends.change(NOTEBOOK, LOWEST, UNWRITTEN)
    ends.change(NOTEBOOK, HIGHEST, "    return 0")
    found = report_of(ends)
    assert found["line"] == "ends     0 of 5 points  not started: lowest (0 of 3); failed: highest (0 of 2)"
    assert (found["status"], found["message"]) == ("failed", "the largest is found:\nexpected 3, got 0")


def test_a_hidden_test_costs_its_part_alone(ends: Course) -> None:
    ends.change(NOTEBOOK, HIGHEST, "    return max(numbers) if len(numbers) > 1 else 0")
    assert report_of(ends)["line"] == "ends     3 of 5 points  failed: highest (0 of 2)"


def test_a_test_without_a_mark_costs_every_part(ends: Course) -> None:
    ends.write(ENDS_FILE, ends.read(ENDS_FILE) + "\n\ndef test_all(student):\n    assert False, 'no'\n")
    found = report_of(ends)
    assert found["line"] == "ends     0 of 5 points  failed: lowest (0 of 3), highest (0 of 2)"
    assert found["message"] == "all:\nno"


@pytest.mark.parametrize(
    "marked",
    [
        'class TestBoth:\n    pytestmark = pytest.mark.part("highest")\n    def test_it(self): assert False',
        '@pytest.mark.part("highest")\nclass TestBoth:\n    def test_it(self): assert False',
        '@pytest.mark.parametrize("x", [1, pytest.param(2, marks=pytest.mark.part("highest"))])\n'
        '@pytest.mark.part("highest")\ndef test_it(x): assert x == 1',
    ],
    ids=["pytestmark", "class", "parameter"],
)
def test_a_mark_counts_wherever_pytest_lets_it_stand(ends: Course, marked: str) -> None:
    ends.write(ENDS_FILE, f"{ends.read(ENDS_FILE)}\n\n{marked}\n")
    assert report_of(ends)["line"] == "ends     3 of 5 points  failed: highest (0 of 2)"


def test_a_test_may_bear_on_several_parts_and_a_file_on_one(ends: Course) -> None:
    both = '@pytest.mark.part("lowest", "highest")\ndef test_both(): assert False\n'
    ends.write(ENDS_FILE, f"{ends.read(ENDS_FILE)}\n\n{both}")
    assert report_of(ends)["points"] == 0
    ends.write("tests/01_toy/hidden/test_ends.py", 'import pytest\npytestmark = pytest.mark.part("lowest")\n' + both)
    assert report_of(ends)["points"] == 0


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ('part("hihgest")', "is marked for the part 'hihgest', and the parts of ends in module.toml are: lowest, hig"),
        ("part", "is marked for the part '', and the parts of ends in module.toml are: lowest, highest"),
        ('part("lowest")', "no test that students have bears on the part 'highest' of ends"),
    ],
)
def test_a_mark_that_names_no_part_is_refused_with_a_sentence(ends: Course, mark: str, said: str) -> None:
    ends.change(ENDS_FILE, 'part("highest")', mark)
    found = report_of(ends)
    assert (found["points"], found["reason"]) == (0, "broken tests")
    assert said in found["message"]


def test_a_mark_in_an_exercise_without_parts_is_refused_with_a_sentence(ends: Course) -> None:
    ends.change(TABLE, "parts = { lowest = 3, highest = 2 }\n", "")
    assert "is marked for the part 'lowest', and ends has no parts" in report_of(ends)["message"]


def test_what_ends_python_costs_the_parts_whose_tests_have_not_run(ends: Course) -> None:
    ends.change(NOTEBOOK, HIGHEST, "    __import__('ctypes').string_at(0)")
    found = report_of(ends)
    assert found["line"] == "ends     3 of 5 points  failed: highest (0 of 2)"
    assert found["reason"] == "ended" and found["parts"][0]["status"] == "passed"


def test_one_part_alone_may_be_asked_for(ends: Course) -> None:
    ends.change(NOTEBOOK, HIGHEST, "    return 0")
    assert report_of(ends, "--part", "lowest")["exit"] == 0
    assert report_of(ends, "--part", "highest")["exit"] == 1
    assert "ends: highest\n" in ends.tito("test", "ends", "--part", "highest").out
    assert "ends: " not in ends.tito("test", "ends", "--part", "lowest").out, "another part's failure is told"
    ends.tito("test", "ends", "--part", "middle").refuses("ends has no part 'middle'; it has: lowest, hig", status=2)
    ends.tito("test", "double", "--part", "lowest").refuses("its points are not split", status=2)
    ends.tito("test", "01", "--part", "lowest").refuses("--part lowest is of one exercise", status=2)


def test_status_shows_the_split_before_and_after_a_test(ends: Course) -> None:
    ends.write(NOTEBOOK, stub(ends.read(NOTEBOOK)))
    assert "ends        0 of 5 points  not tested: lowest (0 of 3), highest (0 of 2)\n" in ends.tito("status").out
    ends.change(NOTEBOOK, UNWRITTEN, LOWEST)
    report_of(ends)
    said = ends.tito("status", "--json", str(ends.root / "status.json"))
    assert "ends        3 of 5 points  not started: highest (0 of 2)\n" in said.out
    row = json.loads(ends.read("status.json"))["exercises"][-1]
    assert [(part["name"], part["points"]) for part in row["parts"]] == [("lowest", 3), ("highest", 0)]


def test_in_a_notebook_the_parts_that_pass_are_named(
    ends: Course, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir((ends.root / NOTEBOOK).parent)
    check("ends", {"lowest": min, "highest": min})
    out = capsys.readouterr().out
    assert out.startswith("ends: NOT PASSED\nthe largest is found:\nexpected 3, got 1")
    assert out.endswith("passed: lowest (3 of 5 points)\n")
    check("ends", {"lowest": min, "highest": max})
    assert capsys.readouterr().out == "ends: passed\n"


def test_an_outcome_that_was_kept_before_there_were_parts_is_read(tmp_path: Path) -> None:
    kept = Outcome("passed", exercise="ends", title="Both ends", points=5, max_points=5)
    old = {key: value for key, value in kept.as_json().items() if key != "parts"}
    assert Outcome.from_json(old) == kept


def test_an_outcome_with_parts_goes_through_json_unchanged(ends: Course) -> None:
    found = {key: value for key, value in report_of(ends).items() if key not in ("line", "exit")}
    assert len(found["parts"]) == 2 and Outcome.from_json(found).as_json() == found
