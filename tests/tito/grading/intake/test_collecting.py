"""Intake: every layout that people get submissions in, each under its own name, and nothing of the student's run."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from tito.course.edition import Edition
from tito.errors import TitoError, WrongCall
from tito.grading.intake import collecting
from tito.grading.intake.arrivals import safe

from ...toy_course import Course, Solve
from ..conftest import HandIn
from .handed import TEXT, answer, as_page, solved
from .malformed_zips import zipped


def test_a_folder_a_student_zips_and_plain_files_are_all_submissions(hand_in: HandIn) -> None:
    found = hand_in(
        {
            "ada/toy_dev.py": solved("return x + x"),
            "bob/deep/down/toy_dev.ipynb": as_page(solved("return x * 2")),
            "cem.zip": zipped({"hw/toy_dev.py": solved("return 2.0 * x").encode()}),
            "dora.ipynb": as_page(solved("return 4 * x / 2")),
            "emil_toy_dev.py": solved("return sum([x, x])"),
            "fay/hw.zip": zipped({"toy_dev.ipynb": as_page(solved("return x - -x")).encode()}),
            ".DS_Store": b"\0",
            "ada/.ipynb_checkpoints/toy_dev-checkpoint.ipynb": as_page(solved("return 0")),
        }
    )
    assert {one.name: answer(one) for one in found} == {
        "ada": "return x + x",
        "bob": "return x * 2",
        "cem": "return 2.0 * x",
        "dora": "return 4 * x / 2",
        "emil": "return sum([x, x])",
        "fay": "return x - -x",
    }
    assert not any(one.remarks for one in found)


def test_an_archive_of_tito_submit_is_one_submission_whose_manifest_is_shown_and_not_believed(
    course: Course, tmp_path: Path, toy_edition: Edition
) -> None:
    assert course.tito("submit", "--name", 'Ada "the first"').status == 0
    (tmp_path / "all").mkdir()
    (course.root / "01_toy_submission.zip").rename(tmp_path / "all" / "bob.zip")
    for path in (tmp_path / "all", tmp_path / "all" / "bob.zip"):
        (found,) = collecting.collect(toy_edition, path)
        assert found.name == "bob" and answer(found) == "return 2 * x"
        assert found.remarks == ('the archive names its author: Ada \\"the first\\" (not checked)',)


def test_a_manifest_that_is_damaged_or_forged_costs_nothing(hand_in: HandIn) -> None:
    bomb = b'{"student": "' + b"a" * 5_000_000
    forged = json.dumps({"student": "\x1b[31mBob\n", "points": 10**9, "exercises": {"double": "passed"}}).encode()
    found = hand_in(
        {
            f"{who}.zip": zipped({"manifest.json": it, "toy_dev.py": TEXT.encode()})
            for who, it in (("bomb", bomb), ("forged", forged), ("none", b""))
        }
    )
    assert [answer(one) for one in found] == ["return 2 * x"] * 3
    assert found[0].remarks == (), "the name never ends, and is none"
    assert all(remark.isprintable() for one in found for remark in one.remarks)


CANVAS: dict[str, str | bytes] = {
    "lovelaceada_101_5001_toy_dev.py": solved("return x + x"),
    "babbagecharles_LATE_102_5002_toy_dev-1.ipynb": as_page(solved("return x * 2")),
    "smithbob_103_5003_toy_dev.py": solved("return 0"),
    "smithbob_103_5009_toy_dev-1.py": solved("return 2 * x"),
    "smithbob_104_5004_01_toy_submission.zip": zipped({"toy_dev.py": solved("return 2.0 * x").encode()}),
    "anon_x7Yb2_5005_toy_dev.py": solved("return x - -x"),
    "noetheremmy_105_text.html": b"<p>I forgot the file",
}


@pytest.mark.parametrize("carrier", ["folder", "zip", "zip in a folder"])
def test_canvas_download_tells_people_of_one_name_apart_and_keeps_who_was_late(
    carrier: str, tmp_path: Path, toy_edition: Edition
) -> None:
    (tmp_path / "x").mkdir()
    if carrier == "folder":
        for name, data in CANVAS.items():
            (tmp_path / "x" / name).write_bytes(data.encode() if isinstance(data, str) else data)
    else:
        with zipfile.ZipFile(tmp_path / "x" / "submissions.zip", "w") as archive:
            for name, data in CANVAS.items():
                archive.writestr(name, data)
    found = collecting.collect(toy_edition, tmp_path / "x" / "submissions.zip" if carrier == "zip" else tmp_path / "x")
    by_name = {one.name: one for one in found}
    assert list(by_name) == [
        "anon_x7Yb2",
        "babbagecharles_102",
        "lovelaceada_101",
        "noetheremmy_105",
        "smithbob_103",
        "smithbob_104",
    ]
    assert by_name["babbagecharles_102"].remarks == ("Canvas marks this submission as late",)
    assert answer(by_name["smithbob_103"]) == "return 2 * x"
    assert by_name["smithbob_103"].remarks == ("toy_dev.py differs from toy_dev-1.py, the newer, which is graded",)
    assert answer(by_name["smithbob_104"]) == "return 2.0 * x"
    assert by_name["noetheremmy_105"].refused == "text.html is neither .ipynb, .py nor .zip"


def test_a_zip_named_like_canvas_files_cannot_hand_in_for_someone_else(hand_in: HandIn) -> None:
    forged = zipped({"lovelaceada_101_9999_toy_dev.py": solved("return 0").encode()})
    found = hand_in({"lovelaceada_101_5001_toy_dev.py": solved("return x + x"), "mallory.zip": forged})
    assert {one.name: answer(one) for one in found} == {"lovelaceada_101": "return x + x", "mallory": "return 0"}


@pytest.mark.parametrize("top", ["", "course/submitted/"])
def test_nbgraders_tree_names_students_by_the_folder_below_submitted(
    top: str, tmp_path: Path, toy_edition: Edition
) -> None:
    for who in ("ada", "bob"):
        folder = tmp_path / "t" / top / who / "01_toy"
        folder.mkdir(parents=True)
        (folder / "toy_dev.ipynb").write_text(as_page(solved()), encoding="utf-8")
        (folder / "timestamp.txt").write_text("2026-01-01", encoding="utf-8")
    found = collecting.collect(toy_edition, tmp_path / "t" / top.partition("/")[0])
    assert [one.name for one in found] == ["ada", "bob"] and not any(one.remarks or one.refused for one in found)


def test_a_students_whole_course_folder_is_one_submission(edition: Course, solve: Solve, toy_edition: Edition) -> None:
    solve(edition, "double")
    (found,) = collecting.collect(toy_edition, edition.root)
    assert answer(found) == "return 2 * x", "the notebook, not the untouched copy in released/"
    assert found.remarks == ()


def test_two_of_one_name_are_named_apart_even_where_only_capitals_differ(hand_in: HandIn) -> None:
    found = hand_in({"ada/toy_dev.py": solved("return x + x"), "ADA.zip": zipped({"toy_dev.py": TEXT.encode()})})
    assert [one.name for one in found] == ["ADA", "ada~2"]
    assert any("another submission is called ada too" in remark for one in found for remark in one.remarks)
    assert len({answer(one) for one in found}) == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ada Lovelace", "Ada_Lovelace"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("...", "unnamed"),
        ("", "unnamed"),
        ("con", "con_"),
        ("NUL.txt", "NUL.txt_"),
        ("a\x1b[31mb\nc", "a_[31mb_c"),
        ("<script>alert(1)</script>", "_script_alert(1)_script_"),
        ("José", "José"),
        ("भारत", "भारत"),
        ("x" * 500, "x" * 80),
        ("\udcff\ud800!", "_!"),
    ],
)
def test_names_become_file_names_on_every_system(name: str, expected: str) -> None:
    assert safe(name) == expected


def test_what_is_not_a_submission_at_all_is_refused_by_its_name_and_the_others_go_on(hand_in: HandIn) -> None:
    found = hand_in({"ada.py": solved(), "bob.rar": b"Rar!", "cem/notes.txt": b"sorry", "dora.ipynb": b"{"})
    refused = {one.name: one.refused for one in found}
    broken = refused.pop("dora")
    assert refused == {
        "ada": "",
        "bob": "bob.rar is neither .ipynb, .py nor .zip",
        "cem": "no notebook was handed in: wanted toy_dev, as .ipynb or .py",
    }
    assert broken.startswith("dora.ipynb is not a notebook: its JSON breaks off at line 1 (")
    assert [bool(one.cells) for one in found] == [True, False, False, False]


def test_only_a_wrong_path_is_an_error_of_the_call(tmp_path: Path, toy_edition: Edition) -> None:
    for path, told in (
        (tmp_path / "nowhere", "cannot be found"),
        (Path(__file__).with_suffix(".txt"), "cannot be found"),
    ):
        with pytest.raises(WrongCall, match=told):
            collecting.collect(toy_edition, path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(WrongCall, match="neither a folder nor a .zip"):
        collecting.collect(toy_edition, tmp_path / "a.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TitoError, match="holds no submission"):
        collecting.collect(toy_edition, tmp_path / "empty")


def test_of_two_archives_the_newer_attachment_counts_whatever_dates_are_inside(hand_in: HandIn) -> None:
    def dated(text: str, year: int) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr(zipfile.ZipInfo("toy_dev.py", (year, 1, 1, 0, 0, 0)), text)
        return stream.getvalue()

    (found,) = hand_in(
        {
            "ada_1_200_hw-1.zip": dated(solved("return x + x"), 1990),
            "ada_1_100_hw.zip": dated(solved("return 0"), 2100),
        }
    )
    assert answer(found) == "return x + x"
