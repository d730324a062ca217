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
from typing import Any

import pytest

from tito.errors import TitoError
from tito.grading import journal
from tito.grading.about import About
from tito.grading.changes import Change, Reported, Score
from tito.grading.conditions import Conditions, Keys
from tito.grading.grade import Grade, joined
from tito.grading.journal import Journal
from tito.grading.options import Options, Shard
from tito.grading.sealed_rows import sealed
from tito.grading.submission import Submission
from tito.testing.outcome import Outcome

PAGE = 4096  # SQLite's
CONDITIONS = Conditions("01_toy", Options(), {"tito": "1"}, {"given code": "1"}, {"double": {"tests of double": "1"}})
ADA = Submission("ada", {"double": ("def double(x):\n    return 2 * x",)}, ("a remark",))


def grade(name: str, points: int = 2, message: str = "") -> Grade:
    outcome = Outcome(
        "passed" if points else "claim", detail=message, exercise="double", title="Twice", points=points, max_points=2
    )
    return Grade(name, (outcome,), "graded", 0.5, ("said",), "digest")


def keys(key: str) -> Keys:
    """Of a submission in one exercise."""
    return Keys(f"all of {key}", {"double": key})


def filled(out: Path, count: int, close: bool = True) -> dict[str, Grade]:
    """A journal of so many grades, some of them longer than a page; without `close`, as a kill leaves it."""
    grades = {f"key {n:03}": grade(f"student {n}", n % 3 and 2, "why " * (n % 7) * 300) for n in range(count)}
    if close:
        with Journal(out) as kept:
            for key, one in grades.items():
                kept.keep(keys(key), one)
        return grades
    code = (
        "import json, os, sys; from pathlib import Path; from tito.grading.journal import Journal\n"
        "from tito.grading.grade import Grade; from tito.grading.conditions import Keys\n"
        "kept = Journal(Path(sys.argv[1]))\n"
        "for key, one in json.load(sys.stdin).items():\n"
        "    kept.keep(Keys(f'all of {key}', {'double': key}), Grade.from_json(one))\n"
        "os._exit(9)"  # nothing is closed, nothing tidied up
    )
    sent = json.dumps({key: one.as_json() for key, one in grades.items()}).encode()
    done = subprocess.run([sys.executable, "-c", code, str(out)], input=sent, capture_output=True)
    assert done.returncode == 9, done.stderr.decode()
    return grades


def read(out: Path, names: list[str]) -> tuple[dict[str, Grade], list[str]]:
    with Journal(out) as kept:
        return {name: found["double"] for name in names if (found := kept.known(keys(name)))}, kept.notes


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
        kept.keep(keys("key"), grade("ada", 0))
        kept.keep(keys("key"), grade("ada", 2))
        assert kept.known(keys("key")) == {"double": grade("ada", 2)}


def test_a_failure_of_the_grader_is_no_grade_and_replaces_none(tmp_path: Path) -> None:
    failure = Grade("ada", (), "machinery", 0.0, ("the grader failed",))
    with Journal(tmp_path) as kept:
        kept.keep(keys("key"), failure)
        assert (kept.known(keys("key")), kept.failure(keys("key"))) == ({}, failure)
        kept.keep(keys("key"), grade("ada"))
        assert (kept.known(keys("key")), kept.failure(keys("key"))) == ({"double": grade("ada")}, None)
        kept.keep(keys("key"), failure)
        assert (kept.known(keys("key")), kept.failure(keys("key"))) == ({"double": grade("ada")}, failure)


def both(points: int, **how: Any) -> Grade:
    """A run of two exercises."""
    outcomes = [replace(grade("ada", points).outcomes[0], exercise=name) for name in ("double", "counter")]
    return Grade("ada", tuple(outcomes), "graded", 1.0, ("said",), "digest", **how)


TWO = Keys("whole", {"double": "key 1", "counter": "key 2"})


def test_each_exercise_is_kept_by_itself(tmp_path: Path) -> None:
    with Journal(tmp_path) as kept:
        kept.keep(TWO, both(2))
        changed = Keys("whole, changed", {"double": "key 1", "counter": "key 3"})
        assert {name: one.outcomes for name, one in kept.known(changed).items()} == {"double": both(2).outcomes[:1]}
        kept.keep(changed, replace(both(0), outcomes=both(0).outcomes[1:]))
        assert [one.points for one in kept.known(changed).values()] == [2, 0]
        assert [one.points for one in kept.known(TWO).values()] == [2, 2], "what was changed back is known again"
        assert joined([*kept.known(TWO).values()]) == both(2)


def test_what_was_cut_short_counts_together_or_not_at_all(tmp_path: Path) -> None:
    with Journal(tmp_path) as kept:
        kept.keep(TWO, both(0, cut_short=True))
        assert joined([*kept.known(TWO).values()]) == both(0, cut_short=True)
        assert kept.known(Keys("whole, changed", {"double": "key 1", "counter": "key 3"})) == {}
        kept.keep(TWO, both(2))
        assert joined([*kept.known(TWO).values()]) == both(2), "a later run that was not cut short takes its place"


def about(seed: int) -> About:
    return About(replace(CONDITIONS, options=Options(seed=seed)), Shard(), "roll")


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
        *(replace(CONDITIONS, module="02"), replace(CONDITIONS, course={"given code": "changed"})),
        *(replace(CONDITIONS, grader={"tito": "changed"}), replace(CONDITIONS, options=Options(unsafe=True))),
        replace(CONDITIONS, exercises={"double": {"tests of double": "changed"}}),
        *(replace(CONDITIONS, options=Options(seed=1)), replace(CONDITIONS, options=Options(limit_seconds=1.0))),
    ],
    ids=["module", "course", "grader", "unsafe", "tests", "seed", "limit_seconds"],
)
def test_a_grade_counts_only_under_its_own_conditions(changed: Conditions) -> None:
    assert changed.keys(ADA).each["double"] != CONDITIONS.keys(ADA).each["double"]


def test_an_exercise_alone_or_among_others_has_one_key() -> None:
    two = replace(CONDITIONS, exercises=CONDITIONS.exercises | {"counter": {}})
    alone = replace(two, options=Options(exercise="double"))
    assert alone.keys(ADA).each == {"double": two.keys(ADA).each["double"]}
    assert alone.keys(ADA).whole != two.keys(ADA).whole


def test_a_grade_belongs_to_the_cells_and_not_to_a_name() -> None:
    assert CONDITIONS.keys(replace(ADA, name="eve", remarks=())) == CONDITIONS.keys(ADA)
    assert CONDITIONS.keys(replace(ADA, cells={"double": ("pass",)})) != CONDITIONS.keys(ADA)


def test_two_writers_are_refused_with_a_sentence(tmp_path: Path) -> None:
    with Journal(tmp_path) as kept:
        with pytest.raises(TitoError, match="another `tito grade` is at work there"):
            Journal(tmp_path)
        kept.keep(keys("key"), grade("ada"))
    assert read(tmp_path, ["key"])[0]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(TitoError, match="could not be written"):
        Journal(tmp_path / "file" / "out")


def test_a_full_disk_is_named_and_what_was_kept_stays(tmp_path: Path) -> None:
    with Journal(tmp_path) as kept:
        kept.keep(keys("key"), grade("ada"))
        kept._rows.execute("PRAGMA max_page_count = 1")  # SQLite then says what it says on a full disk
        with pytest.raises(TitoError, match="the disk is full"):
            for number in range(100):
                kept.keep(keys(f"more {number}"), grade("ada", message="why " * 1000))
        assert kept.known(keys("key")) == {"double": grade("ada")}
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
                again.keep(keys(key), one)
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


OLD_TABLE = "CREATE TABLE rows (kind TEXT, key TEXT, text TEXT, seal TEXT, PRIMARY KEY (kind, key))"


def test_a_journal_of_another_form_is_set_aside_with_a_sentence(tmp_path: Path) -> None:
    """As it was before exercises were kept by themselves: the conditions were two hashes."""
    old = {"conditions": {"module": "01_toy", "options": {}, "course": "1", "grader": "2"}, "shard": {}, "roll": ""}
    for number in range(2):
        rows = sqlite3.connect(tmp_path / journal.NAME)
        with rows:
            rows.execute(OLD_TABLE)
            rows.execute("INSERT INTO rows VALUES (?, ?, ?, ?)", sealed("about", "batch", old | {"roll": str(number)}))
        rows.close()
        with Journal(tmp_path) as kept:
            assert kept.about() is None and len(kept.notes) == 1
            assert "was written by another version of tito" in kept.notes[0]
        assert read(tmp_path, []) == ({}, []), "it is told once"
        (tmp_path / journal.NAME).unlink()
    assert [(tmp_path / name).is_file() for name in (journal.EARLIER, f"{journal.EARLIER}1")] == [True, True]


def test_a_whole_row_that_nobody_understands_is_left_behind(tmp_path: Path) -> None:
    with Journal(tmp_path) as kept:
        kept.keep(keys("key"), grade("ada"))
        kept.open_batch(about(0), [ADA])
    rows = sqlite3.connect(tmp_path / journal.NAME)
    with rows:
        for kind, key in (("grade", "key"), ("about", "batch"), ("submission", "ada"), ("reported", "")):
            rows.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", sealed(kind, key, {"a word": "of later"}))
    rows.close()
    with Journal(tmp_path) as kept:
        assert (kept.known(keys("key")), kept.about(), kept.submissions(), kept.reported(None)) == ({}, None, [], None)


def test_what_was_reported_and_every_change_of_points_come_back_in_order(tmp_path: Path) -> None:
    first = Reported(CONDITIONS, {"ada": "digest"}, {"ada": {"double": Score(2, 2, "")}})
    alone = replace(first, conditions=replace(CONDITIONS, options=Options(exercise="double")), scores={})
    changes = [Change("2026-11-29 18:53:00", "ada", "double", old, old + 1, "claim", "why") for old in range(12)]
    with Journal(tmp_path) as kept:
        assert kept.reported(None) is None
        kept.report(first, changes[:1])
        kept.report(alone, changes[1:])
    with Journal(tmp_path) as kept:
        assert (kept.reported(None), kept.reported("double"), kept.history()) == (first, alone, changes)
