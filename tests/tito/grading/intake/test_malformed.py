"""Intake of what is damaged or was made to do damage: refused or graded as what remains, and no one else harmed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tito.grading.intake import collecting, unpacking
from tito.grading.intake.unpacking import Budget, Refused

from ...toy_course import ROOT
from . import malformed
from .handed import TEXT, TOY, as_page
from .malformed_zips import Case

RUN = """
import json, sys
from pathlib import Path
from tito.course.edition import Edition
from tito.course.module import load_module
from tito.grading.intake import collecting
from tito.course.project import Project
project = Project(Path(sys.argv[1]))
found = collecting.collect(Edition(project, load_module(project, "01_toy")), Path(sys.argv[2]))
status = Path("/proc/self/status")
peak = status.read_text().partition("VmHWM:")[2].split()[0] if status.exists() else "0"
json.dump({"peak_kib": int(peak), "found": [[s.name, s.refused, s.remarks, s.cells] for s in found]}, sys.stdout)
"""


class Fuzzed(NamedTuple):
    """What became of the malformed submissions."""

    fates: dict[str, Case]
    found: dict[str, tuple[str, list[str], dict[str, list[str]]]]  # by name: why it was refused, remarks, cells
    peak_kib: int
    states: tuple[object, object]  # of the folder, before and after


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    """All malformed submissions in one folder between honest ones, taken in by a process of its own."""
    folder = tmp_path_factory.mktemp("malformed")
    page = json.loads(as_page(TEXT))
    fates = dict[str, Case]()
    for case in malformed.cases(page, TEXT):
        student = folder / "all" / f"{len(fates):03}"
        student.mkdir(parents=True)
        case.write(student)
        fates[student.name] = case
    for who in ("000 honest", "an honest one", "zz honest"):
        (folder / "all" / who).mkdir()
        (folder / "all" / who / "toy_dev.py").write_text(TEXT, encoding="utf-8")
    before = _state(folder)
    command = [sys.executable, "-c", RUN, str(TOY.root), str(folder / "all")]
    done = subprocess.run(
        command, capture_output=True, timeout=300, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr.decode()[-2_000:]
    told = json.loads(done.stdout)
    found = {name: (refused, remarks, cells) for name, refused, remarks, cells in told["found"]}
    yield Fuzzed(fates, found, told["peak_kib"], (before, _state(folder)))
    for path in (folder / "all").glob("*/toy_dev.ipynb"):
        path.unlink() if path.is_symlink() or path.is_fifo() else None


def _state(folder: Path) -> list[tuple[str, int, int]]:
    found = ((path, path.lstat()) for path in folder.rglob("*"))
    return sorted((str(path), status.st_size, status.st_mtime_ns) for path, status in found)


def test_there_are_hundreds_of_malformed_submissions_and_each_has_its_own_name(fuzzed: Fuzzed) -> None:
    fates = fuzzed.fates
    assert len(fates) >= 200 and len({case.name for case in fates.values()}) == len(fates)


def test_every_malformed_submission_is_refused_or_graded_as_what_remains_with_a_sentence(fuzzed: Fuzzed) -> None:
    fates, found = fuzzed.fates, fuzzed.found
    honest = found["an_honest_one"][2]
    wrong = []
    for number, case in fates.items():
        refused, remarks, cells = found[number]
        became = {"refused": bool(refused), "remarked": bool(cells and remarks), "harmless": cells == honest}
        told = any(case.says in sentence for sentence in (refused, *remarks))
        if not told or not (became[case.fate] if case.fate != "any" else refused or cells):
            wrong.append(f"{case.name}: expected {case.fate} {case.says!r}, got {refused=} {remarks=} {sorted(cells)=}")
    assert not wrong, "\n".join(wrong)


def test_what_is_said_about_malformed_submissions_is_one_printable_line_that_is_not_endless(fuzzed: Fuzzed) -> None:
    for refused, remarks, _ in fuzzed.found.values():
        for sentence in (refused, *remarks):
            assert sentence.isprintable() and len(sentence) < 500, f"{sentence[:600]!r}"
        assert len(remarks) <= collecting.MOST_REMARKS + 1
        assert "cannot be read (" not in refused, f"an exception that nobody thought of: {refused}"


def test_malformed_submissions_do_not_harm_the_honest_ones_among_them(fuzzed: Fuzzed) -> None:
    fates, found = fuzzed.fates, fuzzed.found
    honest = [found.pop(name) for name in ("000_honest", "an_honest_one", "zz_honest")]
    assert all(one == honest[0] and one[:2] == ("", []) and set(one[2]) == {"double", "counter"} for one in honest)
    assert found.keys() == fates.keys(), "each is one submission, and none was lost"
    found |= dict(zip(("000_honest", "an_honest_one", "zz_honest"), honest, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="a process's own peak is read from /proc")
def test_malformed_submissions_take_less_than_300_mb_of_memory(fuzzed: Fuzzed) -> None:
    assert fuzzed.peak_kib * 1024 < 300e6, f"the peak was {fuzzed.peak_kib / 1024:.0f} MiB"


def test_intake_writes_nothing(fuzzed: Fuzzed) -> None:
    before, after = fuzzed.states
    assert before == after


@pytest.mark.skipif(sys.platform == "win32", reason="links need no rights on Unix only")
def test_a_file_that_becomes_a_link_or_a_pipe_after_it_was_listed_is_not_opened(tmp_path: Path) -> None:
    secret, file = tmp_path / "secret", tmp_path / "toy_dev.py"
    secret.write_text("secret", encoding="utf-8")
    for become in (lambda: file.symlink_to(secret), lambda: os.mkfifo(file)):
        file.write_text("x = 1", encoding="utf-8")
        (entry,) = (entry for entry in unpacking.walk(tmp_path) if entry.name == file.name)
        file.unlink()
        become()
        with ExitStack() as stack, pytest.raises(Refused, match="cannot be opened|neither a file nor a folder"):
            unpacking.read(entry, Budget(stack))
        file.unlink()
