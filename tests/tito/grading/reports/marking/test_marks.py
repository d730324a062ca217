"""From graders' scores to points: one grader, two who agree, two who do not, and what was agreed on."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from tito.course.module import Module
from tito.grading.reports.marking.marks import Mark, blind

from .asked import ANSWERS, marking, row


def of(module: Module, out: Path, rows: str, name: str = "joe") -> Mark:
    return marking(module, out, rows).of(name)[0]


def test_one_grader_s_score_counts_with_its_comment(module: Module, tmp_path: Path) -> None:
    mark = of(module, tmp_path, row("ada", "overflow", "Never.", "bound wrong", "Why?"))
    assert (mark.state, mark.points, mark.comments) == ("marked", Decimal(1), ("Why?",))
    assert mark.reason == "Too large: 1 of 3: the bound, claims what is not so"


def test_the_same_words_are_marked_once_whoever_wrote_them(module: Module, tmp_path: Path) -> None:
    found = marking(module, tmp_path, row("ada", "overflow", "Above 63.", "bound"))
    assert found.texts("overflow") == {
        blind("overflow", "Above 63."): ("Above 63.", 2),
        blind("overflow", "Never."): ("Never.", 1),
    }
    assert [(a.submission, a.exercise, a.points) for a in found.additions.adjustments] == [
        ("jane", "overflow", Decimal(2)),
        ("kim", "overflow", Decimal(2)),
    ]


def test_two_who_give_the_same_points_agree_and_both_comments_are_read(module: Module, tmp_path: Path) -> None:
    rows = row("bo", "overflow", "Never.", "bound", "Short.") + row("ada", "overflow", "Never.", "bound", "Right.")
    mark = of(module, tmp_path, rows)
    assert (mark.state, mark.points, mark.comments) == ("marked", Decimal(2), ("Right.", "Short."))


def test_two_who_differ_give_nothing_until_they_agree(module: Module, tmp_path: Path) -> None:
    rows = row("bo", "overflow", "Never.", "bound", "Good.") + row("ada", "overflow", "Never.", "type", "Bad.")
    found = marking(module, tmp_path, rows)
    mark = found.of("joe")[0]
    assert (mark.state, mark.points, mark.comments) == ("not agreed yet", Decimal(0), ())
    assert found.additions.adjustments == ()
    assert found.additions.warnings == (
        "scores: graders differ on 1 answer, which earns nothing yet; see questions/index.html",
    )
    (given,) = found.disagreements("overflow").values()
    assert {score.grader: score.items for score in given} == {"ada": ("type",), "bo": ("bound",)}
    agreed = marking(module, tmp_path, rows + row("", "overflow", "Never.", "type", "See page 3."))
    mark = agreed.of("joe")[0]
    assert (mark.state, mark.points, mark.comments) == ("marked", Decimal("1.5"), ("See page 3.",))
    assert not agreed.disagreements("overflow") and not agreed.additions.warnings


def test_nothing_found_is_a_score_of_0_and_a_comment_alone_is_none(module: Module, tmp_path: Path) -> None:
    mark = of(module, tmp_path, row("ada", "overflow", "Never.", "none", "Think again."))
    assert (mark.state, mark.points, mark.reason) == ("marked", Decimal(0), "Too large: 0 of 3")
    mark = of(module, tmp_path, row("ada", "overflow", "Never.", "", "Think again."))
    assert (mark.state, mark.comments) == ("not marked yet", ("Think again.",))


def test_who_did_not_answer_has_no_points_whatever_is_scored(module: Module, tmp_path: Path) -> None:
    assert of(module, tmp_path, row("ada", "overflow", "", "bound"), "lee").state == "not answered"


def test_a_question_without_points_is_read_and_adjusts_nothing(module: Module, tmp_path: Path) -> None:
    found = marking(module, tmp_path, row("ada", "state", "Its total.", "none", "Yes."))
    mark = found.of("jane")[1]
    assert (mark.state, mark.comments) == ("marked", ("Yes.",)) and found.additions.adjustments == ()


def test_agreement_counts_the_answers_that_both_have_marked(module: Module, tmp_path: Path) -> None:
    answers = {str(n): {"overflow": f"Answer {n}."} for n in range(6)}
    ada = ["bound", "bound", "type", "none", "bound type", "bound"]
    bo = ["bound", "type", "type", "none", "bound type wrong", ""]
    rows = "".join(row("ada", "overflow", f"Answer {n}.", items) for n, items in enumerate(ada))
    rows += "".join(row("bo", "overflow", f"Answer {n}.", items) for n, items in enumerate(bo))
    rows += row("", "overflow", "Answer 1.", "bound") + row("ada", "overflow", "Gone.", "bound")
    (pair,) = marking(module, tmp_path, rows, answers).agreements("overflow")
    # points: ada 2 2 1.5 0 3, bo 2 1.5 1.5 0 2.5; the same 3 of 5; by chance (2*1 + 1*2 + 1*1 + 1*0) / 25
    assert (pair.first, pair.second, pair.answers, pair.same) == ("ada", "bo", 5, 3)
    assert pair.kappa is not None and abs(pair.kappa - (3 / 5 - 5 / 25) / (1 - 5 / 25)) < 1e-12
    assert ANSWERS.keys().isdisjoint(answers)
