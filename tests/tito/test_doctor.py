from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tito import doctor

from .toy_course import NOTEBOOK, ODD_NAMES, Course

Examine = Callable[[], dict[str, doctor.Check]]


@pytest.fixture
def finding(course: Course) -> Examine:
    """Everything the doctor finds in the course, by name."""
    return lambda: {check.what: check for check in doctor.examine(course.root)}


def test_every_problem_comes_with_its_fix(course: Course, finding: Examine) -> None:
    course.change(
        "pyproject.toml", 'version = "1"', 'version = "1"\ndependencies = ["numpy>=99", "no-such-package>=1"]'
    )
    found = finding()
    assert found["numpy"].found == importlib.metadata.version("numpy") and "numpy>=99" in found["numpy"].problem
    assert found["no-such-package"].found == "not installed"
    assert all(one.fix for one in found.values() if one.problem)
    assert 'pip install "numpy>=99"' in found["numpy"].fix


def test_what_is_well_has_neither_problem_nor_fix(course: Course, finding: Examine) -> None:
    course.change(
        "pyproject.toml", 'version = "1"', 'version = "1"\nrequires-python = ">=3.11"\ndependencies = ["numpy>=1"]'
    )
    course.tito("export", "01")
    found = finding()
    for what in ("python", "output", "course", "blas", "cpu", "numpy", "01_toy"):
        assert found[what].found and not found[what].problem and not found[what].fix, found[what]
    assert "threads" in found["blas"].found and found["course"].found == str(course.root)


def test_a_python_that_is_too_old_is_a_problem(course: Course, finding: Examine) -> None:
    course.change("pyproject.toml", 'version = "1"', 'version = "1"\nrequires-python = ">=4"')
    assert "the course needs Python >=4" in finding()["python"].problem


def test_the_number_of_threads_that_is_set_is_told(
    course: Course, finding: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "3 threads (OMP_NUM_THREADS)" in finding()["blas"].found


def test_a_module_whose_export_is_old_or_impossible_is_a_problem(course: Course, finding: Examine) -> None:
    assert finding()["01_toy"].fix == "tito export 01_toy"
    course.tito("export", "01")
    assert finding()["01_toy"].found == "exported"
    course.change(NOTEBOOK, "return 2 * x", "return 2 *")
    broken = finding()["01_toy"]
    assert (
        broken.found == "cannot be exported"
        and f"{NOTEBOOK}:{course.line_of(NOTEBOOK, 'return 2 *')}" in broken.problem
    )


def test_a_package_that_is_not_installed_or_is_another_copy_is_a_problem(
    course: Course, finding: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = finding()["toy"]
    assert found.problem.startswith("ModuleNotFoundError: No module named 'toy'") and "pip install -e ." in found.fix
    course.change("pyproject.toml", 'package = "toy"', 'package = "json"')
    assert "Python imports another copy than" in finding()["json"].problem


def test_the_report_is_healthy_only_without_problems(course: Course, capsys: pytest.CaptureFixture[str]) -> None:
    said = course.tito("doctor", "--json", str(course.root / "out.json"))
    report = json.loads(course.read("out.json"))
    assert said.status == 1 and report["healthy"] is False
    assert "Fix: tito export 01_toy" in said.out
    assert {frozenset(one) for one in report["findings"]} == {frozenset({"what", "found", "problem", "fix"})}
    assert json.loads(doctor.as_json([doctor.Check("python", "3")]))["healthy"] is True


def test_outside_of_a_course_the_machine_is_still_examined(tmp_path: Path) -> None:
    found = {check.what: check for check in doctor.examine(tmp_path)}
    assert {"python", "output", "blas", "cpu"} <= found.keys()
    assert found["course"].problem == f"no course found in {tmp_path} or above it", "the cure is told once, as the fix"
    assert "--project DIR" in found["course"].fix


@pytest.mark.parametrize(
    "trial, problem, fix",
    [
        ("return ''", "", ""),
        ("return 'numba is broken (x; y); mend it'", "numba is broken (x; y)", "mend it"),
        ("raise ValueError('odd')", "a kernel does not run (ValueError: odd)", "set TINYTORCH_KERNEL=numpy"),
        ("import os; os.abort()", "a kernel does not run", "set TINYTORCH_KERNEL=numpy"),
    ],
    ids=["well", "a numba that does not work", "an exception", "a crash"],
)
def test_a_kernel_is_tried_for_real(
    course: Course, finding: Examine, monkeypatch: pytest.MonkeyPatch, trial: str, problem: str, fix: str
) -> None:
    """A list of kernels says nothing about a Numba that refuses this NumPy."""
    folder = course.root / "elsewhere" / "kernelled"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    code = f"def kernels(): return ['fast', 'numpy']\ndef try_kernels(): {trial}\n"
    (folder / "acceleration.py").write_text(code, encoding="utf-8")
    course.change("pyproject.toml", 'package = "toy"', 'package = "kernelled"')
    find = f"import sys; sys.path.append({str(folder.parent)!r})"
    monkeypatch.setattr(doctor, "ASK_KERNELS", find + doctor.ASK_KERNELS)
    found = finding()["kernels"]
    assert found.found == "fast, numpy" and problem in found.problem and bool(found.problem) == bool(problem)
    assert fix in found.fix


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows few of these names")
@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_command_that_mends_an_installation_leads_to_the_folder_that_it_names(
    course: Course, tmp_path: Path, name: str
) -> None:
    root = tmp_path / name
    shutil.copytree(course.root, root)
    fix = next(check.fix for check in doctor.examine(root) if check.what == "toy")
    enter = fix.partition(" && ")[0]
    done = subprocess.run(["sh", "-c", f"{enter} && pwd"], cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.stdout == f"{root}\n", fix


def test_a_numpy_that_is_far_too_old_is_told_and_not_stumbled_over(
    course: Course, finding: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 1.25 its `show_config` has no parameter."""
    monkeypatch.setattr(np, "show_config", lambda: None)
    course.change("pyproject.toml", 'version = "1"', 'version = "1"\ndependencies = ["numpy>=99"]')
    assert "the course needs numpy>=99" in finding()["numpy"].problem
