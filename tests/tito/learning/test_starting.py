"""`tito start` makes the page that JupyterLab opens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tito.course.project import Project
from tito.errors import Status
from tito.learning import starting

from ..toy_course import NOTEBOOK, PAGE, ROOT, Course


def test_start_makes_the_page_that_jupyter_opens(edition: Course) -> None:
    said = edition.tito("start", "--no-lab")
    assert said.status == Status.DONE and said.out.startswith(f"{PAGE} was written, from toy_dev.py.\n")
    assert f"\nNext: tito watch, with {PAGE} or toy_dev.py open in your editor" in said.out
    page = json.loads(edition.read(PAGE))
    assert page["metadata"]["jupytext"]["formats"] == "ipynb,py:percent"
    assert page["metadata"]["kernelspec"]["name"] == "python3"
    assert page["metadata"]["language_info"]["file_extension"] == ".py", "by it nbconvert --to script names its file"
    assert page["metadata"]["language_info"]["nbconvert_exporter"] == "python"
    again = edition.read(PAGE)
    assert f"{PAGE} is there, and holds what toy_dev.py holds.\n" in edition.tito("start", "--no-lab").out
    assert edition.read(PAGE) == again
    edition.change(PAGE, "# YOUR CODE HERE", "x = 1 #")
    assert f"{NOTEBOOK} was written, from toy_dev.ipynb.\n" in edition.tito("start", "--no-lab").out


def test_without_jupyterlab_start_says_how_to_go_on(edition: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = edition.tito("start")
    assert said.status == Status.FAILED
    assert "JupyterLab is not installed" in said.err and "VS Code" in said.err and sys.executable in said.err
    assert (edition.root / PAGE).is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
@pytest.mark.parametrize("place", ["__init__", "__main__"])
def test_ctrl_c_ends_jupyterlab_with_a_sentence_while_it_is_imported_and_later(tmp_path: Path, place: str) -> None:
    package = tmp_path / "jupyterlab"
    package.mkdir()
    for name in ("__init__", "__main__"):
        (package / f"{name}.py").write_text("raise KeyboardInterrupt" if name == place else "", encoding="utf-8")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    code = "from pathlib import Path\nfrom tito.course.project import Project\nfrom tito.learning import starting\n"
    code += f"here = Path({str(tmp_path)!r})\nstarting.processes.environment = lambda project: {env!r}\n"
    code += "starting.open_lab(Project(here), here / 'x.ipynb', [])"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, encoding="utf-8")
    assert done.returncode == Status.INTERRUPTED
    assert done.stderr == "tito: stopped by Ctrl-C: JupyterLab no longer runs.\n"


def test_where_to_write_is_told_by_cell_too_where_there_is_a_page(edition: Course) -> None:
    edition.tito("start", "--no-lab")
    line = edition.line_of(NOTEBOOK, "raise NotImplementedError")
    said = edition.tito("test", "01").out
    assert f"write your code at {NOTEBOOK}:{line} (cell 5, line 10)" in said, said
    (edition.root / NOTEBOOK).unlink()
    assert f"write your code at {PAGE}: cell 5, line 10" in edition.tito("test", "01").out


@pytest.mark.parametrize(
    "arguments, options",
    [
        (["--no-browser"], ["--no-browser"]),
        (["--port", "9999", "--no-browser"], ["--port", "9999", "--no-browser"]),
        (["01", "--port", "9999"], ["--port", "9999"]),
        (["01_toy"], []),
        ([], []),
    ],
)
def test_options_go_to_jupyterlab_whether_or_not_a_module_is_named(
    edition: Course, monkeypatch: pytest.MonkeyPatch, arguments: list[str], options: list[str]
) -> None:
    opened = list[tuple[Path, list[str]]]()

    def open_lab(project: Project, page: Path, given: list[str]) -> int:
        opened.append((page, given))
        return 0

    monkeypatch.setattr(starting, "open_lab", open_lab)
    assert edition.tito("start", *arguments).status == Status.DONE
    assert opened == [(edition.root / PAGE, options)]
