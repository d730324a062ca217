"""The reports of a made-up class: right, whole, the same bytes each time, and harmless whatever strangers wrote."""

from __future__ import annotations

import base64
import csv
import doctest
import hashlib
import io
import json
import re
import shutil
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from tito.course import load
from tito.errors import TitoError
from tito.grading import adjustments, figures, gradebooks, reports, sidebyside, strangers
from tito.grading.grade import Grade
from tito.grading.similarity import Pair
from tito.testing import Outcome

ABOUT = {"seed": 7, "limit_seconds": 120.0, "tests_and_notebooks": "3f2a", "unsafe": False}
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>{{ 7 * 7 }}{% raw %}",
    "=cmd|' /C calc'!A0",
    "+1", "-1", "@SUM(1)", "\t=1", "\r=1", " =1", "\uff1d1", "a;=1+1", "'=1", '"=1"',
    "../../x", "..", ".", "C:\\x", "a/b", "a:b", ".hidden", "x.", "x ",
    "CON", "con", "nul.txt", "COM1", "lpt9.x", "COM\N{SUPERSCRIPT ONE}",
    "x" * 300, "\N{CJK UNIFIED IDEOGRAPH-738B}" * 120, "a" + "\N{COMBINING ACUTE ACCENT}" * 200,
    "\N{SLIGHTLY SMILING FACE}", "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}",
    "exe\N{RIGHT-TO-LEFT OVERRIDE}gpj", "\x1b]0;owned\x07\x1b[31m", "nul\x00byte", "line\u2028two", "two\nlines",
    "\ud800", "jane", "JANE", "Jane", "stra\N{LATIN SMALL LETTER SHARP S}e", "strasse",
    "Am\N{LATIN SMALL LETTER E WITH ACUTE}lie", "Ame\N{COMBINING ACUTE ACCENT}lie", "\N{LATIN SMALL LIGATURE FI}n",
    "fin", "x-d6b96a97d147", "curiemarie_47110", "",
]  # fmt: skip
BAD = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


@pytest.fixture
def module(course):
    return load(course.project, "01_toy")


def outcome(exercise, status, message=""):
    earned = exercise.points if status == "passed" else 0
    return Outcome(exercise.id, exercise.title, earned, exercise.points, status, message)


def grade(module, name, *stories, remarks=(), seconds=1.0):
    """A story for each exercise: `passed`, or a status and a message."""
    told = [(story, "") if isinstance(story, str) else story for story in stories]
    done = zip(module.exercises, [*told, *[("passed", "")] * len(module.exercises)], strict=False)
    return Grade(name, tuple(outcome(e, *story) for e, story in done), "graded", seconds, remarks)


def refused(module, name, why="it is no archive"):
    return Grade(name, tuple(outcome(e, "failed", why) for e in module.exercises), "refused", 0.0, (why,))


def machinery(name):
    return Grade(name, (), "machinery", 0.0, ("the box did not start",))


def slip(claim, told="wanted 2, got 3"):
    return ("failed", f"{claim}:\n{told}\ntoy_dev.py:12: return x")


def hostile(module):
    """Every text that a stranger could have written is hostile, in every role."""
    made = []
    for place, text in enumerate(HOSTILE):
        told = ("failed", f"{text}:\n{text}") if place % 2 else ("failed", text * 3)
        made.append([grade(module, text, told, remarks=(text,)), refused(module, text, text)][place % 5 == 0])
    return made


def hostile_pairs():
    names = sorted(set(HOSTILE))
    texts = [f"# {text}\nx = '{text}'\n" * 3 for text in names]
    couples = zip(names, names[1:], texts, texts[1:], strict=False)
    return [Pair(a, b, "double", 0.9, left, right, (((2, 9), (3, 12)),)) for a, b, left, right in couples]


def written(out, module, grades, similar=(), about=ABOUT):
    reports.write(out, module, grades, similar, about)
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def rows(data, encoding="utf-8-sig"):
    return list(csv.reader(io.StringIO(data.decode(encoding), newline="")))


class Page(HTMLParser):
    """A page as a browser reads it: its tags with their attributes, and its text."""

    def __init__(self, data):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(data.decode("utf-8"))
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.text += " "

    def handle_data(self, data):
        self.text += data if self.tags and self.tags[-1][0] != "style" else ""

    def all(self, *names):
        return [attrs for tag, attrs in self.tags if tag in names]


def pages(files):
    return {name: Page(data) for name, data in files.items() if name.endswith(".html")}


# What is in them


def test_grades_csv_has_the_documented_columns_and_a_row_a_submission(tmp_path, module):
    files = written(tmp_path, module, [grade(module, "joe", slip("two is doubled")), grade(module, "jane")])
    head, jane, joe = rows(files["grades.csv"])
    ids = [exercise.id for exercise in module.exercises]
    assert head == ["submission", "points", "of", "status", *ids, "message", "adjustment", "reason"]
    full = [str(exercise.points) for exercise in module.exercises]
    assert jane == ["jane", str(module.points), str(module.points), "graded", *full, "", "", ""]
    assert joe[0] == "joe" and joe[4] == "0" and joe[5:-3] == full[1:]
    assert joe[-3] == f"{ids[0]}: two is doubled: wanted 2, got 3 toy_dev.py:12: return x", (
        "one line, whatever was told"
    )


def test_excel_reads_the_names_as_utf_8(tmp_path, module):
    assert written(tmp_path, module, [grade(module, "Zoë")])["grades.csv"].startswith(b"\xef\xbb\xbfsubmission,")


def test_a_failure_of_the_machinery_is_nowhere_a_zero(tmp_path, module):
    files = written(tmp_path, module, [machinery("joe"), grade(module, "jane")])
    joe = rows(files["grades.csv"])[2]
    assert joe[0] == "joe" and joe[3] == "machinery" and set(joe[4:-3]) | {joe[1]} == {""}, joe
    assert "joe" not in files["canvas.csv"].decode(), "an empty cell in Canvas erases the grade that it holds"
    assert "gradescope/joe.json" not in files
    index, page = Page(files["index.html"]), Page(files["students/joe.html"])
    assert "Graded 1 of 2" in index.text and "Mean" in index.text
    assert f"{module.points}.0 points" in index.text, "the mean must be that of the graded"
    assert "The grader itself failed" in index.text and "the box did not start" in index.text
    assert "Not graded yet" in page.text and " 0 of" not in page.text
    assert "box" not in page.text, "what failed is the instructor's business"


def test_a_refused_submission_counts_zero_and_says_why(tmp_path, module):
    files = written(tmp_path, module, [refused(module, "joe"), grade(module, "jane")])
    joe = rows(files["grades.csv"])[2]
    assert (joe[1], joe[3], joe[-3]) == ("0", "refused", "it is no archive")
    for name in ("index.html", "students/joe.html"):
        assert "it is no archive" in Page(files[name]).text
    assert json.loads(files["gradescope/joe.json"])["score"] == 0
    assert "Graded 1 of 2" in Page(files["index.html"]).text


def test_an_adjustment_counts_everywhere_and_its_reason_is_told(tmp_path, module):
    text = f"submission,exercise,points,reason\njane,{module.exercises[0].id},0.5,fine <tests>\n"
    (tmp_path / adjustments.FILE).write_text(text, encoding="utf-8")
    files = written(tmp_path, module, [grade(module, "jane", slip("two is doubled"))])
    earned = module.points - module.exercises[0].points
    jane = rows(files["grades.csv"])[1]
    assert (jane[1], jane[4]) == (f"{earned}.5", "0"), "the points as adjusted, the exercises as tested"
    assert jane[-2:] == ["0.5", f"{module.exercises[0].id}: fine <tests>"]
    assert rows(files["canvas.csv"], "utf-8")[2][-1] == f"{earned}.5"
    given = json.loads(files["gradescope/jane.json"])
    assert given["score"] == earned + 0.5 and "fine <tests>" in given["output"]
    for name in ("index.html", "students/jane.html"):
        assert "+0.5 points: fine <tests>" in Page(files[name]).text


def test_a_student_s_page_teaches_and_names_nobody_else(tmp_path, module):
    told = slip("two is doubled")
    joe = grade(module, "joe", told, remarks=("code outside of exercises is not graded",))
    page = Page(written(tmp_path, module, [joe, grade(module, "jane")])["students/joe.html"])
    for part in ("two is doubled", "wanted 2, got 3", "toy_dev.py:12: return x", "✕ failed", "✓ passed"):
        assert part in page.text, f"expected {part!r} in: {page.text}"
    assert "code outside of exercises is not graded" in page.text and "seed 7" in page.text
    assert "jane" not in page.text
    assert all(link["href"].startswith("#") for link in page.all("a")), "the page is given away: no link may leave it"


@pytest.mark.parametrize("status", ["passed", "failed", "timeout", "not started"])
def test_every_status_is_told_in_words_and_not_by_colour_alone(tmp_path, module, status):
    message = "" if status == "passed" else "a claim:\nsomething"
    stories = [(status, message)] * len(module.exercises)
    page = Page(written(tmp_path, module, [grade(module, "jane", *stories)])["students/jane.html"])
    word = "out of time" if status == "timeout" else status
    assert page.text.count(word) >= len(module.exercises) + 1, f"every exercise and the summary say {word}"


def test_without_a_box_a_red_band_says_so(tmp_path, module):
    plain = written(tmp_path, module, [grade(module, "jane")])["index.html"]
    marked = written(tmp_path, module, [grade(module, "jane")], about=ABOUT | {"unsafe": True})["index.html"]
    assert b'class="band"' not in plain and b'class="band"' in marked
    assert "--unsafe" in Page(marked).text


def test_the_class_page_s_foot_says_how_was_graded(tmp_path, module):
    text = Page(written(tmp_path, module, [grade(module, "jane")])["index.html"]).text
    assert "seed: 7" in text and "limit seconds: 120.0" in text and "tests and notebooks: 3f2a" in text


def test_the_hardest_exercise_stands_first_and_where_people_stop_is_counted(module):
    first, second = module.exercises
    grades = [grade(module, "a", "passed", slip("x")), grade(module, "b", slip("x"), slip("y")), grade(module, "c")]
    found = figures.tallies(module, [*grades, machinery("d"), refused(module, "e")])
    assert [(tally.exercise.id, tally.counts["passed"], tally.total, tally.stopped) for tally in found] == [
        (second.id, 1, 3, 1),
        (first.id, 2, 3, 1),
    ]


def test_slips_that_several_share_are_counted_under_their_claim(module):
    grades = [grade(module, name, slip("two is doubled", told)) for name, told in zip("abc", "xyx", strict=True)]
    grades.append(grade(module, "d", slip("zero stays"), ("not started", "needs double first")))
    ((exercise, (common,)),) = figures.slips(module, grades)
    assert (exercise.id, common.claim, common.told, common.count) == (module.exercises[0].id, "two is doubled", "x", 3)


def test_bars_hold_every_graded_submission_once(tmp_path, module):
    stories = [[], [slip("x")], [slip("x"), slip("y")]]
    grades = [grade(module, f"s{number}", *stories[number % 3]) for number in range(30)]
    standings = adjustments.standings(tmp_path, module, grades)
    spread = figures.spread(standings, module.points)
    assert sum(spread.bars) == 30 and spread.bars[0] == 10 and spread.bars[-1] >= 10 and spread.full == 10
    assert figures.spread([], module.points) is None


def test_a_share_is_whole_only_where_nothing_is_missing():
    assert [figures.percent(part, 1000) for part in (0, 1, 500, 999, 1000)] == [0, 1, 50, 99, 100]


def test_a_batch_in_which_nobody_could_be_graded_has_reports_too(tmp_path, module):
    for grades in ([], [machinery("joe")], [refused(module, "joe")]):
        files = written(tmp_path, module, grades)
        assert len(rows(files["grades.csv"])) == 1 + len(grades)
        assert "Median" not in Page(files["index.html"]).text


def test_one_exercise_graded_alone_is_another_assignment_in_canvas(tmp_path, module):
    part = Grade("jane", (outcome(module.exercises[1], "passed"),), "graded", 1.0)
    files = written(tmp_path, module, [part, refused(module, "joe")])
    name, points = (row[-1] for row in rows(files["canvas.csv"], "utf-8")[:2])
    assert name == f"{module.title}: {module.exercises[1].id}", "or the import would overwrite the whole module's grade"
    assert points == str(module.exercises[1].points)


# Side by side


def test_people_who_are_alike_are_shown_side_by_side_and_not_judged(tmp_path, module):
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
    links = [unquote(a["href"]) for a in index.all("a") if a["href"].startswith("similar/")]
    assert links == ["similar/jane & joe.html", "similar/ann & joe.html"], "alike in more exercises stands first"
    assert "Worth a look" in index.text and "99 %" in index.text and "no finding" in index.text
    for part in ("jane", "joe", "return 2 * a", "return 2 * b", "99 % alike", "62 % alike", "no finding"):
        assert part in page.text, f"expected {part!r} in: {page.text}"
    assert b"<mark>:\n    return 2 *</mark> a" in files["similar/jane & joe.html"]
    for name in ("jane", "joe"):
        assert "alike" not in Page(files[f"students/{name}.html"]).text, "students are not told"
    for text in (index.text, page.text):
        assert not re.search(r"plagiar|cheat|copied|suspicio", text, re.IGNORECASE)


def test_a_pair_that_is_no_more_takes_its_page_along(tmp_path, module):
    grades = [grade(module, name) for name in ("jane", "joe")]
    written(tmp_path, module, grades, [Pair("jane", "joe", "double", 1.0, "x", "x")])
    assert not [name for name in written(tmp_path, module, grades) if name.startswith("similar/")]


def test_marked_parts_hold_the_whole_text_whatever_the_spans():
    text = "y = a + b\nreturn y\n"
    for spans in ([], [(0, 99)], [(4, 6), (5, 9)], [(4, 6), (4, 6)], [(10, 12), (0, 3), (3, 5)], [(5, 5)], [(50, 60)]):
        parts = sidebyside.parts(text, spans)
        assert "".join(part for part, _ in parts) == text, spans
        marked = [letter for part, same in parts for letter in [same] * len(part)]
        assert marked == [any(start <= at < end for start, end in spans) for at in range(len(text))], spans


def test_an_endless_solution_is_cut_and_says_so():
    cut = sidebyside.parts("x" * 30_000, [(0, 5), (19_990, 25_000)])
    assert "".join(part for part, _ in cut) == "x" * 20_000 + "\n… (10000 more characters)"


# Other programs' formats


def test_canvas_csv_is_what_canvas_imports(tmp_path, module):
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
def test_a_number_that_may_be_something_else_is_no_canvas_id(name):
    assert gradebooks.canvas_student(name) == (name, ""), "somebody else may have this id, and would get the points"


def test_gradescope_json_is_what_gradescope_reads(tmp_path, module):
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


def test_the_same_grades_make_the_same_bytes_in_any_order(tmp_path, module):
    grades = [*hostile(module), machinery("zed")]
    one = written(tmp_path / "one", module, grades, hostile_pairs())
    two = written(tmp_path / "two", module, grades[::-1], hostile_pairs()[::-1])
    assert one == two


def test_a_file_that_did_not_change_is_not_written_again(tmp_path, module):
    written(tmp_path, module, [grade(module, "jane"), grade(module, "joe")])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.html")}
    written(tmp_path, module, [grade(module, "jane"), grade(module, "joe", slip("x"))])
    changed = {path.name for path, stamp in before.items() if path.stat().st_mtime_ns != stamp}
    assert changed == {"index.html", "joe.html"}


def test_where_one_report_cannot_be_written_none_is(tmp_path, module):
    before = written(tmp_path, module, [grade(module, "jane")])
    shutil.rmtree(tmp_path / "gradescope")
    (tmp_path / "gradescope").write_text("in the way", encoding="utf-8")
    with pytest.raises(TitoError, match=r"jane\.json could not be written"):
        reports.write(tmp_path, module, [grade(module, "jane", slip("x")), grade(module, "joe")], [], ABOUT)
    before = {name: data for name, data in before.items() if not name.startswith("gradescope/")}
    before["gradescope"] = b"in the way"
    after = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert after == before


def test_a_wrong_adjustment_leaves_the_old_reports_as_they_were(tmp_path, module):
    before = written(tmp_path, module, [grade(module, "jane")])
    (tmp_path / adjustments.FILE).write_text("submission,exercise,points,reason\nnobody,,1,x\n", encoding="utf-8")
    with pytest.raises(TitoError, match="nobody"):
        reports.write(tmp_path, module, [grade(module, "jane", slip("x"))], [], ABOUT)
    assert (tmp_path / "grades.csv").read_bytes() == before["grades.csv"]


def test_pages_of_people_who_left_go_and_other_people_s_files_stay(tmp_path, module):
    written(tmp_path, module, [grade(module, "jane"), grade(module, "joe")])
    mine = tmp_path / "students" / "mine.html"
    mine.write_text("<p>notes on tito grade</p>", encoding="utf-8")
    names = set(written(tmp_path, module, [grade(module, "jane")]))
    assert "students/joe.html" not in names and "gradescope/joe.json" not in names
    assert "students/jane.html" in names and mine.is_file()


# What strangers wrote


def test_no_name_leaves_the_folder_or_meets_another_s_file(tmp_path, module):
    names = sorted({*HOSTILE, "index", "students"})
    files = written(tmp_path, module, [grade(module, name) for name in names], hostile_pairs())
    made = [Path(name) for name in files if name.startswith(("students/", "similar/"))]
    assert len(made) == len(names) + len(hostile_pairs()) and all(len(path.parts) == 2 for path in made)
    folded = {unicodedata.normalize("NFKC", path.as_posix()).casefold() for path in made}
    assert len(folded) == len(made), "two pages are one file where case or composition is not kept"
    for path in made:
        assert not re.search(r'[<>:"/\\|?*\x00-\x1f]', path.name), f"Windows refuses {path.name!r}"
        assert path.stem.split(".")[0].strip().upper() not in strangers.DEVICES, f"Windows refuses {path.name!r}"
        assert path.stem == path.stem.strip() or not path.stem.strip().startswith(".")
        assert not path.name.startswith((".", "-", " ")) and len(path.name.encode()) <= 220
    index = Page(files["index.html"])
    linked = {unquote(link["href"]) for link in index.all("a") if not link["href"].startswith("#")}
    assert linked == {path.as_posix() for path in made}, "every link must find its page"


def test_plain_names_stay_readable_as_file_names():
    names = ["jane", "Curie, Marie", "Søren K.", "team_12", "李雷", "a@b.org"]
    assert strangers.file_names(names) == {name: name for name in names}


def test_nothing_that_a_stranger_wrote_becomes_a_tag_or_an_attribute(tmp_path, module):
    plain = [grade(module, f"s{n}", slip("x"), remarks=("y",)) for n in range(3)]
    alike = [Pair("s0", "s1", "double", 0.9, "a = 1", "b = 1", (((0, 5), (0, 5)),))]
    calm = pages(written(tmp_path / "calm", module, [*plain, refused(module, "r")], alike))
    wild = pages(written(tmp_path / "wild", module, hostile(module), hostile_pairs()))
    known = {(tag, name) for page in calm.values() for tag, attrs in page.tags for name in (*attrs, "")}
    known |= {("br", ""), ("p", "class"), ("span", "dir")}
    found = {(tag, name) for page in wild.values() for tag, attrs in page.tags for name in (*attrs, "")}
    assert found <= known, f"new on the pages: {found - known}"
    links = {attrs["href"] for page in wild.values() for attrs in page.all("a")}
    assert all(re.match(r"#|students/|similar/|\.\./index\.html#similar$", link) for link in links)


def test_what_would_not_be_seen_is_made_visible_everywhere(tmp_path, module):
    for name, data in written(tmp_path, module, hostile(module), hostile_pairs()).items():
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        found = BAD.search(text)
        assert not found, f"{name} holds {found[0]!r} in {text[max(found.start() - 40, 0) : found.end() + 40]!r}"


def test_no_cell_of_a_table_is_a_formula(tmp_path, module):
    files = written(tmp_path, module, hostile(module))
    tables = {"grades.csv": rows(files["grades.csv"]), "canvas.csv": rows(files["canvas.csv"], "utf-8")}
    for name, table in tables.items():
        assert len({len(row) for row in table}) == 1, f"{name}: a text has broken a row"
        for cell in (cell for row in table for cell in row):
            assert not re.match(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]", cell), f"{name}: {cell!r} is a formula"
            assert not re.search(r";\s*[=+\-@]", cell), f"{name}: {cell!r} is one where semicolons part the cells"
    assert len(tables["grades.csv"]) == 1 + len(HOSTILE)


def test_our_own_negative_numbers_stay_numbers(tmp_path, module):
    (tmp_path / adjustments.FILE).write_text("submission,exercise,points,reason\njane,,-1.50,-late\n", encoding="utf-8")
    jane = rows(written(tmp_path, module, [grade(module, "jane")])["grades.csv"])[1]
    assert jane[-2:] == ["-1.5", "'-late"]


def test_endless_messages_are_cut_and_say_so(tmp_path, module):
    endless = "claim:\n" + "\n".join("y" * 100_000 for _ in range(500))
    files = written(tmp_path, module, [grade(module, name, ("failed", endless)) for name in ("a", "b")])
    assert max(map(len, files.values())) < 40_000
    assert (
        "more characters" in Page(files["students/a.html"]).text and "more lines" in Page(files["students/a.html"]).text
    )


def test_accents_cannot_pile_up_over_other_lines():
    piled = strangers.shown("e" + "\N{COMBINING ACUTE ACCENT}" * 50)
    assert piled.count("\N{COMBINING ACUTE ACCENT}") == strangers.STACKED
    assert strangers.shown("Việt Nam, Ångström, हिन्दी") == "Việt Nam, Ångström, हिन्दी"


# The pages as documents


@pytest.fixture
def documents(tmp_path, module):
    (tmp_path / adjustments.FILE).write_text("submission,exercise,points,reason\njane,,1,why\n", encoding="utf-8")
    grades = [grade(module, "jane", slip("x")), grade(module, "joe", slip("x")), refused(module, "r"), machinery("m")]
    alike = [Pair("jane", "joe", "double", 0.9, "a = 1", "b = 1", (((0, 5), (0, 5)),))]
    files = written(tmp_path, module, grades, alike, about=ABOUT | {"unsafe": True})
    return {name: data for name, data in files.items() if name.endswith(".html")}


def test_a_page_needs_nothing_from_elsewhere_and_runs_nothing(documents):
    for name, page in pages(documents).items():
        assert not page.all("script", "link", "img", "iframe", "object", "embed", "form", "base"), name
        for tag, attrs in page.tags:
            assert not any(key.startswith("on") or key in ("style", "src") for key in attrs), (name, tag, attrs)
        assert "http" not in "".join(str(attrs) for attrs in page.all("a", "svg", "rect")), name


def test_the_policy_forbids_everything_but_our_own_style(documents):
    for name, data in documents.items():
        policy = next(m["content"] for m in Page(data).all("meta") if m.get("http-equiv") == "Content-Security-Policy")
        style = re.search(rb"<style>(.*?)</style>", data, re.DOTALL)[1]
        wanted = base64.b64encode(hashlib.sha256(style).digest()).decode()
        assert policy == f"default-src 'none'; style-src 'sha256-{wanted}'; base-uri 'none'; form-action 'none'", name


def test_pages_are_made_for_phones_screen_readers_and_printers(documents):
    for name, page in pages(documents).items():
        assert page.all("html") == [{"lang": "en"}], name
        assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta"), name
        assert (
            len(page.all("h1"))
            == len(page.all("main"))
            == len(page.all("title")) - len(page.all("svg", "none")[:0]) - (name == "index.html")
        ), name
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
        assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False)), (name, levels)
        assert all("scope" in attrs for attrs in page.all("th")), name
        for svg in page.all("svg"):
            assert svg.get("aria-hidden") == "true" or (svg.get("role") == "img" and "aria-labelledby" in svg), name
        ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
        assert len(ids) == len(set(ids)), name
        assert {link["href"][1:] for link in page.all("a") if link["href"].startswith("#")} <= set(ids), name
    style = next(iter(documents.values())).decode()
    assert "@media (prefers-color-scheme: dark)" in style and "@media print" in style


def luminance(colour):
    digits = colour if len(colour) == 6 else "".join(digit * 2 for digit in colour)
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_text_colour_has_the_contrast_that_wcag_asks_for_in_light_dark_and_print(documents):
    style = documents["index.html"].decode()
    schemes = [
        dict(re.findall(r"--([\w-]+): #(\w+);", block)) for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    assert len(schemes) == 3
    for scheme in schemes:
        colours = schemes[0] | scheme
        pairs = [
            (ink, ground)
            for ink in ("ink", "soft", "link", "passed", "failed", "timeout", "idle")
            for ground in ("page", "tint")
        ]
        for ink, ground in [*pairs, ("on-band", "band"), ("ink", "mark")]:
            light, dark = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{ink} #{colours[ink]} on {ground} #{colours[ground]}"


def test_a_class_of_300_weighs_little(tmp_path, module):
    grades = [grade(module, f"student {n:03}", slip(f"claim {n % 7}")) for n in range(300)]
    files = reports.render(module, adjustments.standings(tmp_path, module, grades), [], ABOUT)
    assert len(files["index.html"]) < 150_000, "the class page"
    assert max(len(data) for name, data in files.items() if name.startswith("students/")) < 15_000, "a student's page"


@pytest.mark.parametrize("part", [strangers, adjustments, gradebooks, sidebyside], ids=lambda part: part.__name__)
def test_the_examples_in_the_docstrings_run(part):
    result = doctest.testmod(part)
    assert result.attempted and not result.failed


def test_the_templates_are_in_the_package():
    table = Path(reports.__file__).parents[2] / "pyproject.toml"
    assert '"grading/templates/*"' in table.read_text(encoding="utf-8"), "a wheel would lack them"
