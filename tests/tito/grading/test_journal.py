"""The journal keeps what was committed through a kill, a power cut, a full disk and a second writer, and never lies."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jupytext
import pytest

from tito.course.module import load_module
from tito.errors import TitoError
from tito.grading import journal
from tito.grading.about import About
from tito.grading.conditions import Conditions, conditions
from tito.grading.grade import Grade
from tito.grading.journal import Journal
from tito.grading.options import Options, Shard
from tito.grading.submission import Submission
from tito.testing.outcome import Outcome

from ..toy_course import Course

PAGE = 4096  # SQLite's
CONDITIONS = Conditions("01_toy", Options(), "course", "grader")
ADA = Submission("ada", {"double": ("def double(x):\n    return 2 * x",)}, ("a remark",))


def grade(name: str, points: int = 2, message: str = "") -> Grade:
    outcome = Outcome(
        "passed" if points else "claim", detail=message, exercise="double", title="Twice", points=points, max_points=2
    )
    return Grade(name, (outcome,), "graded", 0.5, ("said",), "digest")


def filled(out: Path, count: int, close: bool = True) -> dict[str, Grade]:
    """A journal of so many grades, some of them longer than a page; without `close`, as a kill leaves it."""
    grades = {f"key {n:03}": grade(f"student {n}", n % 3 and 2, "why " * (n % 7) * 300) for n in range(count)}
    if close:
        with Journal(out) as kept:
            for key, one in grades.items():
                kept.keep(key, one)
        return grades
    code = (
        "import json, os, sys; from pathlib import Path; from tito.grading.journal import Journal\n"
        "from tito.grading.grade import Grade\n"
        "kept = Journal(Path(sys.argv[1]))\n"
        "for key, one in json.load(sys.stdin).items(): kept.keep(key, Grade.from_json(one))\n"
        "os._exit(9)"  # nothing is closed, nothing tidied up
    )
    sent = json.dumps({key: one.as_json() for key, one in grades.items()}).encode()
    done = subprocess.run([sys.executable, "-c", code, str(out)], input=sent, capture_output=True)
    assert done.returncode == 9, done.stderr.decode()
    return grades


def read(out: Path, keys: list[str]) -> tuple[dict[str, Grade], list[str]]:
    with Journal(out) as kept:
        return {key: found for key in keys if (found := kept.grade(key))}, kept.notes


def test_a_grade_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    kept = filled(tmp_path, 20)
    assert read(tmp_path, list(kept)) == (kept, [])


def test_an_unknown_key_has_no_grade(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    assert read(tmp_path, ["another key"]) == ({}, [])


def test_a_kill_after_a_commit_loses_nothing(tmp_path: Path) -> None:
    kept = filled(tmp_path, 20, close=False)
    assert read(tmp_path, list(kept)) == (kept, [])


def test_a_later_grade_takes_the_place_of_the_earlier(tmp_path: Path) -> None:
    with Journal(tmp_path) as kept:
        kept.keep("key", grade("ada", 0))
        kept.keep("key", grade("ada", 2))
        assert kept.grade("key") == grade("ada", 2)


def test_a_failure_of_the_grader_is_no_grade_and_replaces_none(tmp_path: Path) -> None:
    failure = Grade("ada", (), "machinery", 0.0, ("the grader failed",))
    with Journal(tmp_path) as kept:
        kept.keep("key", failure)
        assert (kept.grade("key"), kept.failure("key")) == (None, failure)
        kept.keep("key", grade("ada"))
        assert (kept.grade("key"), kept.failure("key")) == (grade("ada"), None)
        kept.keep("key", failure)
        assert (kept.grade("key"), kept.failure("key")) == (grade("ada"), failure)


def about(seed: int) -> About:
    return About(Conditions("01_toy", Options(seed=seed), "course", "grader"), Shard(), "roll")


def test_a_batch_comes_back_with_everybody_in_it(tmp_path: Path) -> None:
    bob = Submission("bob", {}, (), "not a notebook")
    with Journal(tmp_path) as kept:
        kept.open_batch(about(1), [bob, Submission("gone", {})])
        kept.open_batch(about(2), [bob, ADA])
    with Journal(tmp_path) as kept:
        assert (kept.about(), kept.submissions()) == (about(2), [ADA, bob])


@pytest.mark.parametrize(
    "changed",
    [
        *(replace(CONDITIONS, module="02"), replace(CONDITIONS, course="changed")),
        replace(CONDITIONS, grader="changed"),
        *(replace(CONDITIONS, options=Options(seed=1)), replace(CONDITIONS, options=Options(limit_seconds=1.0))),
        *(replace(CONDITIONS, options=Options(exercise="double")), replace(CONDITIONS, options=Options(unsafe=True))),
    ],
    ids=["module", "course", "grader", "seed", "limit_seconds", "exercise", "unsafe"],
)
def test_a_grade_counts_only_under_its_own_conditions(changed: Conditions) -> None:
    assert changed.key(ADA) != CONDITIONS.key(ADA)


def test_a_grade_belongs_to_the_cells_and_not_to_a_name() -> None:
    assert CONDITIONS.key(replace(ADA, name="eve", remarks=())) == CONDITIONS.key(ADA)
    assert CONDITIONS.key(replace(ADA, cells={"double": ("pass",)})) != CONDITIONS.key(ADA)


@pytest.mark.parametrize(
    "file",
    [
        "tests/01_toy/test_double.py",
        "tests/01_toy/hidden/test_counter.py",
        "modules/source/01_toy/toy_dev.py",
        "modules/source/01_toy/module.toml",
        "toy/__init__.py",
        "pyproject.toml",
    ],
)
def test_whatever_decides_a_grade_is_in_the_conditions(course: Course, file: str) -> None:
    def now() -> Conditions:
        return conditions(course.project, load_module(course.project, "01_toy"), Options())

    before = now()
    course.write(file, course.read(file) + "\n# changed\n")
    assert now().course != before.course, f"a change of {file} went unseen"


def test_what_decides_no_grade_is_no_condition(course: Course) -> None:
    module = load_module(course.project, "01_toy")
    before = conditions(course.project, module, Options())
    course.write("tests/01_toy/__pycache__/test_double.pyc", "bytes")
    course.write("modules/source/01_toy/demo.py", "print('another demo')\n")
    path = course.root / "modules/source/01_toy/toy_dev.py"
    jupytext.write(jupytext.read(path), path.with_suffix(".ipynb"))  # as JupyterLab does when somebody looks
    assert conditions(course.project, module, Options()) == before


def test_two_writers_are_refused_with_a_sentence(tmp_path: Path) -> None:
    with Journal(tmp_path) as kept:
        with pytest.raises(TitoError, match="another `tito grade` is at work there"):
            Journal(tmp_path)
        kept.keep("key", grade("ada"))
    assert read(tmp_path, ["key"])[0]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(TitoError, match="could not be written"):
        Journal(tmp_path / "file" / "out")


def test_a_full_disk_is_named_and_what_was_kept_stays(tmp_path: Path) -> None:
    with Journal(tmp_path) as kept:
        kept.keep("key", grade("ada"))
        kept._rows.execute("PRAGMA max_page_count = 1")  # SQLite then says what it says on a full disk
        with pytest.raises(TitoError, match="the disk is full"):
            for number in range(100):
                kept.keep(f"more {number}", grade("ada", message="why " * 1000))
        assert kept.grade("key") == grade("ada")
    assert read(tmp_path, ["key"])[0] == {"key": grade("ada")}


def spoilt(kind: str, path: Path, random: random.Random) -> None:
    """What a power cut, or a bad disk, leaves of a file."""
    data = bytearray(path.read_bytes())
    page = PAGE * random.randrange(max(1, len(data) // PAGE))
    match kind:
        case "the last page is cut":
            data = data[: -random.randrange(1, PAGE)]
        case "half is cut":
            data = data[: random.randrange(len(data))]
        case "a page is zero":
            data[page : page + PAGE] = bytes(len(data[page : page + PAGE]))
        case "the end is zero":
            data[page:] = bytes(len(data) - page)
        case "a page is noise":
            data[page : page + PAGE] = random.randbytes(len(data[page : page + PAGE]))
        case "a byte is flipped":
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        case "empty":
            data.clear()
    path.write_bytes(data)


KINDS = "the last page is cut|half is cut|a page is zero|the end is zero|a page is noise|a byte is flipped|empty"


@pytest.mark.parametrize("kind", KINDS.split("|"))
@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_spoilt_journal_is_survived_and_never_gives_a_wrong_grade(tmp_path: Path, kind: str, suffix: str) -> None:
    kept = filled(tmp_path / "whole", 40, close=not suffix)
    for seed in range(12):
        out = tmp_path / f"{seed}"
        shutil.copytree(tmp_path / "whole", out)
        spoilt(kind, out / (journal.NAME + suffix), random.Random(seed))
        found, notes = read(out, list(kept))
        wrong = {key: one for key, one in found.items() if kept[key] != one}
        assert not wrong, f"{kind}, seed {seed}: these grades are not the ones that were kept: {wrong}"
        for note in notes:
            assert "damaged" in note and "graded again" in note
        with Journal(out) as again:  # and it can be written again
            for key, one in kept.items():
                again.keep(key, one)
            assert again.notes == []
        assert read(out, list(kept)) == (kept, [])


def test_of_a_spoilt_journal_the_whole_pages_are_kept(tmp_path: Path) -> None:
    kept = filled(tmp_path, 200)
    path = tmp_path / journal.NAME
    data = bytearray(path.read_bytes())
    middle = len(data) // PAGE // 2 * PAGE
    data[middle : middle + PAGE] = bytes(PAGE)
    path.write_bytes(data)
    found, notes = read(tmp_path, list(kept))
    assert len(found) > 20, "one bad page in the middle must not cost what lies before and behind it"
    assert notes and f"{len(found)} grades could be read" in notes[0]
    assert (tmp_path / journal.DAMAGED).is_file(), "the damaged file must be kept for whoever wants to look"


def test_a_row_that_was_changed_by_hand_is_not_believed(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    rows = sqlite3.connect(tmp_path / journal.NAME)
    with rows:
        rows.execute("UPDATE rows SET text = replace(text, '\"points\": 0', '\"points\": 2') WHERE key = 'key 000'")
    rows.close()
    assert set(read(tmp_path, ["key 000", "key 001"])[0]) == {"key 001"}


def test_a_submission_that_was_spoilt_is_written_again_by_the_next_run(tmp_path: Path) -> None:
    with Journal(tmp_path) as kept:
        kept.open_batch(about(0), [ADA])
    rows = sqlite3.connect(tmp_path / journal.NAME)
    with rows:
        rows.execute("UPDATE rows SET text = replace(text, 'double', 'trouble') WHERE kind = 'submission'")
    rows.close()
    with Journal(tmp_path) as kept:
        assert kept.submissions() == []
        kept.open_batch(about(0), [ADA])
        assert kept.submissions() == [ADA]
