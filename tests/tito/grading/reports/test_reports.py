"""The reports of a made-up class: what is in them, right, whole, and the same bytes each time."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest

from tito.course.module import Module
from tito.errors import TitoError
from tito.grading.grade import Grade
from tito.grading.reads import hash_of
from tito.grading.reports import adjustments, gradebooks, gradescope, side_by_side, statistics, writing
from tito.grading.reports.standing import Instructions
from tito.grading.similarity import Pair
from tito.testing.outcome import HIDDEN, Finding, outcome_of

from .reported import (
    ABOUT,
    UNSAFE,
    Page,
    grade,
    grades_of,
    hostile,
    hostile_pairs,
    machinery,
    outcome,
    refused,
    rows,
    slip,
    written,
)

LAST_COLUMNS = ("message", "adjustment", "reason", "late", "handed_in", "handed_in_by")

# What is in them


def test_grades_csv_has_the_documented_columns_and_a_row_a_submission(tmp_path: Path, module: Module) -> None:
    files = written(tmp_path, module, [grade(module, "joe", slip("two is doubled")), grade(module, "jane")])
    ids = [exercise.id for exercise in module.exercises]
    head = rows(files["grades.csv"])[0]
    assert head == ["submission", "points", "max_points", "status", *ids, *LAST_COLUMNS]
    jane, joe = grades_of(files).values()
    full = {exercise.id: str(exercise.points) for exercise in module.exercises}
    about = {"submission": "jane", "points": str(module.points), "max_points": str(module.points), "status": "graded"}
    assert jane == about | full | dict.fromkeys(LAST_COLUMNS, "")
    assert joe["submission"] == "joe" and {name: joe[name] for name in ids} == full | {ids[0]: "0"}
    assert joe["message"] == f"{ids[0]}: two is doubled: wanted 2, got 3 toy_dev.py:12: return x", (
        "one line, whatever was told"
    )


def test_excel_reads_the_names_as_utf_8(tmp_path: Path, module: Module) -> None:
    assert written(tmp_path, module, [grade(module, "Zoë")])["grades.csv"].startswith(b"\xef\xbb\xbfsubmission,")


def test_a_failure_of_the_machinery_is_nowhere_a_zero(tmp_path: Path, module: Module) -> None:
    files = written(tmp_path, module, [machinery("joe"), grade(module, "jane")])
    joe = grades_of(files)["joe"]
    empty = {joe[name] for name in ("points", *(exercise.id for exercise in module.exercises))}
    assert joe["status"] == "machinery" and empty == {""}, joe
    assert "joe" not in files["canvas.csv"].decode(), "an empty cell in Canvas erases the grade that it holds"
    assert "gradescope/joe.json" not in files
    index, page = Page(files["index.html"]), Page(files["students/joe.html"])
    assert "Graded 1 of 2" in index.text and "Mean" in index.text
    assert f"{module.points}.0 points" in index.text, "the mean must be that of the graded"
    assert "The grader itself failed" in index.text and "the sandbox did not start" in index.text
    assert "Not graded yet" in page.text and " 0 of" not in page.text
    assert "sandbox" not in page.text, "what failed is the instructor's business"


def test_a_refused_submission_counts_zero_and_says_why(tmp_path: Path, module: Module) -> None:
    files = written(tmp_path, module, [refused(module, "joe"), grade(module, "jane")])
    joe = grades_of(files)["joe"]
    assert (joe["points"], joe["status"], joe["message"]) == ("0", "refused", "it is no archive")
    for name in ("index.html", "students/joe.html"):
        assert "it is no archive" in Page(files[name]).text
    assert json.loads(files["gradescope/joe.json"])["score"] == 0
    assert "Graded 1 of 2" in Page(files["index.html"]).text


def test_an_adjustment_counts_everywhere_and_its_reason_is_told(tmp_path: Path, module: Module) -> None:
    text = f"submission,exercise,points,reason\njane,{module.exercises[0].id},0.5,fine <tests>\n"
    (tmp_path / adjustments.FILE).write_text(text, encoding="utf-8")
    files = written(tmp_path, module, [grade(module, "jane", slip("two is doubled"))])
    earned = module.points - module.exercises[0].points
    jane, first = grades_of(files)["jane"], module.exercises[0].id
    assert (jane["points"], jane[first]) == (f"{earned}.5", "0"), "the points as adjusted, the exercises as tested"
    assert (jane["adjustment"], jane["reason"]) == ("0.5", f"{first}: fine <tests>")
    assert rows(files["canvas.csv"], "utf-8")[2][-1] == f"{earned}.5"
    given = json.loads(files["gradescope/jane.json"])
    assert given["score"] == earned + 0.5 and "fine <tests>" in given["output"]
    for name in ("index.html", "students/jane.html"):
        assert "+0.5 points: fine <tests>" in Page(files[name]).text


def test_a_student_s_page_teaches_and_names_nobody_else(tmp_path: Path, module: Module) -> None:
    told = slip("two is doubled")
    joe = grade(module, "joe", told, remarks=("code outside of exercises is not graded",))
    page = Page(written(tmp_path, module, [joe, grade(module, "jane")])["students/joe.html"])
    for part in ("two is doubled", "wanted 2, got 3", "toy_dev.py:12: return x", "✕ failed", "✓ passed"):
        assert part in page.text, f"expected {part!r} in: {page.text}"
    assert "code outside of exercises is not graded" in page.text and "seed" not in page.text
    assert "jane" not in page.text
    assert all(link.startswith("#") for link in page.links), "the page is given away: no link may leave it"


@pytest.mark.parametrize("status", ["passed", "failed", "timeout", "not started"])
def test_every_status_is_told_in_words_and_not_by_colour_alone(tmp_path: Path, module: Module, status: str) -> None:
    story = (status,) if status == "passed" else (status, "a claim", "something")
    stories = [story] * len(module.exercises)
    page = Page(written(tmp_path, module, [grade(module, "jane", *stories)])["students/jane.html"])
    word = "out of time" if status == "timeout" else status
    assert page.text.count(word) >= len(module.exercises) + 1, f"every exercise and the summary say {word}"


def test_without_a_sandbox_a_red_band_says_so(tmp_path: Path, module: Module) -> None:
    plain = written(tmp_path, module, [grade(module, "jane")])["index.html"]
    marked = written(tmp_path, module, [grade(module, "jane")], about=UNSAFE)["index.html"]
    assert b'class="band"' not in plain and b'class="band"' in marked
    assert "--unsafe" in Page(marked).text


def test_the_class_page_s_foot_says_how_was_graded(tmp_path: Path, module: Module) -> None:
    text = Page(written(tmp_path, module, [grade(module, "jane")])["index.html"]).text
    assert (
        "seed: 7" in text
        and "limit seconds: 120.0" in text
        and f"grader: {hash_of(ABOUT.conditions.grader)[:12]}" in text
    )


def test_the_hardest_exercise_stands_first_and_where_people_stop_is_counted(module: Module) -> None:
    first, second = module.exercises
    grades = [grade(module, "a", "passed", slip("x")), grade(module, "b", slip("x"), slip("y")), grade(module, "c")]
    found = statistics.tallies(module, [*grades, machinery("d"), refused(module, "e")])
    assert [(tally.exercise.id, tally.counts["passed"], tally.total, tally.stopped) for tally in found] == [
        (second.id, 1, 3, 1),
        (first.id, 2, 3, 1),
    ]


def test_slips_that_several_share_are_counted_under_their_claim(module: Module) -> None:
    grades = [grade(module, name, slip("two is doubled", told)) for name, told in zip("abc", "xyx", strict=True)]
    grades.append(grade(module, "d", slip("zero stays"), ("not started", "", "needs double first")))
    grades += [refused(module, "e"), refused(module, "f")]  # made no slip
    ((exercise, (common,)),) = statistics.slips(module, grades)
    assert exercise.id == module.exercises[0].id
    assert (common.claim, common.message, common.count) == ("two is doubled", "x", 3)


def test_bars_hold_every_graded_submission_once(tmp_path: Path, module: Module) -> None:
    stories = [[], [slip("x")], [slip("x"), slip("y")]]
    grades = [grade(module, f"s{number}", *stories[number % 3]) for number in range(30)]
    standings = Instructions().standings(grades)
    spread = statistics.spread(standings, module.points)
    assert spread and sum(spread.bars) == 30 and spread.bars[0] == 10 and spread.bars[-1] >= 10 and spread.full == 10
    assert statistics.spread([], module.points) is None


def test_a_share_is_whole_only_where_nothing_is_missing() -> None:
    assert [statistics.percent(part, 1000) for part in (0, 1, 500, 999, 1000)] == [0, 1, 50, 99, 100]


def test_a_batch_in_which_nobody_could_be_graded_has_reports_too(tmp_path: Path, module: Module) -> None:
    for grades in ([], [machinery("joe")], [refused(module, "joe")]):
        files = written(tmp_path, module, grades)
        assert len(rows(files["grades.csv"])) == 1 + len(grades)
        assert "Median" not in Page(files["index.html"]).text


def test_one_exercise_graded_alone_is_another_assignment_in_canvas(tmp_path: Path, module: Module) -> None:
    part = Grade("jane", (outcome(module.exercises[1], "passed"),), "graded", 1.0)
    files = written(tmp_path, module, [part, refused(module, "joe")])
    name, points = (row[-1] for row in rows(files["canvas.csv"], "utf-8")[:2])
    assert name == f"{module.title}: {module.exercises[1].id}", "or the import would overwrite the whole module's grade"
    assert points == str(module.exercises[1].points)


# Side by side


def test_people_who_are_alike_are_shown_side_by_side_and_not_judged(tmp_path: Path, module: Module) -> None:
    first, second = (exercise.id for exercise in module.exercises)
    alike = [
        Pair(
            "jane",
            "joe",
            first,
            0.62,
            "def f(a):\n    return 2 * a\n",
            "def f(b):\n    return 2 * b\n",
            (((8, 24), (8, 24)),),
        ),
        Pair("jane", "joe", second, 0.999, "x = 1", "y = 1", (((0, 5), (0, 5)),)),
        Pair("ann", "joe", first, 1.0, "z = 1", "z = 1"),
    ]
    files = written(tmp_path, module, [grade(module, name) for name in ("ann", "jane", "joe")], alike)
    index, page = Page(files["index.html"]), Page(files["similar/jane & joe.html"])
    links = [unquote(link) for link in index.links if link.startswith("similar/")]
    assert links == ["similar/jane & joe.html", "similar/ann & joe.html"], "alike in more exercises stands first"
    assert "Worth a look" in index.text and "99 %" in index.text and "no finding" in index.text
    for part in ("jane", "joe", "return 2 * a", "return 2 * b", "99 % alike", "62 % alike", "no finding"):
        assert part in page.text, f"expected {part!r} in: {page.text}"
    assert b"    <mark>return 2 *</mark> a" in files["similar/jane & joe.html"]
    for name in ("jane", "joe"):
        assert "alike" not in Page(files[f"students/{name}.html"]).text, "students are not told"
    for text in (index.text, page.text):
        assert not re.search(r"plagiar|cheat|copied|suspicio", text, re.IGNORECASE)


def test_a_pair_that_is_no_more_takes_its_page_along(tmp_path: Path, module: Module) -> None:
    grades = [grade(module, name) for name in ("jane", "joe")]
    written(tmp_path, module, grades, [Pair("jane", "joe", "double", 1.0, "x", "x")])
    assert not [name for name in written(tmp_path, module, grades) if name.startswith("similar/")]


def test_marked_parts_hold_the_whole_text_whatever_the_spans() -> None:
    text = "y = a + b\nreturn y\n"
    for spans in ([], [(0, 99)], [(4, 6), (5, 9)], [(4, 6), (4, 6)], [(10, 12), (0, 3), (3, 5)], [(5, 5)], [(50, 60)]):
        parts = side_by_side.parts(text, spans)
        assert "".join(part for part, _ in parts) == text, spans
        marked = [letter for part, same in parts for letter in [same] * len(part)]
        assert marked == [any(start <= at < end for start, end in spans) for at in range(len(text))], spans


def test_an_endless_solution_is_cut_and_says_so() -> None:
    cut = side_by_side.parts("x" * 30_000, [(0, 5), (19_990, 25_000)])
    assert "".join(part for part, _ in cut) == "x" * 20_000 + "\n… (10000 more characters)"


# Other programs' formats


def test_canvas_csv_is_what_canvas_imports(tmp_path: Path, module: Module) -> None:
    names = ["curiemarie_47110", "Euler, Leonhard"]
    table = rows(written(tmp_path, module, [grade(module, name) for name in names])["canvas.csv"], "utf-8")
    of = str(module.points)
    assert table == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", module.title],
        ["Points Possible", "", "", "", "", of],
        ["Euler, Leonhard", "", "", "", "", of],
        ["curiemarie", "47110", "", "", "", of],
    ]


@pytest.mark.parametrize("name", ["team_12", "student_0042", "anon_12345", "4711", "_", "jane_47110~2"])
def test_a_number_that_may_be_something_else_is_no_canvas_id(name: str) -> None:
    assert gradebooks.canvas_student(name) == (name, ""), "somebody else may have this id, and would get the points"


def test_gradescope_json_is_what_gradescope_reads(tmp_path: Path, module: Module) -> None:
    told = grade(module, "jane", slip("two is doubled"), remarks=("a remark",))
    given = json.loads(written(tmp_path, module, [told])["gradescope/jane.json"])
    first, second = given["tests"]
    assert given["score"] == first["score"] + second["score"] == module.exercises[1].points
    assert given["stdout_visibility"] == "hidden" and given["visibility"] == "visible"
    assert "a remark" in given["output"] and "a claim" not in given["output"]
    assert {key: first[key] for key in ("score", "max_score", "status", "output_format")} == {
        "score": 0,
        "max_score": module.exercises[0].points,
        "status": "failed",
        "output_format": "text",
    }
    assert "wanted 2, got 3" in first["output"] and second["status"] == "passed"


# Written whole, the same bytes


def test_the_same_grades_make_the_same_bytes_in_any_order(tmp_path: Path, module: Module) -> None:
    grades = [*hostile(module), machinery("zed")]
    one = written(tmp_path / "one", module, grades, hostile_pairs())
    two = written(tmp_path / "two", module, grades[::-1], hostile_pairs()[::-1])
    assert one == two


def test_a_file_that_did_not_change_is_not_written_again(tmp_path: Path, module: Module) -> None:
    written(tmp_path, module, [grade(module, "jane"), grade(module, "joe")])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.html")}
    written(tmp_path, module, [grade(module, "jane"), grade(module, "joe", slip("x"))])
    changed = {path.name for path, stamp in before.items() if path.stat().st_mtime_ns != stamp}
    assert changed == {"index.html", "items.html", "joe.html"}


def test_where_one_report_cannot_be_written_none_is(tmp_path: Path, module: Module) -> None:
    before = written(tmp_path, module, [grade(module, "jane")])
    shutil.rmtree(tmp_path / "gradescope")
    (tmp_path / "gradescope").write_text("in the way", encoding="utf-8")
    with pytest.raises(TitoError, match=r"jane\.json could not be written"):
        writing.write(tmp_path, module, [grade(module, "jane", slip("x")), grade(module, "joe")], [], ABOUT)
    before = {name: data for name, data in before.items() if not name.startswith("gradescope/")}
    before["gradescope"] = b"in the way"
    after = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert after == before


def test_a_wrong_adjustment_leaves_the_old_reports_as_they_were(tmp_path: Path, module: Module) -> None:
    before = written(tmp_path, module, [grade(module, "jane")])
    (tmp_path / adjustments.FILE).write_text("submission,exercise,points,reason\njane,,one,x\n", encoding="utf-8")
    with pytest.raises(TitoError, match="'one'"):
        writing.write(tmp_path, module, [grade(module, "jane", slip("x"))], [], ABOUT)
    assert (tmp_path / "grades.csv").read_bytes() == before["grades.csv"]


def test_pages_of_people_who_left_go_and_other_people_s_files_stay(tmp_path: Path, module: Module) -> None:
    written(tmp_path, module, [grade(module, "jane"), grade(module, "joe")])
    mine = tmp_path / "students" / "mine.html"
    mine.write_text("<p>notes on tito grade</p>", encoding="utf-8")
    names = set(written(tmp_path, module, [grade(module, "jane")]))
    assert "students/joe.html" not in names and "gradescope/joe.json" not in names
    assert "students/jane.html" in names and mine.is_file()


# Points that are split


def in_parts(module: Module, name: str, *findings: Finding) -> Grade:
    """Of the toy course the exercise `counter` has two parts."""
    first, second = module.exercises
    return Grade(name, (outcome(first, "passed"), outcome_of(second, *findings)), "graded", 1.0)


HALF = (Finding("passed"), Finding("claim", "each has its own total", "wanted 1, got 2", "toy_dev.py:9: x"))
BOTH = (Finding("claim", "it adds up", "wanted 3, got 0"), Finding("hidden claim", "each has its own total", HIDDEN))


def test_parts_csv_tells_what_each_part_earned_lost_and_why(tmp_path: Path, module: Module) -> None:
    grades = [in_parts(module, "jane", *HALF), in_parts(module, "joe", *BOTH), machinery("m"), refused(module, "r")]
    head, *found = rows(written(tmp_path, module, grades)["parts.csv"])
    assert head == ["submission", "exercise", "part", "points", "max_points", "lost", "status", "claim", "message"]
    of = {name: [row[1:] for row in found if row[0] == name] for name in ("jane", "joe", "m", "r")}
    whole = ["double", "", "2", "2", "0", "passed", "", ""]
    own = ["failed", "each has its own total", "wanted 1, got 2 toy_dev.py:9: x"]
    assert of["jane"] == [
        whole,
        ["counter", "adds up", "2", "2", "0", "passed", "", ""],
        ["counter", "own total", "0", "1", "1", *own],
    ]
    assert [row[4] for row in of["joe"]] == ["0", "2", "1"] and of["joe"][1][6:] == ["it adds up", "wanted 3, got 0"]
    assert of["m"] == [], "who was not graded lost nothing"
    assert [row[2:5] for row in of["r"]] == [["0", "2", "2"], ["0", "2", "2"], ["0", "1", "1"]]
    for entry in grades[:2]:
        assert sum(int(row[2]) for row in of[entry.submission]) == entry.points


def test_each_part_that_fails_says_why_on_the_page_and_to_gradescope(tmp_path: Path, module: Module) -> None:
    files = written(tmp_path, module, [in_parts(module, "joe", *BOTH), in_parts(module, "jane", *HALF)])
    page = Page(files["students/joe.html"]).text
    for part in (
        "adds up ✕ failed 0 of 2",
        "it adds up Said by the test and by your code wanted 3, got 0",
        "own total ✕ failed 0 of 1",
    ):
        assert part in page, f"expected {part!r} in: {page}"
    assert "each has its own total a hidden test: it tries" in page, "our own words stand in nobody's frame"
    told = json.loads(files["gradescope/joe.json"])["tests"][1]
    assert (told["score"], told["max_score"]) == (0, 3)
    assert "adds up: it adds up:\nwanted 3, got 0" in told["output"]
    assert f"own total: {gradescope.HIDDEN_FAILED}" in told["output"] and "each has its own" not in told["output"]
    page = Page(files["students/jane.html"]).text
    assert "adds up ✓ passed 2 of 2" in page and "own total ✕ failed 0 of 1" in page and page.count("wanted 1") == 1
    assert json.loads(files["gradescope/jane.json"])["tests"][1]["score"] == 2


def test_what_holds_for_all_parts_is_told_once(tmp_path: Path, module: Module) -> None:
    broken = Finding("not loaded", "", "NameError: x")
    files = written(tmp_path, module, [in_parts(module, "joe", broken)])
    page = Page(files["students/joe.html"]).text
    assert page.count("NameError: x") == 1 and page.count("0 of 1") == page.count("0 of 2") == 1
    assert json.loads(files["gradescope/joe.json"])["tests"][1]["output"].count("NameError: x") == 1


def test_the_slip_of_a_second_part_is_counted_too(module: Module) -> None:
    grades = [in_parts(module, name, *BOTH) for name in ("jane", "joe")]
    ((_, common),) = statistics.slips(module, grades)
    assert [(slip.claim, slip.count) for slip in common] == [("each has its own total", 2), ("it adds up", 2)]
