"""Item analysis, against figures that NumPy and the textbook's formula give for the same class."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from tito.course.module import Exercise, Module, Part
from tito.grading.grade import Grade
from tito.grading.reports import items
from tito.grading.reports.items import FEWEST, FEWEST_EACH, Item
from tito.testing.outcome import Finding, Outcome, outcome_of

from .reported import grade, machinery, pages, refused, rows, slip, written

HINTS = ("a", "b", "c")
PASSED, FAILED = Finding("passed"), Finding("claim", "two is doubled", "wanted 2, got 3")
LATE = Finding("timeout", "it ends", "stopped after 30 seconds")
UNWRITTEN, BLOCKED = Finding("unwritten", "", "not started yet"), Finding("blocked", "", "needs double first")


@pytest.fixture
def four(module: Module) -> Module:
    """A module of four exercises, the last of two parts."""
    plain = [Exercise(name, name.title(), points, HINTS) for name, points in (("one", 1), ("two", 2), ("three", 4))]
    split = Exercise("split", "Split", 8, HINTS, (Part("left", 5), Part("right", 3)))
    return replace(module, notebooks=(replace(module.notebooks[0], exercises=(*plain, split)),))


def class_of(module: Module, count: int, seed: int = 0) -> list[Grade]:
    """People who are able to some degree, at exercises that are hard to some degree; some begin nothing."""
    dice, made = random.Random(seed), list[Grade]()
    for number in range(count):
        able, outcomes = dice.random(), list[Outcome]()
        for exercise in module.exercises:
            findings = [
                dice.choice([UNWRITTEN, BLOCKED, LATE]) if dice.random() < 0.2
                else PASSED if dice.random() < able else FAILED
                for _ in exercise.parts or [None]
            ]  # fmt: skip
            outcomes.append(outcome_of(exercise, *findings))
        made.append(Grade(f"s{number}", tuple(outcomes), "graded", 1.0))
    return made


def one(found: list[Item], exercise: str, part: str = "") -> Item:
    (item,) = (item for item in found if (item.exercise.id, item.part) == (exercise, part))
    return item


def seen(grades: list[Grade], exercise: str, part: str = "") -> tuple[list[int], list[int]]:
    """Right or not, and the points of all else, of those who began: counted from the outcomes as JSON."""
    right, rest = list[int](), list[int]()
    for entry in grades:
        told = entry.as_json()["outcomes"]
        total = sum(outcome["points"] for outcome in told)
        outcome = next(outcome for outcome in told if outcome["exercise"] == exercise)
        it = next(p for p in outcome["parts"] if p["name"] == part) if part else outcome
        if any(one["status"] != "not started" for one in it.get("parts") or [it]):
            right.append(int(it["status"] == "passed"))
            rest.append(total - it["points"])
    return right, rest


def point_biserial(right: list[int], rest: list[int]) -> float:
    """(mean of the right - mean of the wrong) / deviation of all * sqrt(share right * share wrong)."""
    n, ones = len(right), sum(right)
    mean = sum(rest) / n
    deviation = math.sqrt(sum((value - mean) ** 2 for value in rest) / n)
    above = sum(value for value, is_right in zip(rest, right, strict=True) if is_right) / ones
    below = sum(value for value, is_right in zip(rest, right, strict=True) if not is_right) / (n - ones)
    return (above - below) / deviation * math.sqrt(ones / n * (n - ones) / n)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("exercise", "part"),
    [("one", ""), ("two", ""), ("three", ""), ("split", ""), ("split", "left"), ("split", "right")],
)
def test_discrimination_is_numpys_correlation_and_the_textbook_s_formula(
    four: Module, exercise: str, part: str, seed: int
) -> None:
    grades = class_of(four, 80, seed)
    item = one(items.items(four, grades), exercise, part)
    right, rest = seen(grades, exercise, part)
    assert (item.began, item.right, item.submissions) == (len(right), sum(right), 80)
    assert item.discrimination == pytest.approx(float(np.corrcoef(right, rest)[0, 1]), abs=1e-12)
    assert item.discrimination == pytest.approx(point_biserial(right, rest), abs=1e-12)
    assert item.share == len([r for r in right if r]) / len(right)


def test_an_exercise_at_which_the_good_ones_fail_is_negative(four: Module) -> None:
    def told(first: Finding, others: Finding) -> list[Outcome]:
        return [outcome_of(four.exercises[0], first)] + [outcome_of(e, others) for e in four.exercises[1:]]

    stories = [told(FAILED, PASSED)] * 6 + [told(PASSED, FAILED)] * 6
    grades = [Grade(f"s{n}", tuple(outcomes), "graded", 1.0) for n, outcomes in enumerate(stories)]
    assert one(items.items(four, grades), "one").discrimination == pytest.approx(-1)


def test_who_did_not_begin_is_not_counted_as_wrong(module: Module) -> None:
    grades = [grade(module, f"a{n}") for n in range(7)] + [grade(module, f"b{n}", slip("x")) for n in range(5)]
    grades += [grade(module, f"c{n}", ("not started", "", "needs double first")) for n in range(20)]
    item = one(items.items(module, grades), module.exercises[0].id)
    assert (item.submissions, item.began, item.right) == (32, 12, 7) and item.share == 7 / 12


def test_who_began_one_part_began_the_exercise_and_one_part_out_of_time_counts(four: Module) -> None:
    stories = [(PASSED, UNWRITTEN), (FAILED, LATE), (UNWRITTEN, UNWRITTEN), (BLOCKED,)]
    grades = [Grade(f"s{n}", (outcome_of(four.exercises[3], *f),), "graded", 1.0) for n, f in enumerate(stories)]
    found = {part: one(items.items(four, grades), "split", part) for part in ("", "left", "right")}
    assert {part: (item.began, item.right, item.out_of_time) for part, item in found.items()} == {
        "": (2, 0, 1),
        "left": (2, 1, 0),
        "right": (1, 0, 1),
    }


def test_refused_and_ungraded_submissions_are_no_part_of_it(module: Module) -> None:
    grades = [grade(module, f"s{n}") for n in range(FEWEST)]
    plain = items.items(module, grades)
    assert items.items(module, [*grades, refused(module, "r"), machinery("m")]) == plain


@pytest.mark.parametrize(
    ("right", "wrong", "share", "why"),
    [
        (FEWEST - 1, 0, False, f"too few: {FEWEST - 1} began"),
        (0, 0, False, "too few: 0 began"),
        (4, 4, False, "too few: 8 began"),
        (FEWEST, 0, True, f"too few: {FEWEST} right, 0 wrong"),
        (20, FEWEST_EACH - 1, True, f"too few: 20 right, {FEWEST_EACH - 1} wrong"),
        (FEWEST_EACH - 1, 20, True, f"too few: {FEWEST_EACH - 1} right, 20 wrong"),
    ],
)
def test_too_few_have_no_figure_and_the_number_is_told(
    tmp_path: Path, module: Module, right: int, wrong: int, share: bool, why: str
) -> None:
    first = module.exercises[0].id
    grades = [grade(module, f"r{n}") for n in range(right)] + [grade(module, f"w{n}", slip("x")) for n in range(wrong)]
    grades += [grade(module, f"n{n}", ("not started", "", "")) for n in range(3)]
    item = one(items.items(module, grades), first)
    assert item.discrimination is None and item.why_none == why and (item.share is not None) == share
    files = written(tmp_path, module, grades)
    assert why in pages(files)["items.html"].text
    row = next(dict(zip(rows(files["items.csv"])[0], row, strict=True)) for row in rows(files["items.csv"])[1:])
    assert (row["exercise"], row["discrimination"], row["note"]) == (first, "", why)
    assert bool(row["share_right"]) == share and row["began"] == str(right + wrong)


def test_of_too_few_no_correlation_is_told_though_there_is_one(four: Module) -> None:
    grades = class_of(four, 80, 1)
    few = [g for g in grades if g.outcomes[0].status != "not started"][: FEWEST - 1]
    right, rest = seen(few, "one")
    assert min(sum(right), len(right) - sum(right)) >= FEWEST_EACH and len(set(rest)) > 1, "it could be computed"
    assert one(items.items(four, few), "one").discrimination is None


def test_where_all_have_the_same_elsewhere_there_is_no_figure(module: Module) -> None:
    first, second = module.exercises[0].id, module.exercises[1].id
    grades = [grade(module, f"s{n}", "passed" if n % 2 else slip("x")) for n in range(20)]
    found = items.items(module, grades)
    assert one(found, first).why_none == "all have the same points elsewhere"
    assert one(found, second).why_none == "too few: 20 right, 0 wrong"


def test_one_exercise_graded_alone_has_nothing_to_be_compared_with(four: Module) -> None:
    findings = [PASSED, FAILED] * 10
    grades = [Grade(f"s{n}", (outcome_of(four.exercises[1], f),), "graded", 1.0) for n, f in enumerate(findings)]
    (item,) = items.items(four, grades)
    assert item.exercise.id == "two" and item.why_none == "all have the same points elsewhere"


def test_slips_are_named_by_claim_under_the_part_that_they_cost(four: Module) -> None:
    other = Finding("claim", "codes wrap", "no")
    stories = [(FAILED, PASSED)] * 4 + [(FAILED, other)] * 2 + [(PASSED, other)] + [(UNWRITTEN, PASSED)] + [(LATE,)]
    grades = [
        Grade(f"s{n}", (outcome_of(four.exercises[3], *findings),), "graded", 1.0) for n, findings in enumerate(stories)
    ]
    found = items.items(four, grades)
    claims = {
        part: [(slip.claim, slip.count) for slip in one(found, "split", part).slips] for part in ("left", "right")
    }
    assert claims == {
        "left": [("two is doubled", 6), ("it ends", 1)],
        "right": [("codes wrap", 3), ("it ends", 1)],
    }
    whole = one(found, "split")
    assert [(slip.claim, slip.count) for slip in whole.slips] == [
        ("two is doubled", 6),
        ("codes wrap", 3),
        ("it ends", 1),
    ]
    assert (whole.out_of_time, one(found, "split", "left").out_of_time) == (1, 1)


def test_the_page_and_the_table_tell_every_item_in_the_module_s_order(tmp_path: Path, four: Module) -> None:
    grades = class_of(four, 40)
    files = written(tmp_path, four, grades)
    head, *table = rows(files["items.csv"])
    found = items.items(four, grades)
    assert [(row[0], row[1]) for row in table] == [(item.exercise.id, item.part) for item in found]
    assert [item.part for item in found] == ["", "", "", "", "left", "right"]
    for item, row in zip(found, table, strict=True):
        told = dict(zip(head, row, strict=True))
        assert item.discrimination is not None and item.share is not None
        assert Decimal(told["discrimination"]) == round(Decimal(item.discrimination), 2), "a number, also below 0"
        assert Decimal(told["share_right"]) == round(Decimal(item.share), 2)
        assert told["out_of_time"] == str(item.out_of_time)
    page, index = pages(files)["items.html"], pages(files)["index.html"]
    assert "items.html" in index.links and "index.html#exercises" in page.links
    for item in found:
        assert f"{item.discrimination:.2f}" in page.text


def test_with_nobody_graded_the_page_says_so(tmp_path: Path, module: Module) -> None:
    files = written(tmp_path, module, [machinery("m")])
    assert "Nobody was graded." in pages(files)["items.html"].text and len(rows(files["items.csv"])) == 1
