"""The two distributions, and what one can do who has nothing but the wheel: no clone, no editable install.

`nox -s package` runs this.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tito.course import notebook, replacing
from tito.course.module import Module
from tito.course.project import Project

pytestmark = pytest.mark.wheel
LARGEST_WHEEL = 3_000_000  # bytes
UNTRACKED = ("notes.txt", "tito/notes.py", "tinytorch/notes.py", "docs/notes.md", "modules/source/notes.py")


def run(*command: str | Path, folder: Path, status: int = 0, **more: str) -> str:
    """What a command prints. Its environment names no course, and no folder of modules. more: variables."""
    ours = ("PYTHONPATH", "VIRTUAL_ENV", "TITO_PROJECT")
    env = {name: value for name, value in os.environ.items() if name not in ours} | {"NO_COLOR": "1"} | more
    done = subprocess.run([*map(str, command)], cwd=folder, env=env, capture_output=True, encoding="utf-8")
    shown = f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
    assert done.returncode == status, shown
    return done.stdout


@dataclass(frozen=True)
class Built:
    """The distributions of what is committed here, made in a clone in which files lie that git does not track."""

    tracked: frozenset[str]
    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def built(here: Project, tmp_path_factory: pytest.TempPathFactory) -> Built:
    clone, out = tmp_path_factory.mktemp("clone") / "tinytorch", tmp_path_factory.mktemp("dist")
    run("git", "clone", "-q", "--depth", "1", here.root.as_uri(), clone, folder=out)
    tracked = run("git", "ls-files", folder=clone).splitlines()
    for name in UNTRACKED:
        (clone / name).write_text("# mine\n", encoding="utf-8")
    run(sys.executable, "-m", "uv", "build", "-q", "--out-dir", out, clone, folder=out)  # a wheel from the sdist
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    run(sys.executable, "-m", "uv", "build", "-q", "--wheel", "--out-dir", out / "direct", clone, folder=out)
    assert names_in(out / "direct" / wheel.name) == names_in(wheel), "built from the clone, it holds other files"
    return Built(frozenset(tracked), wheel, sdist)


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {*archive.namelist()}


def test_the_source_distribution_holds_what_git_tracks_and_nothing_else(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        assert {name.partition("/")[2] for name in archive.getnames()} == built.tracked | {"PKG-INFO"}


def test_the_wheel_holds_of_what_git_tracks_the_packages_and_the_course(built: Built) -> None:
    held = {name for name in names_in(built.wheel) if ".dist-info/" not in name}
    packages = {name for name in built.tracked if name.startswith(("tinytorch/", "tito/"))}
    course = {name.removeprefix("tito/course_files/") for name in held - packages}
    assert packages <= held and course <= built.tracked - packages
    assert {"pyproject.toml", "modules/source/17_quantization/module.toml", "benchmarks/kernels.py"} <= course
    assert not [name for name in course if name.startswith(("tests/tito", "tests/e2e", ".github"))]


def test_the_wheel_is_small(built: Built) -> None:
    assert built.wheel.stat().st_size < LARGEST_WHEEL, f"{built.wheel.stat().st_size} bytes"


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and a folder in which there is nothing else."""

    programs: Path
    folder: Path

    def python(self, code: str, folder: Path | None = None) -> str:
        return run(self.programs / "python", "-c", code, folder=folder or self.folder)

    def tito(self, *arguments: str | Path, folder: Path | None = None, status: int = 0, **more: str) -> str:
        return run(self.programs / "tito", *arguments, folder=folder or self.folder, status=status, **more)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    env, uv = folder / "env", (sys.executable, "-m", "uv")
    programs = env / ("Scripts" if os.name == "nt" else "bin")
    run(*uv, "venv", "-q", "--python", sys.executable, env, folder=folder)
    run(*uv, "pip", "install", "-q", "-p", programs / "python", f"{built.wheel}[fast,deploy]", folder=folder)
    (folder / "mine ü").mkdir()
    return Installed(programs, folder / "mine ü")


def test_an_engineer_imports_the_package_and_quantizes_a_model(installed: Installed) -> None:
    where = installed.python("import tinytorch.quantization as tq; print(tq.quantize.__module__, tq.__file__)")
    assert where.startswith("tinytorch.quantization.quantize ") and "site-packages" in where
    assert "You are in no course." in installed.tito()
    assert "none here; `tito new quantization`" in installed.tito("doctor")
    small_model(installed.folder / "net.onnx")
    np.save(installed.folder / "x.npy", np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32))
    assert "net-int8.onnx: written and run" in installed.tito("quantize", "net.onnx", "--calibrate", "x.npy")


def test_the_pages_name_this_wheel(built: Built, installed: Installed, here: Project) -> None:
    for page in ("README.md", "docs/giving_out.md"):
        assert built.wheel.name in (here.root / page).read_text(encoding="utf-8"), page
    version = installed.python("import tinytorch; print(tinytorch.__version__)").strip()
    assert built.wheel.name.startswith(f"tinytorch-{version}-")
    assert f"## {version}" in (here.root / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("command", "made", "said"),
    [
        (["demo", "17"], "sizes.svg", "static int8, per channel, min-max"),
        (["deploy", "17"], "net.onnx", "times ours"),
        (["bench"], "products.json", "int8_matmul 512x1024x1024"),
    ],
    ids=["demo", "deploy", "bench"],
)
def test_in_no_course_the_example_in_a_programs_help_runs_to_its_end(
    installed: Installed, tmp_path: Path, command: list[str], made: str, said: str
) -> None:
    example = re.search(r"Example: tito (.+)", installed.tito(*command, "--help", folder=tmp_path))
    assert example and said in installed.tito(*example[1].split(), folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [made]


def small_model(path: Path) -> None:
    """Somebody's network of two layers."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {"w0": (16, 32), "w1": (32, 4)}
    made = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), name) for name, s in weights.items()]
    nodes = [("MatMul", ["x", "w0"], ["a"]), ("Relu", ["a"], ["b"]), ("MatMul", ["b", "w1"], ["y"])]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", w]) for n, w in (("x", 16), ("y", 4)))
    graph = helper.make_graph([helper.make_node(*node) for node in nodes], "net", [x], [y], made)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def solve_first(here: Project, module: Module, root: Path) -> str:
    """Write the reference's first exercise into the notebook of a student's folder; returns its name."""
    first = module.exercises[0]
    reference = module.notebook_of(first.id).path
    path = root / reference.relative_to(here.root)
    solved = replacing.graft(notebook.load(Project(root), path), notebook.load(here, reference), (first,))
    text = "\n".join(line for line in solved.split("\n") if "SOLUTION" not in line)
    path.write_text(text, encoding="utf-8", newline="\n")
    return first.id


def test_a_student_begins_from_the_wheel(installed: Installed, here: Project, module: Module) -> None:
    assert "Next: cd quantization && tito" in installed.tito("new", "quantization")
    mine = installed.folder / "quantization"
    assert "0 of 21 exercises passed" in installed.tito(folder=mine)
    first = solve_first(here, module, mine)
    assert "quantize.py  written" in installed.tito("export", folder=mine)
    assert f"{first}     5 of 5 points  passed" in installed.tito("test", first, folder=mine)
    assert "1 of 21 exercises passed, 5 of 100 points.\nNext: tito watch    quantize" in installed.tito(folder=mine)
    assert "hint 1 of 3" in installed.tito("hint", folder=mine)
    assert "_submission.zip" in installed.tito("submit", "--untested", folder=mine)
    told = installed.tito("doctor", folder=mine, TINYTORCH_KERNEL="numpy")  # the engineer's has tried the others
    assert f"tinytorch        {mine / 'tinytorch'}" in told, "the kernels and the package are those of this folder"
    page = notebook.load(Project(mine), module.notebooks[0].path)
    finds = next(cell.source for cell in page.code if "def course()" in cell.source)
    where = installed.python(f"{finds}\nimport tinytorch; print(tinytorch.__file__)", mine / "modules" / "source")
    assert Path(where.strip()).is_relative_to(mine), "a notebook's kernel imports what the student wrote"
    assert "is as it was given" in installed.tito("reset", first, folder=mine)


def test_an_instructor_teaches_from_the_wheel(installed: Installed, here: Project, module: Module) -> None:
    assert "tito release 17_quantization" in installed.tito("new", "course", "--instructor")
    course = installed.folder / "course"
    assert "Give out: tito release" in installed.tito(folder=course)
    assert "up to date" in installed.tito("export", "--check", folder=course)
    assert "100 of 100 points" in installed.tito("test", folder=course), "the reference earns all that there is"
    installed.tito("release", "17", "--to", "../given", folder=course)
    assert (installed.folder / "given" / "tito" / "cli.py").is_file(), "who has only the edition installs from it"
    solve_first(here, module, installed.folder / "given")
    (installed.folder / "handed in").mkdir()
    (installed.folder / "given").rename(installed.folder / "handed in" / "ada")
    told = installed.tito(
        "grade", "17", "../handed in", "--out", "../grades", "--exercise", "choose_qparams", folder=course
    )
    assert "1 graded" in told and "5 of 5 points" in told, told
