"""What is remembered between two commands, and what becomes of it when its file cannot be read or written."""

from __future__ import annotations

import pytest

from tito.errors import Status
from tito.learning import progress

from ..toy_course import NOTEBOOK, Course, Solve, squeezed

KEPT = ".tito/progress.json"


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"modules": {"01_toy": {"double": {"colour": 1}}}}'])
def test_a_progress_file_that_cannot_be_read_is_kept_and_begun_anew(edition: Course, text: str) -> None:
    edition.write(KEPT, text)
    assert edition.tito("status").status == Status.DONE
    assert edition.tito("hint").out.split("\n")[1].startswith("hint 1 of 3")
    copies = list((edition.root / ".tito/backups").iterdir())
    assert [copy.read_text(encoding="utf-8") for copy in copies] == [text]
    assert progress.read(edition.project).get("01_toy", "double").hints == 1


def test_what_is_remembered_is_private_to_git(edition: Course) -> None:
    edition.tito("hint")
    assert edition.read(".tito/.gitignore") == "*\n"


def test_a_folder_that_cannot_be_written_costs_the_memory_only(edition: Course, solve: Solve) -> None:
    solve(edition, "double")
    edition.write(".tito", "a file where the folder would be")
    said = edition.tito("test", "01")
    assert "double 2 of 2 points passed" in squeezed(said.out) and "cannot be written" in said.out
    assert said.err == ""


def test_the_module_last_used_is_meant_where_there_are_several(edition: Course) -> None:
    text = edition.read(NOTEBOOK).replace("default_exp sums", "default_exp more").replace("Counter", "Other")
    edition.write("modules/source/02_more/toy_dev.py", text.replace("def double", "def treble"))
    edition.write("modules/source/02_more/module.toml", edition.read("modules/source/01_toy/module.toml"))
    edition.tito("status").refuses("which module? There are: 01_toy, 02_more", status=2)
    edition.tito("hint", "--module", "02")
    assert "02_more" in edition.tito("status").out
