"""Intake: a class in every platform's layout is as many submissions as it has students, and never one."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tito.course import markers
from tito.course.edition import Edition
from tito.errors import WrongCall
from tito.grading.intake import collecting
from tito.grading.roster import Listed, Person, Roster
from tito.grading.submission import Submission

from ...toy_course import Course
from ..conftest import HandIn
from . import layouts
from .handed import TEXT, answer, as_page, solved
from .layouts import CANVAS_FIRST, GRADESCOPE_FIRST, LAYOUTS, MOODLE_FIRST, write
from .malformed_zips import zipped

PEOPLE = ("Ada Lovelace", "Bob O'Neill", "Cem Çelik")
ANSWERS = dict(zip(PEOPLE, ("return x + x", "return x * 2", "return 2.0 * x"), strict=True))
CLASS = {name: {"toy_dev.py": solved(line)} for name, line in ANSWERS.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("carrier", ["folder", "the folder above", "zip", "zip in a folder"])
def test_everybody_in_a_layout_is_one_submission_with_the_work_of_this_student(
    layout: str, carrier: str, tmp_path: Path, toy_edition: Edition
) -> None:
    top = tmp_path / "up" / "class"
    names = LAYOUTS[layout](top, CLASS)
    path = top
    if carrier == "the folder above" and layout not in (
        "a folder a student",
        "a zip a student",
        "Google Classroom's files",
    ):
        path = top.parent
    elif "zip" in carrier:
        path = layouts.as_zip(top)
        if carrier == "zip in a folder" and layout not in (
            "a folder a student",
            "a zip a student",
            "Google Classroom's files",
        ):
            path = (tmp_path / "alone").joinpath(path.name)
            path.parent.mkdir()
            (top.parent / path.name).rename(path)
            path = path.parent
    found = {one.name: answer(one) for one in collecting.collect(toy_edition, path)}
    assert found == {names[name]: line for name, line in ANSWERS.items()}


def people(layout: str, folder: Path, edition: Edition) -> dict[str, Person]:
    LAYOUTS[layout](folder, CLASS)
    return {answer(one): one.person for one in collecting.collect(edition, folder)}


def test_what_a_platform_says_of_a_person_is_kept(tmp_path: Path, toy_edition: Edition) -> None:
    ada = ANSWERS["Ada Lovelace"]
    for layout, wanted in (
        ("Canvas", Person(canvas=str(CANVAS_FIRST))),
        ("Moodle's folders", Person(name="Ada Lovelace", moodle=str(MOODLE_FIRST))),
        ("Moodle's files", Person(name="Ada Lovelace", moodle=str(MOODLE_FIRST))),
        ("Gradescope's export", Person("Ada Lovelace", "adalovelace@example.edu", sis=f"0{GRADESCOPE_FIRST}")),
        ("a folder a student", Person()),
    ):
        assert people(layout, tmp_path / layout, toy_edition)[ada] == wanted, layout


def test_a_text_typed_into_moodle_is_no_submission_beside_a_notebook_and_says_so_alone(hand_in: HandIn) -> None:
    found = hand_in(
        {
            "Ada Lovelace_9_assignsubmission_file_/toy_dev.py": solved(),
            "Ada Lovelace_9_assignsubmission_onlinetext_/onlinetext.html": "<p>Hi",
            "Bob_8_assignsubmission_onlinetext_/onlinetext.html": "<p>I forgot it",
            "Participant_7_assignsubmission_file_/toy_dev.py": solved("return x + x"),
        }
    )
    assert [(one.name, one.refused) for one in found] == [
        ("Ada_Lovelace_9", ""),
        ("Bob_8", "a text was typed into Moodle, and no notebook was handed in"),
        ("Participant_7", ""),
    ]
    assert found[2].person == Person(moodle="7"), "while names are hidden, nobody is called Participant"


def test_moodles_participant_is_not_taken_for_canvas_id(hand_in: HandIn) -> None:
    (found,) = hand_in({"Ada Lovelace_90210_assignsubmission_file_/toy_dev.py": solved()})
    assert found.person == Person(name="Ada Lovelace", moodle="90210")


GROUP = """---
submission_1:
  :submitters:
  - :name: Ada Lovelace
    :sid: 0012
    :email: ada@example.edu
  - :name: "Yes: No"
    :sid: null
    :email: no
  :created_at: 2026-03-06 12:00:00 Z
submission_2:
  :submitters:
  - :name: Ada Lovelace
    :email: other@example.edu
  :created_at: 2026-03-06 12:00:00 Z
submission_3:
  :submitters: []
submission_4:
  :submitters:
  - &a [*a
"""


def test_gradescopes_groups_and_people_of_one_name_are_told_apart(hand_in: HandIn) -> None:
    work = {f"submission_{number}/toy_dev.py": solved(f"return {number} * x") for number in (1, 2, 3, 4)}
    found = hand_in(
        {f"assignment_1_export/{name}": data for name, data in (work | {"submission_metadata.yml": GROUP}).items()}
    )
    assert {one.name: (answer(one)[7], one.person.email) for one in found} == {
        "Ada_Lovelace": ("1", "ada@example.edu"),
        "Ada_Lovelace_2": ("2", "other@example.edu"),
        "Yes_No": ("1", "no"),
        "submission_3": ("3", ""),
        "submission_4": ("4", ""),
    }
    assert found[0].person.sis == "0012", "an id is a text, whose zeros count"
    assert found[0].remarks == ("handed in together with Yes: No",)


# One student, several times


def several(files: Mapping[str, str | bytes], folder: Path, edition: Edition, **options: str) -> list[Submission]:
    """Files whose dates are a day apart, in their order."""
    for day, (name, data) in enumerate(files.items()):
        write(folder, {name: data})
        os.utime(folder / name, (1_000_000_000 + 86_400 * day,) * 2)
    return collecting.collect(edition, folder, **options)  # type: ignore[arg-type]


OLD, NEW = solved("return 7"), solved("return x + x")
AGAIN: dict[str, dict[str, str | bytes]] = {
    "a browser's numbers": {
        "ada.zip": zipped({"toy_dev.py": OLD.encode()}),
        "ada (1).zip": zipped({"toy_dev.py": NEW.encode()}),
    },
    "a platform's numbers": {
        "ada.zip": zipped({"toy_dev.py": OLD.encode()}),
        "ada-2.zip": zipped({"toy_dev.py": NEW.encode()}),
    },
    "a folder beside its zip": {"ada.zip": zipped({"toy_dev.py": OLD.encode()}), "ada/toy_dev.py": NEW},
    "a zip beside its folder": {"ada/toy_dev.py": OLD, "ada.zip": zipped({"toy_dev.py": NEW.encode()})},
    "folders with numbers": {"ada/toy_dev.py": OLD, "ada (1)/toy_dev.py": NEW},
    "Google Classroom": {"Ada - toy_dev.py": OLD, "Ada - toy_dev (1).py": NEW},
    "Google Classroom, a number alone": {"Ada - toy_dev (2).py": NEW},
    "files with numbers": {"ada.ipynb": as_page(OLD), "ada (1).ipynb": as_page(NEW)},
    "a file and a zip": {"ada.py": OLD, "ada.zip": zipped({"hw/toy_dev.py": NEW.encode()})},
}


@pytest.mark.parametrize("case", AGAIN)
@pytest.mark.parametrize("order", ["dates apart", "one date"])
def test_what_a_student_handed_in_again_is_one_submission_and_the_newer_counts(
    case: str, order: str, tmp_path: Path, toy_edition: Edition
) -> None:
    found = several(AGAIN[case], tmp_path / "all", toy_edition)
    if order == "one date":
        if "folder" in case and "numbers" not in case or case == "a file and a zip":
            return  # neither a date nor a name says which is newer
        for path in (tmp_path / "all").rglob("*.*"):
            os.utime(path, (1_000_000_000,) * 2)
        found = collecting.collect(toy_edition, tmp_path / "all")
    (one,) = found
    assert one.name.lower() == "ada" and answer(one) == "return x + x"
    if len(AGAIN[case]) > 1 and case != "a file and a zip":  # of another name than the notebook's, it is not looked at
        assert any("differs from" in remark for remark in one.remarks), "the other is named"


def test_the_best_or_the_newest_counts_as_the_instructor_wants(tmp_path: Path, toy_edition: Edition) -> None:
    at = "# %%\n#| export\nSTART"
    half = NEW[: NEW.index(at)] + markers.stub(NEW)[markers.stub(NEW).index(at) :]  # double, not counter
    files: dict[str, str | bytes] = {
        "ada.zip": zipped({"toy_dev.py": OLD.encode()}),
        "ada (1).zip": zipped({"toy_dev.py": half.encode()}),
    }
    (best,) = several(files, tmp_path / "all", toy_edition)
    (newest,) = several(files, tmp_path / "all", toy_edition, several="newest")
    assert (answer(best), answer(newest)) == ("return 7", "return x + x")
    assert any("ada: toy_dev.py" in remark or "ada.zip: toy_dev.py" in remark for remark in newest.remarks)


def test_an_untouched_notebook_is_not_the_newest_that_counts(tmp_path: Path, toy_edition: Edition) -> None:
    files: dict[str, str | bytes] = {"ada/toy_dev.py": NEW, "ada (1)/toy_dev.py": markers.stub(TEXT)}
    (one,) = several(files, tmp_path / "all", toy_edition, several="newest")
    assert answer(one) == "return x + x"


def test_numbers_tell_people_apart_where_nobody_has_the_name_without(hand_in: HandIn) -> None:
    found = hand_in({f"{name}/toy_dev.py": solved() for name in ("team-1", "team-2", "smith (1)", "smith (2)", "a-17")})
    assert len(found) == 5


def test_the_roster_goes_before_numbers(tmp_path: Path, toy_edition: Edition) -> None:
    for name in ("smith", "smith-2", "curie", "marie"):
        write(tmp_path / "all" / name, {"toy_dev.py": solved(f"return x * 2  # {name}")})
    smiths = [Listed(2, Person("John Smith"), ("smith",)), Listed(3, Person("Jo Smith"), ("smith-2",))]
    roster = Roster([*smiths, Listed(4, Person("Marie Curie", canvas="47110"), ("marie", "curie"))])
    found = {one.name: one.person for one in collecting.collect(toy_edition, tmp_path / "all", roster)}
    assert found == {"smith": smiths[0].person, "smith-2": smiths[1].person, "curie": roster.listed[2].person}


# A class that collapses


def refused(path: Path, edition: Edition) -> str:
    with pytest.raises(WrongCall) as told:
        collecting.collect(edition, path)
    return str(told.value)


COLLAPSING: dict[str, dict[str, str | bytes]] = {
    "nbgrader's folder beside others": {
        "submitted/cem/hw/toy_dev.py": NEW,
        "ada/toy_dev.py": NEW,
        "bob.zip": zipped({}),
    },
    "nbgrader's folder beside a notebook": {"submitted/cem/hw/toy_dev.py": NEW, "bob.ipynb": as_page(NEW)},
    "a class below one folder": {"hw1/ada/toy_dev.py": NEW, "hw1/bob/toy_dev.py": NEW},
    "a class of two forms": {"hw1/ada/toy_dev.py": NEW, "hw1/bob/toy_dev.ipynb": as_page(OLD)},
    "files below one folder": {"hw1/ada_toy_dev.py": NEW, "hw1/bob_toy_dev.py": OLD},
    "files of any name": {"hw1/ada.ipynb": as_page(NEW), "hw1/bob.ipynb": as_page(NEW)},
    "zips below one folder": {
        "hw1/ada.zip": zipped({"toy_dev.py": NEW.encode()}),
        "hw1/bob.zip": zipped({"toy_dev.py": NEW.encode()}),
    },
    "two sections": {
        f"section {n}/{who}/toy_dev.py": NEW for n, who in ((1, "ada"), (1, "bob"), (2, "cem"), (2, "dora"))
    },
    "sections as zips": {
        f"section {n}.zip": zipped({"a/toy_dev.py": NEW.encode(), "b/toy_dev.py": NEW.encode()}) for n in "12"
    },
    "one clone above the clones": {
        "x/hw-ada/modules/source/toy_dev.py": NEW,
        "x/hw-bob/modules/source/toy_dev.py": NEW,
    },
}


@pytest.mark.parametrize("case", COLLAPSING)
def test_a_class_that_would_be_graded_as_few_students_is_an_error(
    case: str, tmp_path: Path, toy_edition: Edition
) -> None:
    write(tmp_path / "all", COLLAPSING[case])
    told = refused(tmp_path / "all", toy_edition)
    assert "beside" in told if "nbgrader" in case else "name the folder in which each student has" in told


def test_a_collapsing_class_ends_the_command_with_its_sentence_and_writes_nothing(
    course: Course, tmp_path: Path
) -> None:
    write(tmp_path / "all", COLLAPSING["a class below one folder"])
    said = course.tito("grade", "01_toy", str(tmp_path / "all"), "--out", str(tmp_path / "out"), "--unsafe")
    said.refuses("would be graded as 1 submission", "(ada, bob)", status=2)
    assert not (tmp_path / "out").exists()


ONE_PERSON: dict[str, dict[str, str | bytes]] = {
    "a backup": {"ada/backup/toy_dev.py": OLD, "ada/mine/toy_dev.py": NEW},
    "old work below": {"ada/attempts/1/toy_dev.py": OLD, "ada/attempts/2/toy_dev.py": OLD, "ada/toy_dev.py": NEW},
    "numbers": {"ada/toy_dev.py": OLD, "ada/toy_dev (1).py": NEW},
    "a draft beside the notebook": {"ada/toy_dev.py": NEW, "ada/draft.ipynb": as_page(OLD)},
    "what was given": {
        "ada/toy/toy_dev.py": OLD,
        "ada/tests/toy_dev.py": OLD,
        "ada/modules/source/01_toy/toy_dev.py": NEW,
    },
    "both forms": {"ada/toy_dev.py": NEW, "ada/toy_dev.ipynb": as_page(NEW)},
}


@pytest.mark.parametrize("case", ONE_PERSON)
def test_what_one_student_keeps_beside_the_work_is_no_class(case: str, tmp_path: Path, toy_edition: Edition) -> None:
    (one,) = several(ONE_PERSON[case], tmp_path / "all", toy_edition)
    assert one.name == "ada" and answer(one) == "return x + x"


def test_one_student_who_keeps_two_folders_stops_nobody(hand_in: HandIn) -> None:
    found = hand_in({"ada/v1/toy_dev.py": OLD, "ada/final/toy_dev.py": OLD, "bob.py": NEW, "cem.py": NEW})
    assert [one.name for one in found] == ["ada", "bob", "cem"] and not any(one.refused for one in found)


def test_a_name_on_the_roster_is_one_person_whatever_is_in_the_folder(tmp_path: Path, toy_edition: Edition) -> None:
    write(tmp_path / "all", {"ada/v1/toy_dev.py": OLD, "ada/final/toy_dev.py": OLD})
    roster = Roster([Listed(2, Person("Ada"), ("ada",))])
    assert len(collecting.collect(toy_edition, tmp_path / "all", roster)) == 1


def test_a_student_may_be_called_submitted(hand_in: HandIn) -> None:
    found = hand_in({"submitted/toy_dev.py": NEW, "ada/toy_dev.py": OLD})
    assert {one.name: answer(one) for one in found} == {"submitted": "return x + x", "ada": "return 7"}


def test_what_two_platforms_could_have_named_is_the_first_ones_and_nobody_else_is_lost(hand_in: HandIn) -> None:
    found = hand_in(
        {
            "Ada Lovelace_9_assignsubmission_file_1234_5678_toy_dev.py": solved("return x + x"),
            "bob_47110_90210_toy_dev.py": solved("return x * 2"),
            "cem.py": solved("return 2.0 * x"),
        }
    )
    assert {one.name: answer(one) for one in found} == {
        "Ada_Lovelace_9": "return x + x",
        "bob_47110": "return x * 2",
        "cem": "return 2.0 * x",
    }


def test_files_of_one_path_get_different_names_in_what_is_said_of_them(hand_in: HandIn) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the name is there already
        for line in ("return 1", "return 2", "return x + x"):
            archive.writestr("toy_dev.py", solved(line))
    twice = {"a.zip": zipped({"toy_dev.py": OLD.encode()}), "b.zip": zipped({"toy_dev.py": NEW.encode()})}
    one, two = hand_in({"ada.zip": stream.getvalue(), **{f"bob/{name}": data for name, data in twice.items()}})
    named = [remark.partition(" differs from ") for remark in one.remarks]
    assert len(named) == 2 and len({first for first, _, _ in named}) == 2
    assert all(first != second.partition(",")[0] for first, _, second in named)
    assert {first for first, _, _ in named} <= {f"{it}toy_dev.py" for it in ("", "no. 2 of ", "no. 3 of ")} | {
        f"ada.zip: {it}toy_dev.py" for it in ("", "no. 2 of ", "no. 3 of ")
    }
    assert any("a.zip: toy_dev.py" in remark and "b.zip: toy_dev.py" in remark for remark in two.remarks)
