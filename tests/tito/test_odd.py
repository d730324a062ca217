"""Odd files and odd places: one sentence each, the right exit status, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tito.course import notebook
from tito.learning import watch_loop
from tito.testing import pytest_process

NOTEBOOK = "modules/source/01_toy/toy_dev.py"
PAGE = "modules/source/01_toy/toy_dev.ipynb"


def page(course, **changes):
    """Keep only the .ipynb, as JSON with these keys changed; None takes one away."""
    path = course.root / NOTEBOOK
    book = json.loads(notebook.page_text(notebook.load(course.project, path))) | changes
    course.write(PAGE, json.dumps({key: value for key, value in book.items() if value is not None}))
    path.unlink()


@pytest.mark.parametrize(
    "changes",
    [{"nbformat": None}, {"nbformat": None, "nbformat_minor": None}, {"nbformat": "4"}, {"metadata": None}]
    + [{"metadata": {"jupytext": "x"}}, {"nbformat_minor": 99}, {"extra": [float("nan"), 10**400]}],
    ids=str,
)
def test_a_notebook_needs_no_more_than_its_cells(edition, changes):
    page(edition, **changes)
    for command in ("export", "status", "doctor"):
        said = edition.tito(command)
        assert (said.status, said.err) == (0, "") or command == "doctor", said
    assert edition.tito("start", "--no-lab").status == 0
    assert "exercise: double" in edition.read(NOTEBOOK)
    assert edition.tito("reset", "double").status == 0
    assert edition.tito("submit", "--untested").status == 0


OLD = {"worksheets": [{"cells": []}], "metadata": {}, "nbformat": 3, "nbformat_minor": 0}
DAMAGED = {
    "empty": "",
    "cut off": '{"cells": [',
    "a list": "[]",
    "a number": "1",
    "no cells": "{}",
    "cells of text": '{"cells": ["x"]}',
    "cells of none": '{"cells": null}',
    "a source of numbers": '{"cells": [{"cell_type": "code", "source": 1}]}',
    "nested too deeply": "[" * 200_000,
    "a number too long": '{"cells": [], "x": ' + "9" * 10_000 + "}",
    "of before 2015": json.dumps(OLD),
    "a page of HTML": "<html>",
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("alone", [True, False])
def test_a_damaged_ipynb_is_one_sentence_for_every_command(edition, damage, alone):
    edition.write(PAGE, DAMAGED[damage])
    if alone:
        (edition.root / NOTEBOOK).unlink()
    before = edition.files()
    for arguments in (["export"], ["test"], ["submit", "--untested"], ["start", "--no-lab"], ["reset", "double"]):
        edition.tito(*arguments).refuses("toy_dev.ipynb cannot be read as a notebook (")
    assert edition.tito("status").status == 0
    after = edition.files()
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("where", ["code", "markdown", "output"])
def test_half_a_surrogate_pair_stops_nothing(edition, where):
    path = edition.root / NOTEBOOK
    book = json.loads(notebook.page_text(notebook.load(edition.project, path)))
    path.unlink()
    output = {"output_type": "stream", "name": "stdout", "text": "a \ud83d b"}
    code = {"cell_type": "code", "id": "x", "metadata": {}, "execution_count": 1, "outputs": [], "source": "x = 1"}
    extra = {
        "code": code | {"source": "x = 'a \ud83d b'"},
        "markdown": {"cell_type": "markdown", "id": "x", "metadata": {}, "source": "a \ud83d b"},
        "output": code | {"outputs": [output]},
    }[where]
    book["cells"].insert(3, extra)
    edition.write(PAGE, json.dumps(book))
    assert edition.tito("reset", "double").status == 0
    assert edition.tito("export").status == 0
    assert json.loads(edition.read(PAGE))["cells"][3] == extra, "what is not reset stays as it was"
    assert edition.tito("start", "--no-lab").status == 0
    assert notebook.read(edition.project, path).path == path, "and the two forms agree"
    assert edition.tito("submit", "--untested").status == 0


def test_half_a_surrogate_pair_in_exported_code_becomes_a_question_mark(edition):
    edition.change(NOTEBOOK, "START = 0", "START = 0\nTEXT = 'half'")
    page(edition)
    edition.change(PAGE, "half", "\\ud83d")
    assert edition.tito("export").status == 0
    assert "TEXT = '?'" in edition.read("toy/sums.py")


def test_folders_and_links_in_a_notebooks_place_are_told(edition):
    (edition.root / PAGE).mkdir()
    assert edition.tito("export").status == 0, "a folder is no other form of the notebook"
    edition.tito("start", "--no-lab").refuses("toy_dev.ipynb could not be written (Is a directory)")
    (edition.root / PAGE).rmdir()
    (edition.root / NOTEBOOK).unlink()
    (edition.root / NOTEBOOK).mkdir()
    edition.tito("export").refuses("toy_dev.py")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows few of these names")
@pytest.mark.parametrize("name", ["[x]", "-x", "$HOME a::b #1 100% *?{x} @\\ Übung 汉"])
def test_a_course_may_lie_in_a_folder_of_any_name(edition, tmp_path, name):
    root = tmp_path / name
    shutil.copytree(edition.root, root)
    command = [sys.executable, "-m", "tito", "test", "--exercise", "double"]
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and "not started yet: write your code at modules/" in done.stdout, done


def test_what_pytest_says_of_an_error_keeps_its_first_letter(course):
    course.write("tests/01_toy/conftest.py", "raise RuntimeError('Every letter counts')\n")
    course.tito("test", "01").refuses("Every letter counts")
    course.write("tests/01_toy/conftest.py", "pytest_plugins = ['no_such_plugin_E']\n")
    said = course.tito("test", "01")
    assert "RROR" not in said.err.replace("ERROR", "") and "no_such_plugin_E" in said.err


def test_only_files_of_the_course_are_named_from_its_folder(course, tmp_path):
    inside, outside = course.root / "tests" / "test_a.py", tmp_path / "test_b.py"
    assert pytest_process._from_root(course.project, str(inside)) == str(Path("tests", "test_a.py"))
    assert pytest_process._from_root(course.project, str(outside)) == str(outside)
    assert pytest_process._from_root(course.project, "--hypothesis-seed") == "--hypothesis-seed"


def call(course, body):
    course.change(NOTEBOOK, "return 2 * x", body)
    return course.tito("test", "01", "--exercise", "double").out


@pytest.mark.parametrize(
    "exits", ["exit()", "quit(1)", "import sys; sys.exit('bye')", "raise SystemExit(2)", "import os; os._exit(0)"]
)
def test_exit_is_told_with_its_line(course, exits):
    out = call(course, f"{exits}")
    assert "SystemExit" in out and f"{NOTEBOOK}:{course.line_of(NOTEBOOK, exits)}: {exits}" in out


@pytest.mark.parametrize("asks", ["input()", "input('x? ')", "import sys; return input() + sys.stdin.readline()"])
def test_input_is_told_in_words_of_our_own(course, asks):
    out = call(course, asks)
    assert "the code calls input(), but while tests run there is nobody who could type" in out and "pytest" not in out
    assert f"{NOTEBOOK}:{course.line_of(NOTEBOOK, asks)}: {asks}" in out


def test_watch_looks_at_the_folder_itself_and_asks_the_system_for_nothing(edition, monkeypatch):
    """The number of inotify instances is limited, and a network drive tells of no change."""
    from tito.course.module import load_module

    asked = {}

    def changes(*folders, **options):
        asked.update(options)
        return iter([{(1, str(edition.root / NOTEBOOK))}])

    events = watch_loop.queue.Queue()
    watch_loop._follow_files(load_module(edition.project, "01_toy"), changes, watch_loop.threading.Event(), events)
    assert asked["force_polling"] is True and events.get() == ("saved", None)


@pytest.mark.parametrize("kind", ["damaged", "cut off", "encrypted", "no zip", "empty", "another method"])
def test_an_archive_that_cannot_be_unpacked_is_one_sentence(course, kind):
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
    path.write_bytes({"cut off": data[: len(data) // 2], "no zip": b"text", "empty": b""}.get(kind, data))
    course.tito("hint", "double", "--beside", str(path)).refuses("their.zip cannot be unpacked (", "ask for it again")


if sys.platform != "win32":

    @pytest.mark.parametrize("closed", [(1,), (0, 1, 2)])
    def test_a_closed_stream_changes_no_result_and_gets_no_file(edition, closed):
        def close():
            for number in closed:
                os.close(number)

        command = [sys.executable, "-m", "tito", "status", "--json", "out.json"]
        done = subprocess.run(command, cwd=edition.root, preexec_fn=close, capture_output=True, encoding="utf-8")
        assert done.returncode == 0 and "Traceback" not in done.stderr
        assert json.loads(edition.read("out.json"))["max_points"] == 5

    def test_nobody_listens_and_nothing_is_complained_of(edition):
        command = f'"{sys.executable}" -m tito status | true; exit ${{PIPESTATUS[0]}}'
        done = subprocess.run(["bash", "-c", command], cwd=edition.root, capture_output=True, encoding="utf-8")
        assert done.stderr == ""

    @pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM"])
    def test_a_terminal_that_is_closed_leaves_nothing_half_written(edition, name):
        """The signal comes in the middle of the last write."""
        code = (
            "import os, signal, sys\nfrom tito import cli, files\nreal = files._write_synced\n"
            "def write(path, data):\n    real(path, data)\n"
            f"    if 'sums.py' in path.name:\n        os.kill(os.getpid(), signal.{name})\n"
            "files._write_synced = write\nsys.exit(cli.main(['export']))\n"
        )
        edition.change(NOTEBOOK, "START = 0", "START = 7")
        before = edition.read("toy/sums.py")
        done = subprocess.run([sys.executable, "-c", code], cwd=edition.root, capture_output=True, encoding="utf-8")
        assert done.returncode == {"SIGHUP": 129, "SIGTERM": 143}[name] and done.stderr == ""
        assert edition.read("toy/sums.py") == before
        assert not [path for path in edition.root.rglob("*") if path.name.endswith(".new")]
