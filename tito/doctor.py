"""What this machine and this course are, and for everything that is wrong, how to mend it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tito import processes
from tito.course import exporting, given_files, shadowing
from tito.course.module import load_module, module_names
from tito.course.project import CARRIED, Project, find_project, is_project_root
from tito.errors import TitoError

PIP = processes.typed(sys.executable, "-m", "pip")
FEATURES = ("AVX2", "AVX512F", "AVX512VNNI", "AVX512_ICL", "AVX512_SPR", "ASIMD", "ASIMDDP", "SVE", "VSX", "RVV")
PATIENCE = 120.0  # seconds for the first import, which may compile
ASK_KERNELS = """
import importlib, json, warnings
warnings.simplefilter("ignore")
package = {package!r}
answer = {{"file": importlib.import_module(package).__file__, "kernels": ["numpy only"]}}
try:
    acceleration = importlib.import_module(package + ".acceleration")
except ModuleNotFoundError as error:
    if error.name != package + ".acceleration":
        raise
    print(json.dumps(answer))
else:
    answer["kernels"] = list(acceleration.kernels())
    print(json.dumps(answer), flush=True)
    print(json.dumps(acceleration.try_kernels()))
"""


@dataclass(frozen=True)
class Check:
    """One thing looked at. `problem` is empty where all is well; else `fix` says what to do."""

    what: str
    found: str
    problem: str = ""
    fix: str = ""


def as_json(checks: list[Check]) -> str:
    healthy = not any(check.problem for check in checks)
    return json.dumps({"healthy": healthy, "findings": [asdict(check) for check in checks]}, indent=2) + "\n"


def examine(start: Path | None) -> list[Check]:
    """Everything that is looked at, in the order in which it is told. Never raises for what it finds."""
    try:
        here: Project | None = find_project(start)
    except TitoError:
        return [_python(), _terminal(), *_numpy(), *_no_course(start)]
    assert here is not None
    steps: list[Callable[[Project], Iterator[Check]]] = [_packages, _course_package, _names, _modules, _grading]
    found = [check for step in steps for check in step(here)]
    return [_python(), _terminal(), Check("course", str(here.root)), *_numpy(), *found]


def _python() -> Check:
    bits = struct.calcsize("P") * 8
    found = f"{platform.python_version()}, {bits} bit, {platform.machine()}, {sys.executable}"
    if bits < 64:
        return Check("python", found, "the course needs a 64-bit Python", "install one")
    return Check("python", found)


def _no_course(start: Path | None) -> Iterator[Check]:
    """No fault of a person who named none, and has `tito` from a wheel: the package is there to be used."""
    if start is None and is_project_root(CARRIED):
        yield Check("course", "none here; `tito new quantization` lays one down")
        carried = Project(CARRIED)
        yield from _packages(carried)
        yield from _package_and_kernels(carried.package_name, CARRIED.parents[1], dict(os.environ))
        return
    where = (start or Path.cwd()).absolute()
    fix = "change into the course's folder, or name it: tito --project DIR doctor"
    yield Check("course", "none", f"no course found in {where} or above it", fix)


def _terminal() -> Check:
    kind = "a terminal" if sys.stdout.isatty() else "not a terminal"
    return Check("output", f"{kind}, encoding {sys.stdout.encoding}")


def _packages(here: Project) -> Iterator[Check]:
    """Every requirement of the course's pyproject.toml against what is installed, and Python's own version."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    table = here.pyproject.get("project", {})
    wanted = SpecifierSet(table.get("requires-python", ""))
    if platform.python_version() not in wanted:
        yield Check("python", platform.python_version(), f"the course needs Python {wanted}", "install such a Python")
    for requirement in map(Requirement, table.get("dependencies", [])):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        fix = f'{PIP} install "{requirement}"'
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(requirement.name, "not installed", f"the course needs {requirement}", fix)
            continue
        good = requirement.specifier.contains(version, prereleases=True)
        yield Check(requirement.name, version, "" if good else f"the course needs {requirement}", "" if good else fix)


def _names(here: Project) -> Iterator[Check]:
    """Does a file of the person's stand in the place of a module that others import by its name?"""
    for path in shadowing.found(here):
        problem = f"everything that asks for {path.stem} imports it instead"
        yield Check("names", here.shown(path), problem, "rename it")


def _numpy() -> Iterator[Check]:
    try:
        import numpy as np
    except ImportError as error:
        fix = f"{PIP} install --force-reinstall numpy"
        yield Check("numpy", "cannot be imported", str(error).split("\n")[0], fix)
        return
    build: object = None
    with suppress(TypeError):  # a NumPy that is far too old
        build = np.show_config(mode="dicts")
    blas = build.get("Build Dependencies", {}).get("blas", {}) if isinstance(build, dict) else {}
    forced = next((f"{os.environ[name]} threads ({name})" for name in processes.THREADS if os.environ.get(name)), None)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = forced or f"up to {cores} threads, one a core"
    yield Check("blas", f"{blas.get('name', 'unknown')} {blas.get('version', '')}, {threads}")
    yield Check("cpu", ", ".join(_cpu_features()) or "no vector instructions that NumPy names")


def _cpu_features() -> list[str]:
    try:
        from numpy._core import _multiarray_umath  # type: ignore[attr-defined]
    except ImportError:  # NumPy's own list is not public; without it there is nothing to tell
        return []
    features = getattr(_multiarray_umath, "__cpu_features__", {})
    return [name for name in FEATURES if features.get(name)]


def _course_package(here: Project) -> Iterator[Check]:
    """The package that `tito`'s own processes import; of a clone's `tito`, what every Python imports."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if is_project_root(CARRIED) and not (here.root / "tito").is_dir():
        env = processes.environment(here)
    yield from _package_and_kernels(here.package_name, here.root, env)


def _package_and_kernels(package: str, root: Path, env: dict[str, str]) -> Iterator[Check]:
    """Is the package that Python imports the one in `root`, and which kernels has it? Asked in a process of its own."""
    ask = [sys.executable, "-P", "-c", ASK_KERNELS.format(package=package)]
    try:
        done = subprocess.run(
            ask, env=env, cwd=root, capture_output=True, encoding="utf-8", errors="replace", timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        late = f"`import {package}` and its kernels took more than {PATIENCE:g} seconds"
        yield Check(package, "no answer", late, "set TINYTORCH_KERNEL=numpy and try again")
        return
    install = f"{processes.typed('cd', str(root))} && {PIP} install -e ."
    if not done.stdout:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        yield Check(package, "cannot be imported", last.rstrip("."), install)
        return
    answer, *tried = map(json.loads, done.stdout.splitlines())
    folder = Path(answer["file"]).parent
    if folder.resolve() != (root / package).resolve():
        yield Check(package, str(folder), f"Python imports another copy than {root / package}", install)
    else:
        yield Check(package, str(folder))
    yield _kernels(", ".join(answer["kernels"]), tried, done)


def _kernels(names: str, tried: list[str], done: subprocess.CompletedProcess[str]) -> Check:
    """What became of a product on each kernel. tried: one sentence, unless the process ended before."""
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return Check("kernels", names, f"a kernel does not run ({last.rstrip('.')})", "set TINYTORCH_KERNEL=numpy")
    problem, _, fix = (tried or [""])[0].rpartition("; ")
    if names == "numpy" and not problem:
        names = "numpy; the compiled ones, several times faster, need numba: pip install numba"
    return Check("kernels", names, problem, fix)


def _grading(here: Project) -> Iterator[Check]:
    """What holds a stranger's code on this machine. Where nothing does, that is no fault: only graders need it."""
    if not any(here.test_files(name, "x")[1].parent.is_dir() for name in module_names(here)):
        return  # a student's edition, without hidden tests: nobody grades with it
    from tito.grading.sandbox import bubblewrap

    protection = bubblewrap.protection()
    if protection.kind == "sandbox":
        yield Check("grading", "strangers' code runs in a sandbox (bubblewrap)")
    else:
        yield Check("grading", f"no sandbox for strangers' code: {protection.reason}; {protection.fix}")


def _modules(here: Project) -> Iterator[Check]:
    """Is every module's export what its notebooks say?"""
    for name in module_names(here):
        if lost := given_files.missing(here, name):
            yield Check(name, f"{len(lost)} files missing", given_files.lost(lost), given_files.mend(here, name, lost))
        try:
            stale = [file for file in exporting.make(here, load_module(here, name)) if file.changed]
        except TitoError as error:
            yield Check(name, "cannot be exported", *_problem_and_fix(str(error).rstrip(".")))
            continue
        if stale:
            files = ", ".join(here.shown(file.target) for file in stale)
            yield Check(name, "not exported", f"{files} is not what the notebook says", f"tito export {name}")
        else:
            yield Check(name, "exported")


def _problem_and_fix(sentence: str) -> tuple[str, str]:
    """Why a module cannot be exported, and what to do: mend the line that is named, or what the sentence ends with."""
    ends = list(re.finditer(r": (?=`tito )|\. (?=[A-Z])|; ", sentence))
    if re.match(r".+?:\d+\b", sentence) or not ends:
        return sentence, "mend that line"
    return sentence[: ends[-1].start()], sentence[ends[-1].end() :]
