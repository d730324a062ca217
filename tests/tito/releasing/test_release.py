"""`tito release`: the student's edition of the toy course, and what it must never hold."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tito.cli import main
from tito.course import markers
from tito.course.module import load_module
from tito.errors import Status
from tito.releasing import release

from ..toy_course import NOTEBOOK, Course

ANSWER = """

# %% [markdown]
# ### Answers
#
# ### BEGIN SOLUTION
# Because doubling is its own reward.
# ### END SOLUTION
"""


@pytest.fixture
def given(course: Course, tmp_path: Path) -> Path:
    """The toy course with an answer, a mistake and a draft beside it, and the folder of its release."""
    course.write(NOTEBOOK, course.read(NOTEBOOK) + ANSWER)
    course.write("tests/01_toy/mistakes/double.toml", "[[mistake]]\nwrote = 'return 3 * x'\n")
    course.write("modules/source/01_toy/.draft.py", "return 2 * x\n")
    course.write("LICENSE", "MIT\n")
    course.tito("export", "01")
    return tmp_path / "class für alle"


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_edition_has_the_same_tree_without_what_is_withheld(course: Course, given: Path) -> None:
    said = course.tito("release", "01", "--to", str(given))
    assert said.status == Status.DONE and "README.md" in said.out, said.err
    assert sorted(tree(given)) == [
        "LICENSE",
        "README.md",
        "modules/source/01_toy/demo.py",
        "modules/source/01_toy/module.toml",
        "modules/source/01_toy/released/package.zip",
        "modules/source/01_toy/released/toy_dev.py",
        "modules/source/01_toy/toy_dev.py",
        "pyproject.toml",
        "release.json",
        "tests/01_toy/test_counter.py",
        "tests/01_toy/test_double.py",
        "toy/__init__.py",
        "toy/sums.py",
    ]


def test_no_line_of_a_solution_or_an_answer_is_anywhere_in_it(course: Course, given: Path) -> None:
    course.tito("release", "01", "--to", str(given))
    solved = {line.text.strip() for line in markers.lines(course.read(NOTEBOOK)) if line.inside}
    assert {"return 2 * x", "# Because doubling is its own reward."} <= solved
    for name, data in tree(given).items():
        if name.endswith("module.toml"):
            continue  # its hints say `return 2 * x, nearly`: the toy's solutions are too short to be told from hints
        text = data.decode("utf-8", "replace")  # the archive holds what stands beside it, too
        held = [line for line in solved if line.removeprefix("# ") in text]
        assert not held, f"{name} shows students {held}"
        assert "SOLUTION" not in text, f"{name} holds a marker"


def test_the_same_course_gives_the_same_bytes(course: Course, given: Path, tmp_path: Path) -> None:
    course.tito("release", "01", "--to", str(given))
    course.tito("release", "01", "--to", str(tmp_path / "again"))
    assert tree(given) == tree(tmp_path / "again")
    course.tito("release", "01", "--to", str(given))
    assert tree(given) == tree(tmp_path / "again"), "a release over an earlier one differs from a fresh one"


def test_stubs_earn_nothing_and_the_edition_is_exported_and_complete(
    course: Course, given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    course.tito("release", "01", "--to", str(given))
    assert main(["--project", str(given), "export", "01", "--check"]) == Status.DONE
    report = given / "report.json"
    assert main(["--project", str(given), "test", "01", "--json", str(report)]) == Status.FAILED
    result = json.loads(report.read_text(encoding="utf-8"))
    assert (result["points"], result["max_points"]) == (0, 5)
    assert {entry["status"] for entry in result["exercises"]} == {"not started"}


def test_an_answer_becomes_an_invitation(course: Course, given: Path) -> None:
    course.tito("release", "01", "--to", str(given))
    text = (given / NOTEBOOK).read_text(encoding="utf-8")
    assert text.endswith("# ### Answers\n#\n# *Your answer here.*\n")


def test_a_release_replaces_an_earlier_one_file_by_file(course: Course, given: Path) -> None:
    course.tito("release", "01", "--to", str(given))
    (given / ".git").mkdir()
    (given / ".git" / "HEAD").write_text("kept", encoding="utf-8")
    (course.root / "modules/source/01_toy/demo.py").unlink()
    course.change(NOTEBOOK, "# x = 1 is", "# x = 2 is")
    assert course.tito("release", "01", "--to", str(given)).status == Status.DONE
    assert not (given / "modules/source/01_toy/demo.py").exists()
    assert "x = 2 is" in (given / NOTEBOOK).read_text(encoding="utf-8")
    assert (given / ".git" / "HEAD").read_text(encoding="utf-8") == "kept"


def test_ctrl_c_while_a_release_is_put_in_place_is_too_late(
    course: Course, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course.tito("release", "01", "--to", str(given))
    (course.root / "modules/source/01_toy/demo.py").unlink()
    course.change(NOTEBOOK, "# x = 1 is", "# x = 2 is")
    for folder, into_place in ((given, "unlink"), (given, "replace"), (tmp_path / "new", "rename")):
        with monkeypatch.context() as patched:
            patched.setattr(Path, into_place, interrupting(getattr(Path, into_place)))
            said = course.tito("release", "01", "--to", str(folder))
        assert said.status == Status.DONE and f"{folder}: " in said.out, said.err
    assert tree(given) == tree(tmp_path / "new") and "modules/source/01_toy/demo.py" not in tree(given)


def interrupting(done: Callable[..., object]) -> Callable[..., object]:
    """What moves or removes a file, with Ctrl-C before it does."""

    def do(*arguments: object, **named: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return done(*arguments, **named)

    return do


def test_ctrl_c_before_that_leaves_everything_as_it_was(
    course: Course, given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    course.tito("release", "01", "--to", str(given))
    before = tree(given)
    course.change(NOTEBOOK, "# x = 1 is", "# x = 2 is")
    monkeypatch.setattr(os, "fsync", interrupted)
    course.tito("release", "01", "--to", str(given)).refuses(f"stopped by Ctrl-C: {given} is as it was", status=130)
    new = given.with_name("new")
    course.tito("release", "01", "--to", str(new)).refuses(f"stopped by Ctrl-C: {new} is as it was", status=130)
    assert tree(given) == before and [path.name for path in given.parent.glob("*new*")] == []


def test_a_release_that_was_killed_on_its_way_can_be_made_again(course: Course, given: Path, tmp_path: Path) -> None:
    course.tito("release", "01", "--to", str(given))
    course.change(NOTEBOOK, "# x = 1 is", "# x = 2 is")
    course.write("LICENSE", "MIT, too\n")
    course.tito("release", "01", "--to", str(tmp_path / "new"))
    for name in (NOTEBOOK, "LICENSE"):  # killed when these two were in place
        (given / name).write_bytes((tmp_path / "new" / name).read_bytes())
    assert course.tito("release", "01", "--to", str(given)).status == Status.DONE
    assert tree(given) == tree(tmp_path / "new")


def test_another_form_never_replaces_a_release(course: Course, given: Path) -> None:
    course.tito("release", "01", "--to", str(given))
    before = tree(given)
    said = course.tito("release", "01", "--to", str(given), "--format", "nbgrader")
    said.refuses("holds a release in the student format of 01_toy", "name another folder", status=2)
    assert tree(given) == before


def test_work_in_an_earlier_release_is_never_overwritten(course: Course, given: Path) -> None:
    course.tito("release", "01", "--to", str(given))
    (given / NOTEBOOK).write_text("mine", encoding="utf-8")
    before = tree(given)
    course.tito("release", "01", "--to", str(given)).refuses("toy_dev.py was changed", "another folder", status=2)
    assert tree(given) == before


@pytest.mark.parametrize("held", [("notes.txt", "mine"), ("release.json", "{}"), ("release.json", "not json")])
def test_a_folder_that_holds_something_else_is_refused(course: Course, given: Path, held: tuple[str, ...]) -> None:
    given.mkdir()
    (given / held[0]).write_text(held[1], encoding="utf-8")
    course.tito("release", "01", "--to", str(given)).refuses("is not empty and holds no earlier release", status=2)
    assert tree(given) == {held[0]: held[1].encode()}


def test_a_file_in_place_of_the_folder_is_refused(course: Course, given: Path) -> None:
    given.write_text("a file", encoding="utf-8")
    course.tito("release", "01", "--to", str(given)).refuses("is a file", status=2)


def test_a_solution_that_strayed_into_another_file_stops_the_release(course: Course, given: Path) -> None:
    course.change(NOTEBOOK, "return 2 * x", "return np.multiply(np.asarray(x), 2)")
    course.write("modules/source/01_toy/ABOUT.md", "Hint: `return  np.multiply(np.asarray(x), 2)`.\n")
    said = course.tito("release", "01", "--to", str(given))
    said.refuses("students would see solutions", "ABOUT.md holds `return np.multiply(np.asarray(x), 2)`")
    assert not given.exists()


def test_a_solution_in_the_metadata_of_a_notebook_is_seen() -> None:
    page = {"metadata": {"old": {"deep": ["total = np.add.reduce(", "codes, axis=0)"]}}, "cells": []}
    found = list(release.leaks({"total = np.add.reduce(codes, axis=0)"}, {"a.ipynb": json.dumps(page).encode()}))
    assert found == ["a.ipynb holds `total = np.add.reduce(codes, axis=0)`"]


def test_other_modules_are_given_as_stubs_only(course: Course, given: Path) -> None:
    text = course.read(NOTEBOOK).replace("default_exp sums", "default_exp more").replace("Counter", "Other")
    for old, new in (("double", "treble"), ("exercise: counter", "exercise: other")):
        text = text.replace(old, new)
    course.write("modules/source/02_more/more_dev.py", text)
    table = course.read("modules/source/01_toy/module.toml")
    table = table.replace("toy_dev", "more_dev").replace('"double"', '"treble"').replace('"counter"', '"other"')
    course.write("modules/source/02_more/module.toml", table)
    course.tito("export", "02")
    assert "return 2 * x" in course.read("toy/more.py")
    assert course.tito("release", "01", "--to", str(given)).status == Status.DONE
    assert "modules/source/02_more/more_dev.py" not in tree(given)
    assert b"raise NotImplementedError" in tree(given)["toy/more.py"]
    assert b"return 2 * x" not in tree(given)["toy/more.py"]


def test_a_notebook_kept_as_ipynb_is_given_as_py(course: Course, given: Path) -> None:
    import jupytext

    document = jupytext.read(course.root / NOTEBOOK)
    jupytext.write(document, (course.root / NOTEBOOK).with_suffix(".ipynb"))
    (course.root / NOTEBOOK).unlink()
    assert course.tito("release", "01", "--to", str(given)).status == Status.DONE
    text = tree(given)[NOTEBOOK].decode("utf-8")
    assert "# YOUR CODE HERE" in text and "return 2 * x" not in text


@pytest.mark.parametrize(
    "inside",
    ["toy", "toy/given", "modules/source/01_toy/given", "modules/source/class", "tests/01_toy/given", "./toy/../toy/x"],
)
def test_a_release_into_what_is_given_out_is_refused(course: Course, inside: str) -> None:
    before = course.files()
    said = course.tito("release", "01", "--to", str(course.root / inside))
    said.refuses("which is given out", "name a folder outside of it", status=2)
    assert course.files() == before


def test_a_release_through_a_link_into_the_package_is_refused(course: Course, tmp_path: Path) -> None:
    (tmp_path / "away").symlink_to(course.root / "toy", target_is_directory=True)
    course.tito("release", "01", "--to", str(tmp_path / "away" / "given")).refuses("lies in toy/", status=2)


def test_a_release_beside_the_modules_is_no_part_of_the_next(course: Course, given: Path) -> None:
    course.tito("release", "01", "--to", str(course.root / "given"))
    assert course.tito("release", "01", "--to", str(given)).status == Status.DONE
    assert not [name for name in tree(given) if "given" in name]


def test_an_earlier_release_that_was_moved_into_the_package_is_not_carried_along(
    course: Course, given: Path, tmp_path: Path
) -> None:
    course.tito("release", "01", "--to", str(tmp_path / "earlier"))
    (tmp_path / "earlier").rename(course.root / "toy" / "earlier")
    assert course.tito("release", "01", "--to", str(given)).status == Status.DONE
    assert not [name for name in tree(given) if "earlier" in name]


def test_an_unknown_format_is_refused_with_those_there_are(course: Course, given: Path) -> None:
    course.tito("release", "01", "--to", str(given), "--format", "zip").refuses("student, nbgrader", status=2)


def test_a_students_edition_cannot_be_released_again(edition: Course, tmp_path: Path) -> None:
    edition.tito("release", "01", "--to", str(tmp_path / "again")).refuses("this is a student's edition", status=2)
    assert not (tmp_path / "again").exists()


def test_the_readme_names_only_commands_that_exist(
    course: Course, given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load_module(course.project, "01_toy")
    text = release.readme(course.project, module)
    main(["--help"])
    listed = capsys.readouterr().out
    named = {line.split()[1] for line in text.split("\n") if line.startswith("tito ")}
    assert named and all(f"\n  {name} " in listed for name in named), named


def give_along(course: Course, names: str) -> None:
    """Write a list of names into the toy course's pyproject.toml."""
    named = 'package = "toy"'
    text = course.read("pyproject.toml")
    assert named in text
    course.write("pyproject.toml", text.replace(named, f"{named}\ngive_along = {names}"))


def test_files_and_folders_go_along_where_the_course_says_so(course: Course, given: Path) -> None:
    course.write("docs/library.md", "How to use it.\n")
    course.write("docs/teachers.md", "Not for students.\n")
    course.write("examples/one/use.py", "print(1)\n")
    course.write("examples/one/__pycache__/use.pyc", "")
    give_along(course, '["docs/library.md", "examples"]')
    assert course.tito("release", "01", "--to", str(given)).status == Status.DONE
    along = [name for name in sorted(tree(given)) if name.startswith(("docs", "examples"))]
    assert along == ["docs/library.md", "examples/one/use.py"]
    inside = course.tito("release", "01", "--to", str(course.root / "examples" / "edition"))
    assert inside.status != Status.DONE and "the next release would hold this one" in inside.err


@pytest.mark.parametrize("wrong", ['"docs"', "[3]", '["docs/library.md"]', '["."]', '[".."]', '["/etc/hosts"]'])
def test_what_cannot_go_along_is_refused_in_a_sentence(course: Course, given: Path, wrong: str) -> None:
    give_along(course, wrong)
    said = course.tito("release", "01", "--to", str(given))
    assert said.status != Status.DONE and not given.exists()
    assert "give_along must be a list of files and folders of this repository" in " ".join(said.err.split())


def test_a_solution_in_what_goes_along_stops_the_release(course: Course, given: Path) -> None:
    course.write("docs/library.md", "Because doubling is its own reward.\n")
    give_along(course, '["docs"]')
    said = course.tito("release", "01", "--to", str(given))
    assert said.status != Status.DONE and "docs/library.md holds `Because doubling" in " ".join(said.err.split())
