"""Tables of scores, as graders, spreadsheets and accidents leave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tito.course.module import Module
from tito.errors import TitoError
from tito.grading.reports.marking import scores
from tito.grading.reports.marking.marks import blind
from tito.grading.reports.marking.scores import Score

from .asked import ANSWERS, HEAD, marking, row

ANSWER = blind("overflow", "Never.")


def test_a_table_is_read_as_it_was_written(module: Module, tmp_path: Path) -> None:
    rubrics = marking(module, tmp_path).rubrics
    wanted = [
        Score("ada", "overflow", ANSWER, ("bound", "type"), 'see "int8", and\nthink'),
        Score("", "overflow", ANSWER, (), "="),
        Score("bo; b", "state", ANSWER, None, "why?"),
    ]
    path = tmp_path / scores.FOLDER / "all.csv"
    path.write_bytes(scores.table(wanted))
    assert [score for _, score in scores.read_file(path, rubrics)] == wanted


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_spreadsheet_may_part_cells_as_it_likes_and_keep_the_answers_beside(
    module: Module, tmp_path: Path, delimiter: str
) -> None:
    rubrics = marking(module, tmp_path).rubrics
    lines = [["Text", "grader", "question", "answer", "comment", "items"]]
    lines += [["Never.", "ada", "overflow", ANSWER, "", "type bound"], ["Its total.", "", "state", "x", "", ""]]
    path = tmp_path / scores.FOLDER / "all.csv"
    path.write_text("\ufeff" + "\r\n".join(map(delimiter.join, lines)) + "\r\n", encoding="utf-8", newline="")
    assert scores.read(tmp_path, rubrics) == [Score("ada", "overflow", ANSWER, ("bound", "type"))]


DAMAGED = {
    "no item of the rubric": (row("ada", "overflow", "Never.", "bond"), "no item 'bond' (the nearest is 'bound')"),
    "none and an item": (row("ada", "overflow", "Never.", "none bound"), "overflow has no item 'none'"),
    "an item of a question without": (row("ada", "state", "Its total.", "bound"), "it has none, or 'none'"),
    "no question": (row("ada", "overfull", "Never.", "bound"), "no question 'overfull' (the nearest is 'overflow')"),
    "no answer": ("ada,overflow,,bound,\n", "an answer is known by ten small letters, got ''"),
    "a cell too few": (f"ada,overflow,{ANSWER}\n", "wanted 5 cells, got 3"),
    "a cell too many": (f"ada,overflow,{ANSWER},bound,well, done\n", "wanted 5 cells, got 6"),
    "an open quote": (f'ada,overflow,{ANSWER},bound,"well\n', "is a quote left open?"),
    "an endless comment": (row("ada", "overflow", "Never.", "bound", "x" * 2001), "a comment 2000"),
    "an endless name": (row("a" * 61, "overflow", "Never.", "bound"), "up to 60 letters"),
    "a terminal's escape": (row("ada", "overflow", "Never.", "\x1b[31m"), "no item '␛[31m'"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_table_is_one_sentence_with_its_line(module: Module, tmp_path: Path, damage: str) -> None:
    rows, sentence = DAMAGED[damage]
    with pytest.raises(TitoError) as error:
        marking(module, tmp_path, row("bo", "overflow", "Never.", "type") + rows)
    assert sentence in str(error.value) and "\n" not in str(error.value)
    assert "all.csv, line 3:" in str(error.value)


def test_other_columns_and_other_encodings_are_refused_with_the_file(module: Module, tmp_path: Path) -> None:
    rubrics = marking(module, tmp_path).rubrics
    path = tmp_path / scores.FOLDER / "all.csv"
    for data, sentence in (
        (HEAD.replace("items", "points").encode(), "line 1: the columns must be grader,question,answer,items,comment"),
        (HEAD.encode("utf-16"), "is not UTF-8"),
        (b"", "line 1: the columns must be"),
        (b"\0" * 50, "all.csv, line 1"),
    ):
        path.write_bytes(data)
        with pytest.raises(TitoError) as error:
            scores.read(tmp_path, rubrics)
        assert sentence in str(error.value) and "all.csv" in str(error.value)


def test_the_same_score_twice_is_one_and_two_of_one_grader_are_refused_with_both_places(
    module: Module, tmp_path: Path
) -> None:
    first = row("ada", "overflow", "Never.", "bound")
    found = marking(module, tmp_path, first)
    (tmp_path / scores.FOLDER / "all (1).csv").write_text(HEAD + first, encoding="utf-8")
    assert marking(module, tmp_path, first).scores == found.scores
    (tmp_path / scores.FOLDER / "all (1).csv").write_text(HEAD + row("ada", "overflow", "Never.", "type"))
    with pytest.raises(TitoError, match=r"all.csv, line 2: ada has another score .* in .*all \(1\).csv, line 2"):
        marking(module, tmp_path, first)


def test_scores_of_answers_that_are_gone_warn_and_stop_nothing(module: Module, tmp_path: Path) -> None:
    rows = row("ada", "overflow", "What nobody says now.", "bound") + row("ada", "overflow", "Never.", "bound")
    found = marking(module, tmp_path, rows).additions
    assert [a.submission for a in found.adjustments] == ["joe"]
    gone = blind("overflow", "What nobody says now.")
    assert found.warnings == (f"scores: 1 score is of answers that nobody hands in now, {gone} the first",)


def test_an_answer_that_changed_is_marked_again(module: Module, tmp_path: Path) -> None:
    rows = row("ada", "overflow", "Never.", "bound")
    (mark, _) = marking(module, tmp_path, rows, ANSWERS | {"joe": {"overflow": "Never!"}}).of("joe")
    assert mark.state == "not marked yet" and not mark.points
