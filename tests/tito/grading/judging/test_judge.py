"""A submission gets the grade that its honest part earns, whatever the rest does: in a sandbox, on a toy course."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tito.course.edition import Edition
from tito.course.module import Module, load_module
from tito.course.project import Project
from tito.errors import TitoError
from tito.grading.grade import Grade, MachineryError
from tito.grading.judging import judge as judging
from tito.grading.judging.judge import Judge
from tito.grading.options import Options
from tito.grading.sandbox import bubblewrap
from tito.grading.submission import Submission
from tito.testing import runner

from ...toy_course import NOTEBOOK, copy_toy

pytestmark = pytest.mark.sandbox  # sandbox/test_child.py runs the same child without one

DOUBLE = "def double(x):\n    return 2 * x"
COUNTER = """class Counter:
    def __init__(self):
        self.total = START

    def add(self, x):
        self.total += double(x)
        return self.total"""
PATIENT, HASTY = 240.0, 24.0  # seconds for a submission; a quarter of it for a test
MORE_TESTS = """
GIVEN = np.array([3.0, 4.0])


def test_what_it_is_given_stays(student):
    student.double(GIVEN)
    assert GIVEN.tolist() == [3.0, 4.0], f"expected what was given to stay, got {GIVEN.tolist()}"
"""
SECRET = """
import pytest


@pytest.mark.parametrize("x", [731])
def test_a_large_number_comes_back_twice(student, x):
    got = student.double(x)
    assert got == 1462, f"expected 1462, got {got}"
"""


def spent(project: Project) -> None:
    """The toy course with a test of what a function does to its argument, and a hidden one for `double`."""
    visible, hidden = project.test_files("01_toy", "double")
    visible.write_text(visible.read_text(encoding="utf-8") + MORE_TESTS, encoding="utf-8")
    hidden.write_text(SECRET, encoding="utf-8")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(copy_toy(tmp_path_factory.mktemp("toy")))
    spent(project)
    return project


@pytest.fixture(scope="module")
def module(toy: Project) -> Module:
    return load_module(toy, "01_toy")


@pytest.fixture(scope="module")
def judge(toy: Project, module: Module) -> Iterator[Judge]:
    with Judge(Edition(toy, module), Options(limit_seconds=PATIENT)) as judge:
        yield judge


@pytest.fixture(scope="module")
def hasty(toy: Project, module: Module) -> Iterator[Judge]:
    """For what never ends: nothing that is to pass depends on how fast this machine is."""
    with Judge(Edition(toy, module), Options(limit_seconds=HASTY)) as judge:
        yield judge


def handed_in(double: str = DOUBLE, counter: str = COUNTER, name: str = "anna") -> Submission:
    return Submission(name, {"double": (double,), "counter": (counter,)})


def statuses(grade: Grade) -> dict[str, str]:
    return {outcome.exercise: outcome.status for outcome in grade.outcomes}


def message(grade: Grade, exercise: str = "double") -> str:
    return next(outcome.message for outcome in grade.outcomes if outcome.exercise == exercise)


def in_double(code: str) -> str:
    """A right `double` that does something first."""
    return "def double(x):\n" + "".join(f"    {line}\n" for line in code.splitlines()) + "    return 2 * x"


def test_the_right_answers_earn_all_points(judge: Judge) -> None:
    grade = judge.grade(handed_in())
    assert (grade.points, grade.max_points, grade.status) == (5, 5, "graded")
    assert grade.submission == "anna" and grade.digest == handed_in().digest and grade.remarks == ()


def test_nothing_handed_in_is_not_started_and_earns_nothing(judge: Judge) -> None:
    grade = judge.grade(Submission("ben", {}))
    assert grade.points == 0 and statuses(grade) == {"double": "not started", "counter": "not started"}


def test_a_grade_goes_through_json_unchanged(judge: Judge) -> None:
    grade = judge.grade(handed_in("def double(x):\n    return x"))
    assert Grade.from_json(json.loads(json.dumps(grade.as_json()))) == grade


ANSWERS = {
    "right": (DOUBLE, COUNTER),
    "a wrong number": ("def double(x):\n    return 3 * x", COUNTER),
    "nothing is returned": ("def double(x):\n    2 * x", COUNTER),
    "an exception": ("def double(x):\n    return x.twice", COUNTER),
    "one's own exception": ("class Odd(ValueError): pass\ndef double(x):\n    raise Odd('no such number')", COUNTER),
    "a key error": ("def double(x):\n    return {}['twice']", COUNTER),
    "endless recursion": ("def double(x):\n    return double(x)", COUNTER),
    "exit": ("def double(x):\n    raise SystemExit(3)", COUNTER),
    "an array is changed": ("def double(x):\n    x *= 2\n    return x", COUNTER),
    "a stub": ("def double(x):\n    raise NotImplementedError('exercise double: not yet')", COUNTER),
    "shared by all": (
        DOUBLE,
        COUNTER.replace("self.total = START", "pass").replace("class Counter:", "class Counter:\n    total = []"),
    ),
    "another name": (DOUBLE, COUNTER.replace("class Counter", "class Count")),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_sandbox_judges_as_tito_test_does(answer: str, judge: Judge, module: Module, tmp_path: Path) -> None:
    project = Project(copy_toy(tmp_path))
    spent(project)
    path = project.root / NOTEBOOK
    head, text = "#| export\n#| exercise: ", path.read_text(encoding="utf-8")
    for exercise, source in zip(("double", "counter"), ANSWERS[answer], strict=True):
        begin = text.index(head + exercise)
        end = text.find("\n# %%", begin)
        text = text[:begin] + f"{head}{exercise}\n{source}\n" + (text[end:] if end > 0 else "")
    path.write_text(text, encoding="utf-8")
    here = runner.whole(project, load_module(project, "01_toy"))
    there = judge.grade(handed_in(*ANSWERS[answer]))
    assert statuses(there) == {outcome.exercise: outcome.status for outcome in here.exercises}
    claims = [outcome.message.split("\n")[0].partition(" at ")[0] for outcome in here.exercises]
    assert [outcome.message.split("\n")[0].partition(" at ")[0] for outcome in there.outcomes] == claims


def test_who_changes_a_tests_array_has_failed_and_is_told_so(judge: Judge) -> None:
    told = message(judge.grade(handed_in("def double(x):\n    x *= 2\n    return x")))
    assert "double changed its argument x" in told and "cell 5, line 1: def double(x):" in told
    assert judge.grade(handed_in()).points == 5, "another student's inputs must not be spoiled"


NOTES = """
SEEN = []
def double(x):
    SEEN.append(x)
    return 2 * x
"""
TELLS = "class Counter:\n    def __init__(self):\n        {}\n"
FORGED = (
    "exec(compile('\\n' * max(filter(lambda x: type(x) is int, SEEN), default=0) + {!r}, 'toy_dev.py, cell 8', 'exec'))"
)


@pytest.mark.parametrize(
    "tells",
    [
        "raise RuntimeError(str(SEEN))",
        "raise NotImplementedError(f'exercise counter {SEEN}')",
        "raise NotImplementedError(f'exercise double {SEEN}')",
        "raise ImportError(f\"No module named 'x{SEEN[-1]}'\")",
        "raise type(f'Saw{SEEN[-1]}', (Exception,), {})",
        "raise SystemExit(str(SEEN))",
        "print(SEEN); import os; os._exit(SEEN[-1] % 256)",
        FORGED.format("raise NotImplementedError('exercise counter')"),
        FORGED.format("raise ValueError"),
    ],
)
def test_what_code_learns_from_hidden_tests_it_can_tell_in_no_words(judge: Judge, tells: str) -> None:
    """It notes what a hidden test of another exercise asks, and tells it where its own failures are shown."""
    grade = judge.grade(handed_in(NOTES, TELLS.format(tells)))
    assert grade.points == 2 and statuses(grade)["double"] == "passed"
    told = json.dumps(grade.as_json() | {"seconds": 0, "digest": ""})
    assert "731" not in told and "732" not in told, told


def test_the_seed_of_the_tests_is_not_told_to_the_code(toy: Project, module: Module) -> None:
    draws = "import random\nDRAWN = random.random()\ndef double(x):\n    raise ValueError(str(DRAWN))"
    told = set[str]()
    for seed in (1, 2):
        with Judge(Edition(toy, module), Options(seed=seed, limit_seconds=PATIENT, exercise="double")) as other:
            told.add(message(other.grade(handed_in(draws))))
    assert len(told) == 1


def test_an_error_s_text_is_bounded_in_bytes(judge: Judge) -> None:
    loud = judge.grade(handed_in(in_double("raise ValueError('\\U0001f600' * 5000)")))
    assert 1000 < len(message(loud).encode()) < 4200


def test_of_a_hidden_test_only_the_claim_is_told(judge: Judge) -> None:
    grade = judge.grade(handed_in(in_double("if type(x) is int and x == 731: return 'my output'")))
    assert statuses(grade) == {"double": "failed", "counter": "passed"}
    told = message(grade)
    assert told.startswith("a large number comes back twice:") and "hidden" in told
    for secret in ("731", "1462", "my output"):
        assert secret not in told, f"{secret!r} of a hidden test must not be told"


@pytest.mark.parametrize(
    ("counter", "said"),
    [
        ("class Counter\n    pass", "SyntaxError: expected ':'\ntoy_dev.py, cell 8, line 1: class Counter"),
        ("total = 1\n1 / 0", "ZeroDivisionError: division by zero\ntoy_dev.py, cell 8, line 2: 1 / 0"),
        ("raise SystemExit", "SystemExit"),
        ("x = '\0'", "SyntaxError"),
    ],
    ids=["syntax", "exception", "exit", "null"],
)
def test_a_cell_that_cannot_be_loaded_costs_its_exercise_only(judge: Judge, counter: str, said: str) -> None:
    grade = judge.grade(handed_in(counter=counter))
    assert statuses(grade) == {"double": "passed", "counter": "failed"}
    assert "its cell cannot be loaded" in message(grade, "counter") and said in message(grade, "counter")


def test_a_cell_that_ends_python_or_hangs_costs_its_exercise_only(judge: Judge, hasty: Judge) -> None:
    ended = judge.grade(handed_in(counter="import os\nos._exit(0)"))
    assert statuses(ended) == {"double": "passed", "counter": "failed"}
    assert message(ended, "counter").endswith("\ntoy_dev.py, cell 8")
    hung = hasty.grade(handed_in(counter="while True: pass"))
    assert statuses(hung) == {"double": "passed", "counter": "timeout"}


def test_surplus_cells_follow_the_last_and_missing_ones_keep_what_is_given(judge: Judge) -> None:
    cells = {"double": ("FACTOR = 2", "def double(x):\n    return FACTOR * x"), "counter": (COUNTER,)}
    assert judge.grade(Submission("anna", cells)).points == 5


@pytest.mark.parametrize("code", ["while True: pass", "import time\ntime.sleep(1000)"], ids=["busy", "asleep"])
def test_an_endless_loop_costs_its_exercise_and_no_more(hasty: Judge, code: str) -> None:
    grade = hasty.grade(
        handed_in(counter=COUNTER + "\n    def add(self, x):\n        " + code.replace("\n", "\n        "))
    )
    assert statuses(grade) == {"double": "passed", "counter": "timeout"}
    assert "stopped after 4.8 seconds" in message(grade, "counter")


def test_the_limit_holds_for_the_whole_submission(tested: JudgeOf) -> None:
    """Tests that all pass, each far within its own limit, together take more than the submission may."""
    test = "@pytest.mark.parametrize('turn', range(40))\ndef test_it(student, turn): assert student.double(3) == 6\n"
    with tested(test, HASTY) as judge:
        grade = judge.grade(handed_in("import time\n" + in_double("time.sleep(0.7)")))
    assert statuses(grade) == {"double": "timeout"} and "stopped after" in message(grade)


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos._exit(0)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\nos.abort()",
        "import ctypes\nctypes.string_at(0)",
        "import os\nfor number in range(3, 64):\n    try: os.write(number, b'x' * 100)\n    except OSError: pass",
        "import os\nfor number in range(3, 64):\n    try: os.close(number)\n    except OSError: pass",
    ],
    ids=["exit", "signal", "crash", "scribble", "close"],
)
def test_a_sandbox_that_dies_or_lies_costs_its_exercise_and_a_new_one_goes_on(judge: Judge, code: str) -> None:
    grade = judge.grade(
        handed_in(
            counter=COUNTER.replace(
                "        self.total = START",
                "".join(f"        {line}\n" for line in code.splitlines()) + "        self.total = START",
            )
        )
    )
    assert statuses(grade) == {"double": "passed", "counter": "failed"}
    assert "Python itself ended" in message(grade, "counter")


TOOLS = "import importlib.util, os, socket, sys, threading\nimport numpy as np\n"
HARMLESS = {
    "output": """
for stream in (sys.stdout, sys.stderr): print('x' * 10_000_000, file=stream)
for number in (1, 2): os.write(number, b'x' * 10_000_000)""",
    "a fork": """
try: os.fork()
except OSError: pass
else: return 0""",
    "a process by the number of its call": """
import ctypes
call, ended = ctypes.CDLL(None, use_errno=True).syscall, 17
calls = {'x86_64': [(57,), (58,), (56, ended), (435, 0, 88)], 'aarch64': [(220, ended), (435, 0, 88)]}
if any(call(*numbers, 0, 0, 0, 0) != -1 for numbers in calls.get(os.uname().machine, ())): return 0""",
    "threads without end": """
held, started = threading.Event(), 0
try:
    for started in range(1000): threading.Thread(target=held.wait, daemon=True).start()
except RuntimeError: pass
held.set()
if started > 100: return 0""",
    "memory": """
try: np.ones(3 << 30, np.int8)
except MemoryError: pass
else: return 0""",
    "disk": """
try:
    for name in range(9):
        with open(f'/tmp/{name}', 'wb') as file: file.write(bytes(10 << 20))
except OSError: pass
else: return 0""",
    "network": """
try: socket.create_connection(('127.0.0.1', 9), 1)
except OSError: pass
else: return 0""",
    "environment": """
if os.environ['HOME'] != '/tmp' or os.environ['USER'] != 'student' or 'PYTHONPATH' in os.environ: return 0
if os.environ['PATH'] != os.defpath: return 0""",
    "other libraries": """
others = ('scipy', 'numba', 'torch', 'pytest', 'hypothesis', 'pip', 'jupytext')
if any(map(importlib.util.find_spec, others)): return 0""",
    "files": """
if sorted(os.listdir('/sandbox')) != ['site', 'tito', 'toy'] or os.listdir('/tmp') or os.listdir('/proc'): return 0""",
    "sources": """
if {*os.listdir('/sandbox/toy')} - {'__init__.py', '__pycache__'}: return 0
if {*os.listdir('/sandbox/tito/testing')} - {'__init__.py', '__pycache__', 'arguments.py', 'proxies.py'}: return 0""",
    "standard input": "if sys.stdin.read(): return 0",
    "a user": "if os.getuid() == 0 or os.getpid() != 1: return 0",
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_a_student_tries_is_refused_or_goes_nowhere(judge: Judge, what: str) -> None:
    """Each `double` here is right, unless it got hold of what the sandbox is to keep from it."""
    grade = judge.grade(handed_in(TOOLS + in_double(HARMLESS[what])))
    assert grade.points == 5, message(grade)


def test_an_answer_that_is_too_large_is_a_failed_test_with_a_sentence(judge: Judge) -> None:
    grade = judge.grade(handed_in("import numpy as np\ndef double(x):\n    return np.zeros(100 << 20, np.int8)"))
    assert statuses(grade)["double"] == "failed"
    assert "MemoryError: the answer holds arrays of more than 4194304 numbers" in message(grade)


def test_an_object_that_says_it_equals_everything_earns_nothing(judge: Judge) -> None:
    endless = """class Endless:
    def tolist(self):
        return self
    def __eq__(self, other):
        return True
def double(x):
    return Endless()"""
    grade = judge.grade(handed_in(endless))
    assert statuses(grade)["double"] == "failed", "an object stays inside: its __eq__ is never asked"


def test_the_same_submission_gets_the_same_bytes(judge: Judge, toy: Project, module: Module) -> None:
    told = "def double(x):\n    raise ValueError(f'{object()} {set(map(str, range(9)))} {np.random.rand()}')"
    first, again = (judge.grade(handed_in(told)) for _ in range(2))
    with Judge(Edition(toy, module), Options(limit_seconds=PATIENT)) as other:
        third = other.grade(handed_in(told))
    plain = [dataclasses.replace(grade, seconds=0.0) for grade in (first, again, third)]
    assert plain[0] == plain[1] == plain[2] and "0x..." in message(first)


@pytest.mark.parametrize(
    "test",
    [
        "list(student.double(np.ones(1)).tolist())",
        "while student.double(1) != 2:\n        pass",
        "got = student.double(1)\n    while got != 2:\n        pass",
    ],
    ids=["of the student's", "of questions", "of its own"],
)
def test_a_loop_without_end_is_stopped_in_the_test_too_and_the_judge_goes_on(judge: Judge, test: str) -> None:
    endless = "class Endless:\n    def tolist(self):\n        while True: yield 1\ndef double(x):\n    return Endless()"
    project, module = judge._project, judge._module
    visible, _ = project.test_files("01_toy", "double")
    before = visible.read_text(encoding="utf-8")
    visible.write_text(f"import numpy as np\n\ndef test_all_of_it(student):\n    {test}\n", encoding="utf-8")
    try:
        with Judge(Edition(project, module), Options(limit_seconds=16.0, exercise="double")) as other:
            started = other._tests
            assert statuses(other.grade(handed_in(endless))) == {"double": "timeout"}
            assert other._tests is started, "no need to end the tests' process"
    finally:
        visible.write_text(before, encoding="utf-8")


# A failure of the judge's own is no student's. Each test here fails the right answer as well, in another way.

OWN_FAULTS = {
    "a fixture that refuses the seed": (
        "@pytest.fixture\ndef rng(): return np.random.default_rng([-1, 5])\n"
        "def test_it(student, rng): assert student.double(3) == 6\n",
        "ValueError: expected non-negative integer",
    ),
    "an oracle that is wrong": (
        "def test_it(student):\n    got = student.double(3)\n    assert got == 7, f'expected 7, got {got}'\n",
        "expected 7, got 6",
    ),
    "an oracle that raises": ("def test_it(student): assert student.double(3) == 6 / len('')\n", "ZeroDivisionError"),
    "a fixture of a whole file": (
        "@pytest.fixture(scope='module')\ndef data(): return open('/nowhere/at all')\n"
        "def test_it(student, data): assert student.double(3) == 6\n",
        "FileNotFoundError",
    ),
    "a test that is skipped": ("def test_it(student): pytest.skip('no GPU')\n", "was skipped"),
    "inputs that cannot be drawn": (
        "@given(st.integers().filter(lambda n: False))\ndef test_it(student, n): assert student.double(n) == 2 * n\n",
        "JudgesOwn: its inputs cannot be drawn",
    ),
    "inputs that no assumption fits": (
        "@given(n=st.integers(0, 9))\ndef test_it(student, n):\n"
        "    assume(n > 9)\n    assert student.double(n) == 2 * n\n",
        "no input of this test fits what it assumes",
    ),
    "a limit that is too short for the test": (
        "import time\ndef test_it(student):\n    time.sleep(3)\n    assert student.double(3) == 6\n",
        "stopped after 0.8 seconds",
    ),
}


class JudgeOf(Protocol):
    """What the fixture `tested` is."""

    def __call__(self, test: str, limit_seconds: float = 60.0) -> Judge: ...


@pytest.fixture
def tested(tmp_path: Path) -> JudgeOf:
    """The toy course with other tests of `double` -> a judge for it."""
    project = Project(copy_toy(tmp_path))
    visible, _ = project.test_files("01_toy", "double")

    def tested(test: str, limit_seconds: float = 60.0) -> Judge:
        head = "import numpy as np\nimport pytest\nfrom hypothesis import assume, given, strategies as st\n\n"
        visible.write_text(head + test, encoding="utf-8")
        return Judge(
            Edition(project, load_module(project, "01_toy")), Options(limit_seconds=limit_seconds, exercise="double")
        )

    return tested


@pytest.mark.parametrize("fault", OWN_FAULTS)
def test_what_fails_the_reference_as_well_costs_nobody_points(tested: JudgeOf, fault: str) -> None:
    test, said = OWN_FAULTS[fault]
    for double in (DOUBLE, "def double(x):\n    return 3 * x"):
        with tested(test, 4.0 if "limit" in fault else 60.0) as judge, pytest.raises(MachineryError) as told:
            judge.grade(handed_in(double))
        assert str(told.value).startswith("double: ") and said in str(told.value)


@pytest.mark.parametrize("double", ["return None", "return 'six'", "return np.zeros((3, 3))"])
def test_an_exception_that_an_answer_leads_to_in_the_tests_own_code_is_the_students(
    tested: JudgeOf, double: str
) -> None:
    with tested("def test_it(student): assert float(student.double(3) + 1) == 7\n") as judge:
        grade = judge.grade(handed_in(f"import numpy as np\ndef double(x):\n    {double}"))
    assert (grade.status, statuses(grade)) == ("graded", {"double": "failed"})


def test_a_fault_that_the_judge_gets_only_later_costs_nobody_points(tested: JudgeOf, tmp_path: Path) -> None:
    file = tmp_path / "numbers.txt"
    file.write_text("6", encoding="utf-8")
    wrong = handed_in("def double(x):\n    return 3 * x")
    with tested(f"def test_it(student): assert student.double(3) == int(open({str(file)!r}).read())\n") as judge:
        assert statuses(judge.grade(wrong)) == {"double": "failed"}
        file.unlink()
        for one in (wrong, handed_in()):
            with pytest.raises(MachineryError, match="the reference fails as well"):
                judge.grade(one)
        file.write_text("6", encoding="utf-8")
        assert statuses(judge.grade(handed_in())) == {"double": "passed"}


def test_one_exercise_alone_can_be_graded(toy: Project, module: Module) -> None:
    with Judge(Edition(toy, module), Options(exercise="counter")) as judge:
        grade = judge.grade(handed_in())
    assert statuses(grade) == {"counter": "passed"} and grade.max_points == 3


def test_a_judge_that_is_killed_says_so_and_grades_again(judge: Judge) -> None:
    judge.grade(handed_in())
    assert judge._tests
    os.kill(judge._tests._process.pid, signal.SIGKILL)
    with pytest.raises(MachineryError, match="ended"):
        judge.grade(handed_in())
    assert judge.grade(handed_in()).points == 5


def test_tests_that_cannot_be_collected_again_are_told_in_the_same_words(tmp_path: Path) -> None:
    """At the start it is a person's mistake, later the grader's: it is tried again, from the start."""
    project = Project(copy_toy(tmp_path))
    visible, _ = project.test_files("01_toy", "double")
    with Judge(Edition(project, load_module(project, "01_toy"))) as judge:
        visible.write_text("import nothing_of_this_name\n", encoding="utf-8")
        judge._stop()
        with pytest.raises(MachineryError) as later:
            judge.grade(handed_in())
    with pytest.raises(TitoError) as first, Judge(Edition(project, load_module(project, "01_toy"))):
        pass
    assert str(later.value) == str(first.value) and "test_double.py: ModuleNotFoundError" in str(first.value)


def test_tests_that_cannot_be_collected_are_nobodys_failure(tmp_path: Path) -> None:
    project = Project(copy_toy(tmp_path))
    visible, _ = project.test_files("01_toy", "double")
    visible.write_text("import nothing_of_this_name\n", encoding="utf-8")
    with (
        pytest.raises(TitoError, match="test_double.py: ModuleNotFoundError"),
        Judge(Edition(project, load_module(project, "01_toy"))),
    ):
        pass
    visible.unlink()
    with (
        pytest.raises(TitoError, match="nobody can be graded without it"),
        Judge(Edition(project, load_module(project, "01_toy"))),
    ):
        pass


def test_without_a_sandbox_no_stranger_is_graded(toy: Project, module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "protection", lambda: bubblewrap.Protection("none", "no bubblewrap", "install it"))
    with (
        pytest.raises(TitoError, match="no bubblewrap: install it; or grade with --unsafe"),
        Judge(Edition(toy, module)),
    ):
        pass


def test_without_a_sandbox_the_trusted_are_graded_alike_and_the_grade_is_marked(toy: Project, module: Module) -> None:
    with Judge(Edition(toy, module), Options(limit_seconds=PATIENT, unsafe=True)) as judge:
        grade, wrong = (judge.grade(handed_in(double)) for double in (DOUBLE, "def double(x):\n    return x"))
    with Judge(Edition(toy, module), Options(limit_seconds=HASTY, unsafe=True)) as judge:
        hung = judge.grade(handed_in(in_double("while True: pass")))
    assert grade.points == 5 and judging.UNSANDBOXED in grade.remarks
    assert statuses(wrong) == {"double": "failed", "counter": "failed"} and statuses(hung)["double"] == "timeout"


def test_leaving_the_judge_leaves_nothing_behind(toy: Project, module: Module) -> None:
    with Judge(Edition(toy, module)) as judge:
        judge.grade(handed_in())
        assert judge._tests
        folder, process = Path(judge._folder.name), judge._tests._process
    assert not folder.exists() and process.poll() is not None


def test_a_part_earns_its_points_beside_one_that_fails_hangs_or_is_not_written(judge: Judge, hasty: Judge) -> None:
    shared = COUNTER.replace("    def __init__(self):\n        self.total = START", "    total = START").replace(
        "self.total += double(x)", "Counter.total += double(x)"
    )
    grade = judge.grade(handed_in(counter=shared))
    assert (grade.points, statuses(grade)) == (4, {"double": "passed", "counter": "failed"})
    forgets = judge.grade(handed_in(counter=COUNTER.replace("+=", "=")))
    assert [(part.name, part.points) for part in forgets.outcomes[1].parts] == [("adds up", 0), ("own total", 1)]
    assert Grade.from_json(json.loads(json.dumps(forgets.as_json()))) == forgets
    hangs = hasty.grade(handed_in(counter=COUNTER.replace("self.total += double(x)", "while True: pass")))
    assert (hangs.points, statuses(hangs)["counter"]) == (2, "timeout"), "the tests after it have not run"


@pytest.mark.parametrize("mark", ["add_up", "own totals"])
def test_a_test_of_a_part_that_is_not_there_is_nobodys_failure(tmp_path: Path, mark: str) -> None:
    project = Project(copy_toy(tmp_path))
    hidden = project.test_files("01_toy", "counter")[1]
    hidden.write_text(hidden.read_text(encoding="utf-8").replace("own total", mark), encoding="utf-8")
    edition = Edition(project, load_module(project, "01_toy"))
    with pytest.raises(TitoError, match=f"is marked for the part '{mark}', and the parts of counter"), Judge(edition):
        pass
