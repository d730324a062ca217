"""The reference answer of an exercise beside somebody's, in the edition that holds it."""

from __future__ import annotations

import zipfile

import pytest

from ..toy_course import NOTEBOOK, STUB, Course, Solve


def test_a_student_is_told_that_this_edition_holds_no_solutions(edition: Course, solve: Solve) -> None:
    solve(edition, "double")
    edition.tito("test", "01")
    edition.tito("hint", "double", "--solution").refuses(
        "this edition holds no solutions, only the instructor's course does: `tito hint double` shows", status=2
    )
    assert "in the instructor's course" in " ".join(edition.tito("hint", "--help").out.split())


def test_an_instructor_sees_the_reference_beside_a_students_answer_once_it_passed(
    course: Course, edition: Course, solve: Solve
) -> None:
    course.tito("hint", "double", "--solution").refuses("after the exercise passed: tito test 01_toy", status=2)
    course.tito("test", "01")
    edition.change(NOTEBOOK, f"# YOUR CODE HERE\n    {STUB}", "return x + x")
    edition.tito("submit")
    assert "--beside FILE" in course.tito("hint", "double", "--solution").out
    for theirs in (edition.root / NOTEBOOK, edition.root / "01_toy_submission.zip", edition.root):
        lines = course.tito("hint", "double", "--solution", "--beside", str(theirs)).out.split("\n")
        assert lines[2].split(maxsplit=1) == ["reference", theirs.name], "in two columns, where there is room"
        assert lines[4].split("    ") == ["return 2 * x", "return x + x"], "the answer alone, without what was given"
    course.tito("hint", "double", "--beside", "nowhere").refuses("nowhere does not exist", status=2)


def test_a_narrow_terminal_shows_the_two_answers_one_below_the_other(
    course: Course, edition: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    course.tito("test", "01")
    monkeypatch.setenv("COLUMNS", "20")
    said = course.tito("hint", "double", "--beside", str(edition.root)).out
    assert said.endswith(f"reference\n\nreturn 2 * x\n\n{edition.root.name}\n\n# YOUR CODE HERE\n{STUB}\n\n")


@pytest.mark.parametrize("kind", ["damaged", "cut off", "encrypted", "no zip", "empty", "another method"])
def test_an_archive_that_cannot_be_unpacked_is_one_sentence(course: Course, kind: str) -> None:
    assert course.tito("test", "01").status == 0
    path = course.root / "their.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("toy_dev.py", course.read(NOTEBOOK))
    data = bytearray(path.read_bytes())
    if kind == "damaged":
        data[60:80] = bytes(20)
    if kind == "encrypted":
        for at in (6, data.rindex(b"PK\x01\x02") + 8):
            data[at] |= 1
    if kind == "another method":
        for at in (8, data.rindex(b"PK\x01\x02") + 10):
            data[at] = 99
    spoilt = {"cut off": bytes(data[: len(data) // 2]), "no zip": b"text", "empty": b""}
    path.write_bytes(spoilt.get(kind, bytes(data)))
    course.tito("hint", "double", "--beside", str(path)).refuses("their.zip cannot be unpacked (", "ask for it again")
