"""`tito grade --dask` on a real scheduler with two real workers, one of which is killed at its work."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tito.errors import TitoError, WrongCall
from tito.grading import dask_pool
from tito.grading.batch import Task
from tito.grading.conditions import Conditions
from tito.grading.grade import Grade
from tito.grading.options import Options
from tito.grading.submission import Submission

from ..toy_course import ROOT, Course

pytestmark = pytest.mark.sandbox  # workers grade in one
SLOW = "# %%\n#| export\n#| exercise: double\ndef double(x):\n    import time\n    time.sleep(0.5)\n    return {} * x\n"
CONDITIONS = Conditions("01_toy", Options(), {"tito": "1"}, {"given code": "1"}, {"double": {"tests of double": "1"}})
SECONDS = 60.0  # for anything to happen


def until(condition: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit, f"waited {SECONDS:g} s in vain for {what}"
        time.sleep(0.05)


class Processes:
    """Python processes that a test starts, each in a group of its own; all are gone when the test is over."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, list[subprocess.Popen[bytes]]()
        unwanted = ("TITO_PROJECT", "PYTEST_ADDOPTS")
        self.env = {name: value for name, value in os.environ.items() if name not in unwanted}
        self.env |= {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}

    def start(self, *arguments: str, where: Path) -> tuple[subprocess.Popen[bytes], Path]:
        said = self.folder / f"said {len(self.started)}.txt"
        with said.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=where,
                env=self.env,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process, said

    def scheduler(self, *options: str) -> str:
        """Start a scheduler; returns its address."""
        file = self.folder / "scheduler.json"
        arguments = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file), *options]
        self.start("-m", "distributed.cli.dask_scheduler", *arguments, where=self.folder)
        until(file.is_file, "the scheduler")
        return str(json.loads(file.read_text(encoding="utf-8"))["address"])

    def worker(self, address: str, course: Path, *options: str) -> subprocess.Popen[bytes]:
        arguments = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self.folder), *options]
        return self.start("-m", "distributed.cli.dask_worker", address, *arguments, where=course)[0]

    def grade(self, course: Path, submissions: Path, out: Path, *options: str) -> tuple[subprocess.Popen[bytes], Path]:
        arguments = ["grade", "01_toy", str(submissions), "--out", str(out), *options]
        return self.start("-m", "tito", "--project", str(course), *arguments, where=self.folder)

    def end(self) -> None:
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path)
    yield processes
    processes.end()


@pytest.fixture
def handed_in(tmp_path: Path) -> Path:
    """Eight people whose code is slow, so that a worker can be killed while it grades; every other one is wrong."""
    folder = tmp_path / "in"
    for number in range(8):
        (folder / f"student_{number}").mkdir(parents=True)
        text = SLOW.format(2 + number % 2) + f"    # by {number}\n"
        (folder / f"student_{number}" / "toy_dev.py").write_text(text, encoding="utf-8")
    return folder


def ended(process: subprocess.Popen[bytes], said: Path) -> tuple[int, str]:
    """The exit status and what was said."""
    status = process.wait(SECONDS)
    return status, said.read_text(encoding="utf-8")


def graded(said: Path) -> int:
    return said.read_text(encoding="utf-8").count(" of 8  ")


def test_a_lost_worker_costs_nothing(processes: Processes, course: Course, handed_in: Path, tmp_path: Path) -> None:
    address = processes.scheduler()
    workers = [processes.worker(address, course.root) for _ in range(2)]
    grading, said = processes.grade(course.root, handed_in, tmp_path / "out", "--dask", address)
    until(lambda: graded(said) >= 2 or grading.poll() is not None, "the first grades")
    assert grading.poll() is None, f"it was over before a worker could be killed:\n{said.read_text(encoding='utf-8')}"
    workers[0].kill()
    assert ended(grading, said)[0] == 0, said.read_text(encoding="utf-8")
    with (tmp_path / "out" / "grades.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = [(row["submission"], row["double"], row["status"]) for row in csv.DictReader(stream)]
    assert rows == [(f"student_{number}", "2" if number % 2 == 0 else "0", "graded") for number in range(8)]
    assert ended(*processes.grade(course.root, handed_in, tmp_path / "local"))[0] == 0
    alike = [(tmp_path / out / "grades.csv").read_bytes() for out in ("out", "local")]
    assert alike[0] == alike[1], "the cluster must say byte for byte what this machine says"


def test_a_worker_with_other_tests_is_refused_with_a_sentence(
    processes: Processes, course: Course, handed_in: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other course"
    shutil.copytree(course.root, other)
    with (other / "tests" / "01_toy" / "test_double.py").open("a", encoding="utf-8") as stream:
        stream.write("\n# changed\n")
    address = processes.scheduler()
    processes.worker(address, other)
    status, said = ended(*processes.grade(course.root, handed_in, tmp_path / "out", "--dask", address))
    assert status == 1, said
    assert "its tests or notebooks of 01_toy are not those of this course" in said
    assert "Traceback" not in said and not (tmp_path / "out" / "grades.csv").exists()


@pytest.fixture
def tls(tmp_path: Path, processes: Processes) -> None:
    """A certificate that signs itself, known to every process that is started from now on."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    ask = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*ask, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    settings = {"CA_FILE": cert}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        settings |= {f"{role}__CERT": cert, f"{role}__KEY": key}
    processes.env |= {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(path) for name, path in settings.items()}


@pytest.mark.nightly
def test_with_tls_nobody_listens_in_and_nobody_else_comes_in(
    processes: Processes, tls: None, course: Course, handed_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = processes.scheduler("--protocol", "tls")
    assert address.startswith("tls://")
    processes.worker(address, course.root)
    options = ("--exercise", "double", "--dask", address)
    one = handed_in / "student_2" / "toy_dev.py"
    status, said = ended(*processes.grade(course.root, one, tmp_path / "out", *options))
    assert status == 0, said
    assert "2 of 2 points" in said
    monkeypatch.setattr(dask_pool, "CONNECT_SECONDS", 1)
    with pytest.raises(TitoError, match="no Dask scheduler answers at tls://"):
        list(dask_pool.pool(address, CONDITIONS)([Task(Submission("ada", {}), ("double",))]))


def test_an_address_where_nobody_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_pool, "CONNECT_SECONDS", 1)
    with pytest.raises(TitoError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        list(dask_pool.pool("tcp://127.0.0.1:9", CONDITIONS)([Task(Submission("ada", {}), ("double",))]))


def test_a_scheduler_without_workers_is_named(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_pool, "WORKER_SECONDS", 1)
    address = processes.scheduler()
    with pytest.raises(TitoError, match="has no worker: start some"):
        list(dask_pool.pool(address, CONDITIONS)([Task(Submission("ada", {}), ("double",))]))


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(WrongCall, match="pip install distributed"):
        list(dask_pool.pool("tcp://127.0.0.1:9", CONDITIONS)([Task(Submission("ada", {}), ("double",))]))


def test_nothing_to_grade_needs_no_cluster() -> None:
    assert list(dask_pool.pool("tcp://127.0.0.1:9", CONDITIONS)([])) == []


def test_a_cluster_is_sent_text_and_sends_text(monkeypatch: pytest.MonkeyPatch) -> None:
    sent, submission = list[object](), Submission("ada", {"double": ("raise SystemExit",)}, ("remark",))

    class Future:
        def result(self) -> str:
            return json.dumps({"grade": Grade("ada", (), "graded", 0.0).as_json()})

    class Client:
        def submit(self, function: object, *arguments: object, pure: bool) -> Future:
            assert function is dask_pool.grade_here and not pure, (
                "the same cells graded again must not come from a cache"
            )
            sent.extend(arguments)
            return Future()

        def cancel(self, futures: list[Future]) -> None:
            assert futures == []

        def close(self, timeout: float) -> None:
            pass

    class Distributed:
        KilledWorker = KeyError

        class as_completed(list[Future]):
            update = list.extend

    monkeypatch.setattr(dask_pool, "_connect", lambda address: (Distributed, Client()))
    task = Task(submission, ("double",))
    [(done, grade)] = dask_pool.pool("tcp://x", CONDITIONS)([task])
    assert done is task and grade.status == "graded"
    assert [type(one) for one in sent] == [str, str], "code is shipped as text inside of text: nothing to unpickle"
