"""What an answer costs the process that holds the tests: never a gigabyte, and never the grade of somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tito.course.edition import Edition
from tito.course.module import load_module
from tito.course.project import Project
from tito.grading.grade import Grade
from tito.grading.judging.judge import Judge
from tito.grading.options import Options
from tito.grading.submission import Submission

from ...toy_course import copy_toy

pytestmark = pytest.mark.sandbox
GIGABYTE = 1 << 30
COUNTER = (
    "class Counter:\n    total = START\n    def add(self, x):\n        self.total += x * 2\n        return self.total"
)
GREEDY = """

def test_what_is_kept_comes_back(student):
    kept = [student.double(np.array([1.0]))]
    while len(kept) < 10_000:
        kept.append(kept[-1] + 0)
    assert kept[-1].tolist() == [2.0], f"expected [2.0], got {kept[-1].tolist()}"


def test_what_is_written_out_comes_back(student):
    got = student.double(np.array([1.0]))
    texts = [str(number) for number in np.asarray(got).ravel().tolist()] * 100
    assert len(set(texts)) == 1, f"expected one number, got {' '.join(texts)}"
"""
FORGE = """
import gc, struct
LINE = next(thing for thing in gc.get_objects() if type(thing).__name__ == "Channel")
def forge(text, raw=b""):
    LINE._writing.write(struct.pack("<IQ", len(text), len(raw)) + text + raw)
    LINE._writing.flush()
"""
ANSWERS = {
    "the most codes": "return np.arange(1 << 22).astype(np.int8)",
    "the most floats": "return np.arange(1 << 20) + 0.5",
    "rows without a number": "return np.zeros((1 << 21, 0))",
    "too many rows": "return np.zeros((1 << 24, 0))",
    "too many codes": "return np.zeros(60 << 20, np.int8)",
    "a long list": "return list(range(100_000))",
    "a long text": "return 'ab' * 500_000",
    "rows by hand": """forge(b'["t",["t","value",["a","|i1",[134217728,0],0]],["t"]]')""",
    "columns by hand": """forge(b'["t",["t","value",["a","|i1",[0,134217728],0]],["t"]]')""",
    "codes by hand": """forge(b'["t",["t","value",["a","|i1",[62914560],62914560]],["t"]]', bytes(60 << 20))""",
    "brackets": """forge(b'["l"' + b",[]" * 349_000 + b"]")""",
    "names of methods": """forge(b'["t",["t","value",1],["t"%s]]' % (b',["t",2,["t"%s]]' % (b',"a"' * 199) * 999))""",
    "many places": """forge(b'["t",["t","error","E",["t"],"e",["l"%s]],["t"]]' % (b',["t","b",1]' * 999))""",
}  # fmt: skip


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    project = Project(copy_toy(tmp_path_factory.mktemp("toy")))
    tests = project.test_files("01_toy", "double")[0]
    tests.write_text(tests.read_text(encoding="utf-8") + GREEDY, encoding="utf-8")
    with Judge(Edition(project, load_module(project, "01_toy")), Options(limit_seconds=120)) as judge:
        yield judge


def graded(judge: Judge, body: str) -> Grade:
    double = f"import numpy as np\n{FORGE}\ndef double(x):\n    {body}"
    return judge.grade(Submission("anna", {"double": (double,), "counter": (COUNTER,)}))


def most_taken(judge: Judge) -> int:
    """The most memory that the process with the tests has held so far, in bytes."""
    assert judge._tests is not None
    status = Path(f"/proc/{judge._tests.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:"))


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_never_costs_the_judge_a_gigabyte_and_is_charged_to_its_student(judge: Judge, answer: str) -> None:
    grade = graded(judge, ANSWERS[answer])
    assert (grade.status, grade.points) == ("graded", next(o.points for o in grade.outcomes if o.exercise == "counter"))
    assert most_taken(judge) < GIGABYTE
    honest = graded(judge, "return 2 * x")
    assert honest.points == honest.max_points, [outcome.message for outcome in honest.outcomes]


def test_who_fills_the_memory_of_a_test_is_told_so(judge: Judge) -> None:
    said = {outcome.exercise: outcome.message for outcome in graded(judge, "return np.full(1 << 20, 2.0)").outcomes}
    assert "comes back twice" in said["double"]
    only_greedy = "return np.full(1 << 20, 2.0) if np.size(x) == 1 and np.ndim(x) else 2 * x"
    said = {outcome.exercise: outcome.message for outcome in graded(judge, only_greedy).outcomes}
    assert "the test ran out of memory, of which it has 768 MB" in said["double"]
