"""What honest code may find where it is graded: the same as on its author's machine, or a sentence beforehand.

A sandbox, the same process without one, and `tito test` are asked about the same code. Grading has `__file__`, the
sources for `inspect` and `traceback`, threads and a home; it has no other packages, files of one's own, processes.
"""

from __future__ import annotations

import html
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tito.course.edition import Edition
from tito.course.module import Module, load_module
from tito.course.notebook import Cell
from tito.course.project import Project
from tito.grading.intake import collecting
from tito.grading.judging.judge import Judge
from tito.grading.options import Options
from tito.grading.submission import Submission
from tito.learning import watch_state
from tito.releasing import gradescope_autograder
from tito.testing import environment, runner
from tito.testing.in_notebook import check, passes
from tito.testing.protocol import Failure
from tito.testing.record import Record

from ..toy_course import NOTEBOOK, ROOT, Course, Solve, copy_toy

COURSE = Project(ROOT)
COUNTER = """class Counter:
    def __init__(self):
        self.total = START

    def add(self, x):
        self.total += double(x)
        return self.total"""


def top(code: str) -> str:
    """A right `double` below this code."""
    return f"{code}\n\n\ndef double(x):\n    return 2 * x"


def inside(code: str) -> str:
    """A right `double` that runs this code first."""
    return "def double(x):\n" + "".join(f"    {line}\n" for line in code.splitlines()) + "    return 2 * x"


OFFERED = {
    "__file__": top("from pathlib import Path\nHERE = Path(__file__).parent"),
    "__file__ in a function": inside("import os\nassert os.path.splitext(__file__)[1] == '.py'"),
    "__spec__": inside("assert __spec__.origin == __file__ and __spec__.name == __name__"),
    "__doc__": inside("assert __doc__.strip()"),
    "source of a function": inside("import inspect\nassert 'return 2 * x' in inspect.getsource(double)"),
    "source of a class": top("class Kept:\n    x = 1")
    + "\n\n\nimport inspect\nassert 'x = 1' in inspect.getsource(Kept)",
    "source of a class, later": top("class Kept:\n    x = 1").replace(
        "return", "import inspect\n    assert inspect.getsource(Kept).startswith('class Kept')\n    return"
    ),
    "source of the module": inside(
        "import inspect, sys\nassert 'def double' in inspect.getsource(sys.modules[__name__])"
    ),
    "source by the loader": inside("assert 'def double' in __loader__.get_source(__name__)"),
    "a line of the traceback": inside(
        "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    assert '1 / 0' in traceback.format_exc()"
    ),
    "a thread": inside("import threading\nt = threading.Thread(target=int)\nt.start()\nt.join()"),
    "a thread that is left": top(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()"
    ).replace("args=(99,)", "args=(99,), daemon=True"),
    "a timer": inside("import threading\nt = threading.Timer(0.001, int)\nt.start()\nt.join()"),
    "a pool of threads": inside(
        "from concurrent.futures import ThreadPoolExecutor as Pool\nwith Pool() as p:\n    list(p.map(abs, range(99)))"
    ),
    "ThreadPool": inside(
        "from multiprocessing.pool import ThreadPool\nwith ThreadPool(2) as p:\n    p.map(abs, range(9))"
    ),
    "asyncio in a thread": inside(
        "import asyncio\nasync def f():\n    return await asyncio.to_thread(abs, -1)\nassert asyncio.run(f()) == 1"
    ),
    "help": top("help(len)"),
    "quit is a name": top("leave = quit, exit"),
    "a home": inside("from pathlib import Path\nassert Path.home().is_dir() and Path('~').expanduser().is_dir()"),
    "a user": inside("import getpass\nassert getpass.getuser()"),
    "a temporary file": inside("import tempfile\nwith tempfile.NamedTemporaryFile() as f:\n    f.write(b'1')"),
    "a file of its own": inside("np.save('kept.npy', x)\nassert (np.load('kept.npy') == x).all()"),
    "a dataclass": top("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: 'int' = 3\nassert P().x == 3"),
    "a guarded import": top("try:\n    import numba\nexcept ImportError:\n    numba = None"),
    "a search for a package": top("from importlib.util import find_spec\nHAS = find_spec('numba') is not None"),
    "__all__": inside("assert 'double' in __all__ and 'np' not in __all__"),
    "__all__, while it is loaded": top("assert __all__.index('double') < __all__.index('Counter')"),
    "all that is exported": inside(
        "every = {}\nexec('from toy.sums import *', every)\nassert 'double' in every and 'np' not in every"
    ),
    "the environment": inside("import os\nassert all(map(os.environ.get, ['LANG', 'PWD', 'SHELL', 'HOME', 'PATH']))"),
    "the locale": inside("import locale\nlocale.setlocale(locale.LC_ALL, '')\nsorted('bÄa', key=locale.strxfrm)"),
    "what no file can hold": inside(r"print('\ud800 \u2192')"),
    "much output": inside("for line in range(100_000):\n    print(line)"),
    "a log": inside("import logging\nlogging.basicConfig()\nlogging.getLogger(__name__).warning('%s', x)"),
    "a warning": inside("import warnings\nwarnings.warn('half'), np.ones(2) / np.zeros(2), np.int8(99) + np.int8(99)"),
    "errors of NumPy's": top("np.seterr(all='raise')").replace("return", "np.float32(3) / np.float32(2)\n    return"),
    "deep recursion": inside("def down(n):\n    return n and down(n - 1)\nassert down(900) == 0"),
    "deeper recursion": inside(
        "import sys\nsys.setrecursionlimit(20_000)\ndef down(n):\n    return n and down(n - 1)\ndown(15_000)"
    ),
    "a file of the course": inside(
        "from importlib import resources\nassert resources.files('toy').joinpath('__init__.py').is_file()"
    ),
    "data of several kinds": top(
        "import enum, typing\nfrom dataclasses import dataclass\n@dataclass(slots=True)\nclass P:\n    x: 'int' = 3\n"
        "    K: typing.ClassVar[int] = 4\nclass N(typing.NamedTuple):\n    x: int = 1\nclass E(enum.Enum):\n    A = 1"
    ).replace(
        "return",
        "import copy, pickle\n    assert typing.get_type_hints(P)['x'] is int\n"
        "    assert all(copy.deepcopy(v) == pickle.loads(pickle.dumps(v)) == v for v in (P(), N(), E.A))\n    return",
    ),
    "dispatch": top(
        "from functools import singledispatch\n@singledispatch\ndef kind(x): return 0\n"
        "@kind.register\ndef _(x: np.ndarray): return 1\nassert kind(np.ones(1)) == 1"
    ),
    "its own examples": inside("import doctest, sys\nassert doctest.testmod(sys.modules[__name__]).failed == 0"),
    "itself, again": inside(
        "import importlib, sys\nimportlib.reload(sys.modules[__name__])\nimport inspect\n"
        "assert inspect.getsource(double).count('reload') == 2"
    ),
    "itself": inside("from toy.sums import double as same\nfrom . import sums\nassert same is double is sums.double"),
}
WITHHELD = {
    "matplotlib": (top("import matplotlib.pyplot as plt"), "imports matplotlib"),
    "matplotlib, inside": (inside("from matplotlib import pyplot"), "imports matplotlib"),
    "numba": (top("from numba import njit"), "imports numba"),
    "pytest": (top("import numpy as np, pytest"), "imports pytest"),
    "the notebook's check": (top("from tito.testing.in_notebook import check"), "imports tito"),
    "a file beside it": (top("import helper"), "imports helper"),
    "time zones": (top("from zoneinfo import ZoneInfo\nZONE = ZoneInfo('Europe/Berlin')"), "time zones"),
    "a process": (
        inside("import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''], check=True)"),
        "processes",
    ),
    "a pool of processes": (
        inside("import multiprocessing as m\nwith m.Pool(2) as p:\n    p.map(abs, [1])"),
        "processes",
    ),
    "its own file": (inside("open('pyproject.toml', encoding='utf-8').close()"), ""),
    "a file by its whole path": (top("from pathlib import Path\nPath(r'{root}', 'helper.py').read_text()"), ""),
    "a folder by its whole path": (top("import os\nassert os.listdir(r'{root}')"), ""),
    "a file beside __file__": (inside("from pathlib import Path\nPath(__file__).read_text(encoding='utf-8')"), ""),
}
ROWS = {name: (code, 2) for name, code in OFFERED.items()} | {name: (code, 0) for name, (code, _) in WITHHELD.items()}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(copy_toy(tmp_path_factory.mktemp("toy")))
    (project.root / "helper.py").write_text("x = 1\n", encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def sandboxed(toy: Project) -> Iterator[Judge]:
    with Judge(Edition(toy, load_module(toy, "01_toy")), Options(limit_seconds=40)) as judge:
        yield judge


@pytest.fixture(scope="module")
def unsandboxed(toy: Project) -> Iterator[Judge]:
    with Judge(Edition(toy, load_module(toy, "01_toy")), Options(limit_seconds=40, unsafe=True)) as judge:
        yield judge


def with_double(text: str, code: str) -> str:
    head = "#| export\n#| exercise: double\n"
    begin = text.index(head)
    return text[:begin] + head + code + "\n\n" + text[text.index("\n# %%", begin) :]


def graded(judge: Judge, project: Project, code: str) -> tuple[int, str]:
    code = code.replace("{root}", str(project.root))
    grade = judge.grade(Submission("anna", {"double": (code,), "counter": (COUNTER,)}))
    return grade.outcomes[0].points, grade.outcomes[0].message


@pytest.mark.parametrize("name", ROWS)
def test_without_a_sandbox_honest_code_earns_what_it_earns_in_one(name: str, unsandboxed: Judge, toy: Project) -> None:
    code, points = ROWS[name]
    assert graded(unsandboxed, toy, code)[0] == points, graded(unsandboxed, toy, code)


@pytest.mark.sandbox
@pytest.mark.parametrize("name", ROWS)
def test_the_sandbox_has_what_is_offered_and_no_more(name: str, sandboxed: Judge, toy: Project) -> None:
    code, points = ROWS[name]
    assert graded(sandboxed, toy, code)[0] == points, graded(sandboxed, toy, code)


@pytest.mark.parametrize("name", WITHHELD)
def test_what_is_withheld_passes_on_ones_own_machine_so_it_must_be_told(
    name: str, toy: Project, tmp_path: Path
) -> None:
    project = Project(copy_toy(tmp_path))
    (project.root / "helper.py").write_text("x = 1\n", encoding="utf-8")
    path = project.root / NOTEBOOK
    code = WITHHELD[name][0].replace("{root}", str(project.root))
    path.write_text(with_double(path.read_text(encoding="utf-8"), code), encoding="utf-8")
    assert runner.whole(project, load_module(project, "01_toy")).exercises[0].status == "passed"


def sentences(code: str, project: Project, module: str = "01_toy", exercise: str = "double") -> list[str]:
    cell = Cell("code", f"#| export\n#| exercise: {exercise}\n{code}", 1, None)
    return environment.lacking_in(project, load_module(project, module), [cell])


@pytest.mark.parametrize("name", ROWS)
def test_an_import_that_grading_does_not_have_is_named_before_and_nothing_else_is(name: str, toy: Project) -> None:
    said = sentences(ROWS[name][0], toy)
    wanted = WITHHELD.get(name, ("", ""))[1]
    assert len(said) == bool(wanted), said
    assert all(sentence.startswith("double ") and wanted in sentence for sentence in said)


@pytest.mark.parametrize(
    "code",
    [
        "from tinytorch.acceleration import int8_matmul",
        "import tinytorch.acceleration as fast\ndef f(a, b):\n    return fast.int8_matmul(a, b)",
        "import tinytorch.acceleration\ndef f(a, b):\n    return tinytorch.acceleration.int8_matmul(a, b)",
        "from tinytorch import acceleration\ndef f(a, b):\n    return acceleration.int8_matmul(a, b)",
        "from tinytorch.acceleration.operations.int8 import int8_matmul",
        "from tinytorch.acceleration.operations.int4 import prepack_int4",
        "from tinytorch.acceleration import bf16_matmul as fast, kernels",
    ],
)
def test_the_given_kernel_that_does_the_exercise_is_named_before(code: str) -> None:
    said = sentences(code, COURSE, "17_quantization", "integer_matmul")
    assert len(said) == 1 and "integer_matmul uses tinytorch.acceleration" in said[0] and "as it may do" in said[0]


@pytest.mark.parametrize(
    "code",
    [
        "from tinytorch.core import Tensor, Linear",
        "from tinytorch.core.windows import padded",
        "import tinytorch.core as core\nx = core.Tensor",
        "from tinytorch.quantization import choose_qparams",
        "from tinytorch.quantization.quantize import IntType",
        "import tinytorch",
        "if TYPE_CHECKING:\n    import pandas",
        "try:\n    import scipy\nexcept Exception:\n    scipy = None",
        "import os.path, xml.etree.ElementTree as ET, numpy.testing",
        "from __future__ import annotations",
        "def broken(:",
    ],
)
def test_of_what_is_given_nothing_is_said(code: str) -> None:
    assert sentences(code, COURSE, "17_quantization", "qat") == []


def test_a_failure_is_found_in_its_cell_whatever_stands_above_and_sources_outlive_a_broken_cell(
    unsandboxed: Judge,
) -> None:
    cells = {
        "double": ("class Kept:\n    x = 1", "import inspect\n\ndef double(x):\n    return inspect.getsource(Kept)")
    }
    grade = unsandboxed.grade(Submission("anna", cells | {"counter": ("class Counter:\n    def __init__(self)",)}))
    double, counter = (outcome.message for outcome in grade.outcomes)
    assert "x = 1" in double, "the source of a class is found, though a cell below it is no Python"
    assert "toy_dev.py, cell 8, line 2: def __init__(self)" in counter


SUBMITTED = {  # what is written, what grading makes of both exercises, what is said
    "matplotlib": (
        WITHHELD["matplotlib"][0],
        ["failed", "not started"],
        "double imports matplotlib, which grading does",
    ),
    "a file beside it": (WITHHELD["a file beside it"][0], ["failed", "not started"], "No module named 'helper'"),
    "its own file": (WITHHELD["its own file"][0], ["failed", "failed"], "double passes its tests here, and would not"),
    "a thread": (OFFERED["a thread"], ["passed", "passed"], "5 of 5 points"),
}


@pytest.mark.sandbox
@pytest.mark.parametrize("name", SUBMITTED)
def test_submit_says_and_records_the_points_that_grading_gives(
    name: str, edition: Course, course: Course, solve: Solve, tmp_path: Path
) -> None:
    code, statuses, sentence = SUBMITTED[name]
    solve(edition, "double")
    solve(edition, "counter")
    edition.write("helper.py", "x = 1\n")
    edition.write(NOTEBOOK, with_double(edition.read(NOTEBOOK), code))
    assert edition.tito("test").out.count("points  passed") == 2
    said = edition.tito("submit")
    assert said.status == 0 and sentence in said.out, said
    assert (environment.HAS in said.out) == (statuses != ["passed", "passed"])
    with zipfile.ZipFile(edition.root / "01_toy_submission.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert list(manifest["exercises"].values()) == statuses
    folder = tmp_path / "handed in"
    folder.mkdir()
    (edition.root / "01_toy_submission.zip").rename(folder / "anna.zip")
    course.tito(
        "grade", "01", str(folder), "--out", str(tmp_path / "out"), "--jobs", "1", "--json", str(tmp_path / "g.json")
    )
    grade = json.loads((tmp_path / "g.json").read_text(encoding="utf-8"))["grades"][0]
    assert [outcome["status"] for outcome in grade["outcomes"]] == statuses
    assert sum(outcome["points"] for outcome in grade["outcomes"]) == manifest["points"]


SENTENCE = "double imports matplotlib, which grading does not have: write it with NumPy, or move it to a cell"


@pytest.fixture
def plotting(edition: Course, solve: Solve) -> Course:
    """A student's edition in which `double` is right and imports Matplotlib."""
    solve(edition, "double")
    edition.change(NOTEBOOK, "    return 2 * x", "    import matplotlib\n    return 2 * x")
    return edition


def test_test_says_what_grading_lacks_though_all_passes_and_other_programs_can_read_it(plotting: Course) -> None:
    report = plotting.root / "report.json"
    said = plotting.tito("test", "--exercise", "double", "--json", str(report))
    assert said.status == 0 and SENTENCE in said.out
    told = json.loads(report.read_text(encoding="utf-8"))
    assert set(told) == {"module", "points", "max_points", "seconds", "exercises", "lacking"}
    assert len(told["lacking"]) == 1 and told["lacking"][0].startswith(SENTENCE)


@pytest.mark.parametrize("right", [True, False])
def test_watch_says_what_grading_lacks_of_what_has_passed_and_of_what_has_not(plotting: Course, right: bool) -> None:
    if not right:
        plotting.change(NOTEBOOK, "    return 2 * x", "    return 3 * x")
    state = watch_state.Watch(plotting.project, load_module(plotting.project, "01_toy"))
    for moved_on in (right, False):
        assert state.exercise
        done = watch_state.play(state.project, state.module, state.exercise)
        assert state.finished(done) == moved_on
        assert [text for text, _ in state.page() if SENTENCE in text], "it stays while the next exercise is tested"
    state.key("n")
    assert not [text for text, _ in state.page() if SENTENCE in text]


def in_notebook(*cells: str) -> dict[str, object]:
    """The globals of a notebook in which these cells were run."""
    defined: dict[str, object] = {"In": ["", *cells]}
    for cell in cells:
        exec(cell, defined)
    return defined


def test_in_a_notebook_check_and_nbgraders_cells_say_what_grading_lacks(
    course: Course, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(course.root)
    cell = "#| export\n#| exercise: double\nimport matplotlib\ndef double(x):\n    return 2 * x"
    check("double", in_notebook(cell))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "double: passed" and lines[1].startswith(SENTENCE) and len(lines) == 2
    passes("double", in_notebook(cell), tests=course.project.module_tests("01_toy"))
    assert capsys.readouterr().out.startswith(SENTENCE)
    check("double", in_notebook(cell, cell.replace("import matplotlib\n", "")))
    assert capsys.readouterr().out == "double: passed\n", "the cell as it was run last counts"


def explained(code: str, judge: Judge) -> list[str]:
    """What a student reads about this `double`, beside its failed test."""
    grade = judge.grade(Submission("anna", {"double": (code,), "counter": (COUNTER,)}))
    return [remark for remark in grade.remarks if not remark.startswith("graded without a sandbox")]


EXPLAINED = {
    "matplotlib": SENTENCE,
    "matplotlib, inside": SENTENCE,
    "a file beside it": "double imports helper, which grading does not have",
    "its own file": environment.HAS,
    "a file by its whole path": environment.HAS,
    "a process": environment.HAS,
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_where_points_are_lost_to_what_grading_lacks_the_student_reads_what_it_has(
    name: str, unsandboxed: Judge, toy: Project
) -> None:
    said = explained(WITHHELD[name][0].replace("{root}", str(toy.root)), unsandboxed)
    assert said[0].startswith(EXPLAINED[name]) and said[-1] == environment.HAS


@pytest.mark.parametrize(
    "code",
    ["def double(x):\n    return 3 * x", top("x = y"), OFFERED["a guarded import"]],
)
def test_of_other_failures_and_of_none_nothing_is_said_about_the_environment(code: str, unsandboxed: Judge) -> None:
    assert explained(code, unsandboxed) == []


def test_a_hidden_tests_inputs_are_not_told_by_way_of_an_import() -> None:
    failure = Failure("ModuleNotFoundError", "No module named 'v731'")
    for file, told in (("tests/01_toy/test_double.py", True), ("tests/01_toy/hidden/test_double.py", False)):
        record = Record("double", [], failures=[(f"{file}::test_it", failure)])
        said = environment.explained("double", record.exceptions, "toy", bool)
        assert ("v731" in said[0]) == told and said[-1] == environment.HAS


def test_the_page_of_the_grade_and_gradescopes_results_say_it_in_the_same_words(
    plotting: Course, course: Course, tmp_path: Path
) -> None:
    page = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    code = "#| export\n#| exercise: double\nimport matplotlib.pyplot as plt\n\ndef double(x):\n    return 2 * x\n"
    page["cells"] = [{"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": 1, "source": code}]
    (tmp_path / "in" / "anna").mkdir(parents=True)
    (tmp_path / "in" / "anna" / "toy_dev.ipynb").write_text(json.dumps(page), encoding="utf-8")
    course.tito("grade", "01", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--jobs", "1", "--unsafe")
    shown = html.unescape((tmp_path / "out" / "students" / "anna.html").read_text(encoding="utf-8"))
    scope = gradescope_autograder.grade(plotting.project, toy_of(plotting), tmp_path / "in" / "anna", tmp_path / "none")
    for text in (shown, scope["output"]):
        assert SENTENCE in text and environment.HAS in text
    assert scope["tests"][0]["score"] == 0


def toy_of(edition: Course) -> Module:
    return load_module(edition.project, "01_toy")


SCRATCH = {  # a cell of no exercise, what `double` uses of it -> what may be said
    "import matplotlib.pyplot as plt": ("plt", "nor would it run in the exercise's cell: double imports matplotlib"),
    "from scipy import (stats, linalg as la)": ("la", "double imports scipy"),
    "from tinytorch.acceleration import int8_matmul": ("int8_matmul", "double imports tinytorch"),
    "import subprocess": ("subprocess", "nor would it run in the exercise's cell: double imports subprocess"),
    "import math, json as j": ("j", "move it into the exercise's cell"),
    "HELPER = 2": ("HELPER", "move it into the exercise's cell"),
}


@pytest.mark.parametrize("scratch", SCRATCH)
def test_nobody_is_told_to_move_what_grading_lacks_into_the_exercises_cell(
    scratch: str, toy: Project, tmp_path: Path
) -> None:
    name, wanted = SCRATCH[scratch]
    text = with_double(
        (toy.root / NOTEBOOK).read_text(encoding="utf-8"), f"def double(x):\n    return {name} and 2 * x"
    )
    (tmp_path / "toy_dev.py").write_text(f"{text}\n# %%\n{scratch}\n", encoding="utf-8")
    (submission,) = collecting.collect(Edition(toy, load_module(toy, "01_toy")), tmp_path)
    (said,) = [remark for remark in submission.remarks if "which only cell" in remark]
    assert wanted in said and ("move it into" in said) == (wanted == "move it into the exercise's cell"), said


def test_what_one_added_to_the_package_is_not_there_and_what_one_changed_is_named(
    edition: Course, solve: Solve
) -> None:
    solve(edition, "double")
    edition.write("toy/mine.py", "x = 1\n")
    edition.write("toy/__init__.py", edition.read("toy/__init__.py") + "MORE = 1\n")
    edition.change(NOTEBOOK, "    return 2 * x", "    from toy.mine import x as one\n    return 2 * x")
    assert "double uses toy.mine" in edition.tito("test").out
    said = edition.tito("submit").out
    assert "toy/__init__.py is not as it was given" in said and "No module named 'toy.mine'" in said, said
    assert "0 of 5 points" in said


def test_where_it_cannot_be_tried_submit_says_so_and_keeps_the_tests_points(
    edition: Course, solve: Solve, monkeypatch: pytest.MonkeyPatch
) -> None:
    solve(edition, "double")
    monkeypatch.setattr(Judge, "__enter__", refuse)
    said = edition.tito("submit")
    assert said.status == 0 and "could not be tried here as it will be graded" in said.out
    assert "no pipes on this machine" in said.out and "2 of 5 points" in said.out


def refuse(judge: Judge) -> Judge:
    from tito.errors import TitoError

    raise TitoError("no pipes on this machine")
