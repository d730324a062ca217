"""Of several files of one notebook the one with the most work is graded, then the newest, then the one so named."""

from __future__ import annotations

import io
import json
import os
import zipfile
from functools import partial
from pathlib import Path

import pytest

from tito.course import markers
from tito.course.edition import Edition
from tito.course.module import Module
from tito.grading.intake import collecting, unpacking

from .handed import TEXT, answer, as_page, solved
from .malformed_zips import zipped

STUB, GOOD, OLD = markers.stub(TEXT), solved("return x + x"), solved("return 7")
HALF = STUB[: STUB.index("# %%\n#| export\nSTART")] + OLD[OLD.index("# %%\n#| export\nSTART") :]  # counter, not double
SUBMITTED = zipped({"manifest.json": b"{}", "toy_dev.py": GOOD.encode()})

# What lies in a student's folder; of each the good one must be graded. All files have one date, as after an upload.
LAYOUTS: dict[str, dict[str, str | bytes]] = {
    "a stale stub .ipynb beside a fresh .py": {"toy_dev.ipynb": as_page(STUB), "toy_dev.py": GOOD},
    "a stale stub .py beside a fresh .ipynb": {"toy_dev.py": STUB, "toy_dev.ipynb": as_page(GOOD)},
    "a_backup beside z": {"a_backup/toy_dev.py": OLD, "z/toy_dev.py": GOOD},
    "old work beside src": {"hw old/toy_dev.ipynb": as_page(OLD), "src/toy_dev.ipynb": as_page(GOOD)},
    "a browser's second download": {"toy_dev (1).py": GOOD},
    "a second download beside the first": {"toy_dev.py": OLD, "toy_dev (1).py": GOOD},
    "a copy of Jupyter's": {"toy_dev-Copy1.ipynb": as_page(GOOD)},
    "a copy of Jupyter's beside the stub": {"toy_dev-Copy1.ipynb": as_page(GOOD), "toy_dev.ipynb": as_page(STUB)},
    "a copy of Jupyter's with old work": {"toy_dev-Copy1.ipynb": as_page(OLD), "toy_dev.ipynb": as_page(GOOD)},
    "a copy in which half is written": {"toy_dev-Copy1.py": HALF, "toy_dev.py": GOOD},
    "an unopened archive of tito submit": {"01_toy_submission.zip": SUBMITTED},
    "an unopened archive beside the stub": {"01_toy_submission.zip": SUBMITTED, "toy_dev.py": STUB},
    "work under another name beside the stub": {"toy_dev.py": STUB, "Final version.ipynb": as_page(GOOD)},
    "a file that breaks off beside the work": {"toy_dev.ipynb": as_page(OLD)[:900], "toy_dev.py": GOOD},
    "an empty file beside the work": {"toy_dev.ipynb": b"", "toy_dev.py": GOOD},
    "a notebook without nbformat": {
        "toy_dev.ipynb": json.dumps({"cells": json.loads(as_page(GOOD))["cells"]}),
    },
    "a repository": {".git/x/toy_dev.py": OLD, "README.md": "hi", "hw/toy_dev.py": GOOD, "hw/.tito/toy_dev.py": OLD},
    "capitals": {"TOY_DEV.PY": GOOD},
}


def put(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
        os.utime(folder / name, (1_000_000_000,) * 2)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("carrier", ["a folder a student", "Gradescope's folder", "a zip without dates"])
def test_every_grader_takes_the_work(layout: str, carrier: str, tmp_path: Path, toy_edition: Edition) -> None:
    put(tmp_path / "all" / "ada", LAYOUTS[layout])
    if carrier == "a folder a student":
        (found,) = collecting.collect(toy_edition, tmp_path / "all")
    elif carrier == "Gradescope's folder":
        found = collecting.one(toy_edition, "ada", partial(unpacking.walk, tmp_path / "all" / "ada"))
    else:
        bytes_of = {name: it if isinstance(it, bytes) else it.encode() for name, it in LAYOUTS[layout].items()}
        put(tmp_path / "class", {"ada.zip": zipped(bytes_of)})
        (found,) = collecting.collect(toy_edition, tmp_path / "class")
    assert answer(found) == "return x + x"
    visible = [name for name in LAYOUTS[layout] if "/." not in f"/{name}" and "README" not in name]
    if len(visible) > 1:
        assert any(name in remark for name in visible for remark in found.remarks), "what was ignored must be named"


def test_of_equal_work_the_newer_counts_whatever_it_is_called(tmp_path: Path, toy_edition: Edition) -> None:
    put(tmp_path / "ada", {"toy_dev.py": OLD, "backup/toy_dev-Copy2.ipynb": as_page(GOOD)})
    os.utime(tmp_path / "ada/backup/toy_dev-Copy2.ipynb", (1_000_090_000,) * 2)
    found = collecting.one(toy_edition, "ada", partial(unpacking.walk, tmp_path / "ada"))
    assert answer(found) == "return x + x"
    assert found.remarks == ("toy_dev.py differs from backup/toy_dev-Copy2.ipynb, the newer, which is graded",)


@pytest.mark.parametrize("seconds", [-30, 0, 30])
def test_dates_of_one_upload_do_not_tell_which_is_newer(seconds: int, tmp_path: Path, toy_edition: Edition) -> None:
    put(tmp_path / "ada", {"toy_dev.py": GOOD, "toy_dev-Copy1.py": OLD})
    os.utime(tmp_path / "ada/toy_dev-Copy1.py", (1_000_000_000 + seconds,) * 2)
    found = collecting.one(toy_edition, "ada", partial(unpacking.walk, tmp_path / "ada"))
    assert answer(found) == "return x + x"
    assert found.remarks == (
        "toy_dev-Copy1.py differs from toy_dev.py, by its name the one that is meant, which is graded",
    )


def test_a_library_that_defines_the_names_is_nobodys_work(tmp_path: Path, toy_edition: Edition) -> None:
    """Whoever hands in a whole course hands in its package and its tests' oracles too."""
    library = "def double(x):\n    return 2 * x\n\n\nclass Counter:\n    pass\n"
    put(tmp_path / "ada", {"hw/toy_dev.py": STUB, "hw/toy/sums.py": library, "hw/tests/oracle.py": library})
    put(tmp_path / "bob", {"oracle.py": library})
    ada, bob = (collecting.one(toy_edition, who, partial(unpacking.walk, tmp_path / who)) for who in ("ada", "bob"))
    assert ada.cells == collecting.given_cells(toy_edition)
    assert bob.refused.startswith("no exercise of 01_toy was found in oracle.py")


def test_a_draft_in_another_notebook_is_not_taken_where_the_notebook_itself_is_there(
    tmp_path: Path, toy_edition: Edition
) -> None:
    put(tmp_path / "ada", {"toy_dev.py": STUB, "scratch.ipynb": as_page("# %%\ndef double(x):\n    return 2 * x\n")})
    found = collecting.one(toy_edition, "ada", partial(unpacking.walk, tmp_path / "ada"))
    assert found.cells == collecting.given_cells(toy_edition)


def test_many_other_files_cost_no_points(tmp_path: Path, module: Module, toy_edition: Edition) -> None:
    """Far more code than anybody looks at: the newest is looked at first, and the rest is named."""
    much = GOOD + "\n# %%\n" + "x = 1\n" * 14_000
    put(tmp_path / "ada", {f"old/{number}/toy_dev.py": much.replace("x + x", "0") for number in range(40)})
    put(tmp_path / "ada", {"toy_dev.py": GOOD})
    os.utime(tmp_path / "ada/toy_dev.py", (1_000_090_000,) * 2)
    found = collecting.one(toy_edition, "ada", partial(unpacking.walk, tmp_path / "ada"))
    assert answer(found) == "return x + x"
    assert any("far more code was handed in than the module has" in remark for remark in found.remarks)


def test_in_an_archive_the_dates_of_its_members_count(toy_edition: Edition) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a/toy_dev.py", (2026, 3, 1, 12, 0, 0)), GOOD)
        archive.writestr(zipfile.ZipInfo("b/toy_dev.py", (2026, 2, 1, 12, 0, 0)), OLD)
    entry = unpacking.Entry("hw.zip", lambda: io.BytesIO(stream.getvalue()))
    assert answer(collecting.one(toy_edition, "ada", lambda: [entry])) == "return x + x"
