"""An exercise's tests, run inside a notebook's own kernel on what its cells have defined: for nbgrader's test cells."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tito import reporting
from tito.door import InProcess, Student

QUIET = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:unraisableexception", "--import-mode=importlib"]


def passes(
    exercise: str,
    defined: dict[str, Any],
    exported_as: str = "",
    tests: str = "tests",
    hidden: Mapping[str, str] | None = None,
) -> None:
    """Run `tests/test_EXERCISE.py` on a notebook's globals(). AssertionError tells the first failure.

    exported_as: the module that this notebook is exported to; what was imported from there was not written here.
    hidden: file names and texts of tests that are run instead, beside the same conftest.py.
    """
    for name, value in defined.items():
        if exported_as and getattr(value, "__module__", None) == exported_as:
            raise AssertionError(f"{exercise}: {name} was imported from {exported_as}: write it in this notebook")
    with tempfile.TemporaryDirectory(prefix="tito_tests_") as folder:
        copy = Path(folder, "tests")
        shutil.copytree(tests, copy, ignore=shutil.ignore_patterns("__pycache__"))
        where = copy / "hidden" if hidden else copy
        for name, text in (hidden or {}).items():
            where.mkdir(exist_ok=True)
            (where / name).write_text(text, encoding="utf-8")
        (copy / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        told = _run(where / f"test_{exercise}.py", copy, defined)
    if told:
        raise AssertionError(f"{exercise}: {told}")


def _run(file: Path, root: Path, defined: dict[str, Any]) -> str:
    """The first failure, in words; empty where all tests pass."""
    here = _Here(defined)
    above = root.parent.parent  # modules are named from here: by a folder no earlier run had, so that none is reused
    where = ["--rootdir", str(above), "--confcutdir", str(root), "-c", str(root / "pytest.ini")]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = pytest.main([*QUIET, *where, str(file)], plugins=[here])
    if here.failure or (status == pytest.ExitCode.OK and here.ran):
        return here.failure
    return f"the tests could not be run:\n{said.getvalue()[-1000:]}"


class _Here:
    """A pytest plugin: the fixture `student` is the notebook, and the first failure is kept."""

    def __init__(self, defined: dict[str, Any]) -> None:
        self._module = ModuleType("notebook")
        self._module.__dict__.update(defined)
        self.failure, self.ran = "", False

    @pytest.fixture(scope="module")
    def student(self) -> Student:
        return Student(InProcess(self._module), "this notebook")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self.ran |= report.when == "call" and report.passed
        if (report.failed or report.skipped) and not self.failure:
            told = (
                reporting.describe(call.excinfo.value, item.path) if call.excinfo else {"type": "", "text": "no reason"}
            )
            claim = item.name.removeprefix("test_").replace("_", " ")
            kind = "" if told["type"] in ("AssertionError", "Failed") and told["text"] else f"{told['type']}: "
            self.failure = f"{claim}:\n{kind}{told['text']}"
        return report
