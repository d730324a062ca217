"""`--dask ADDRESS`: the same batch on a Dask cluster. Submissions go out as JSON, grades come back as JSON.

A worker finds the course where it was started, or where TITO_PROJECT says, and grades only if its tests and its tito
are ours, byte for byte. Students' code is text to the scheduler and to the worker; it runs in the worker's sandbox.
TLS: start with tls:// and tell Dask's own configuration where the certificates are (`distributed.comm.tls`).
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tito.course.edition import Edition
from tito.course.module import load_module
from tito.course.project import find_project
from tito.errors import TitoError, WrongCall
from tito.grading.batch import Pool, Task, exercises_of
from tito.grading.conditions import Conditions, conditions
from tito.grading.grade import Grade
from tito.grading.judging.judge import Judge
from tito.grading.judging.retrying import TRIES, RetryingJudge
from tito.grading.options import Options
from tito.grading.roster import Person
from tito.grading.sandbox import bubblewrap
from tito.grading.submission import Submission

IN_FLIGHT = 256  # submissions that the cluster holds at a time: its memory does not grow with the class
WORKER_SECONDS = 60.0  # for the first worker to come
CONNECT_SECONDS = 10.0


def on_cluster(address: str) -> Callable[[Edition, Options], Pool]:
    """For `grade_batch`. Raises WrongCall for what cannot be the address of a scheduler."""
    if not re.fullmatch(r"[a-z]+://\S+", address):
        raise WrongCall(f"--dask must be an address such as tcp://HOST:8786, got '{address}'")
    return lambda edition, options: pool(address, conditions(edition, options))


def pool(address: str, wanted: Conditions) -> Pool:
    """A pool of the cluster's workers. What a lost worker had is run again elsewhere, up to TRIES times."""

    def graded(tasks: list[Task]) -> Generator[tuple[Task, Grade]]:
        if not tasks:
            return
        distributed, client = _connect(address)
        waiting, running = iter(tasks), dict[Any, Task]()
        decides = json.dumps([asdict(wanted), exercises_of(tasks)])

        def sent() -> Iterator[Any]:
            for task in waiting:
                nobody = replace(task.submission, person=Person(), handed_in=None)  # a cluster need not know
                asked = json.dumps([nobody.as_json(), task.exercises])
                future = client.submit(grade_here, decides, asked, pure=False)
                running[future] = task
                yield future

        try:
            more = sent()
            done = distributed.as_completed(list(islice(more, IN_FLIGHT)))
            for future in done:
                task = running.pop(future)
                yield task, _answer(distributed, future, task.submission)
                done.update(list(islice(more, 1)))
        finally:
            with suppress(Exception):  # a cluster that is gone cannot be told to stop
                client.cancel(list(running))
            _close(client)

    return graded


def _connect(address: str) -> tuple[Any, Any]:
    """The library and a client. One sentence where the one is missing, or nobody answers."""
    try:
        import distributed
    except ImportError:
        raise WrongCall("--dask needs the package distributed: pip install distributed") from None

    class Client(distributed.Client):  # type: ignore[misc]  # of a library without types
        """One that cannot connect is closed at once: left to itself it would close when memory is tidied."""

        def __init__(self) -> None:
            try:
                super().__init__(address, timeout=CONNECT_SECONDS)
            except BaseException:
                _close(self)
                raise

    try:
        client = Client()
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise TitoError(f"no Dask scheduler answers at {address} ({reason}): is it running, and with TLS?") from None
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except TimeoutError:
        _close(client)
        raise TitoError(f"{address} has no worker: start some with `dask worker {address}` in the course") from None
    return distributed, client


def _close(client: Any) -> None:
    """Now, whatever it says: left to itself it would close when memory is tidied, and hang where another starts."""
    with suppress(Exception):
        client.close(timeout=2)
    client.status = "closed"


def _answer(distributed: Any, future: Any, submission: Submission) -> Grade:
    """What a worker said. Raises TitoError where workers cannot grade at all."""
    try:
        reply = json.loads(future.result())
    except distributed.KilledWorker:
        remark = f"the grader failed: {TRIES} workers were lost while they graded it"
        return Grade(submission.name, (), "machinery", 0.0, (remark,))
    except Exception as error:
        reason = str(error).split("\n")[0]
        raise TitoError(f"the workers cannot run the grader ({reason}): install the same tito there") from None
    if "stop" in reply:
        raise TitoError(reply["stop"])
    return Grade.from_json(reply["grade"])


def grade_here(wanted: str, task: str) -> str:
    """On a worker: JSON of one task -> JSON of its grade, or of the reason why this worker must not grade.

    wanted: JSON of the conditions, and of the exercises that tasks may ask for.
    """
    try:
        judge = _kept(wanted)
        submission, exercises = json.loads(task)
        return json.dumps({"grade": judge.grade(Submission.from_json(submission), exercises).as_json()})
    except TitoError as error:
        return json.dumps({"stop": f"the worker {_address()} cannot grade: {error}"})


@dataclass
class _ThreadLocal(threading.local):
    """A worker's thread keeps its judge from one submission to the next."""

    wanted: str = ""  # what it was made for, as JSON
    judge: RetryingJudge | None = None


_thread_local = _ThreadLocal()


def _kept(wanted: str) -> RetryingJudge:
    if _thread_local.judge is None or _thread_local.wanted != wanted:
        if _thread_local.judge is not None:
            _thread_local.judge.close()
        _thread_local.judge, _thread_local.wanted = _checked(*json.loads(wanted)), wanted
    return _thread_local.judge


def _checked(decides: dict[str, Any], exercises: Sequence[str]) -> RetryingJudge:
    """A judge for exactly these conditions, or TitoError."""
    wanted = Conditions.from_json(decides)
    named = os.environ.get("TITO_PROJECT")
    here = find_project(Path(named) if named else None)
    edition = Edition(here, load_module(here, wanted.module))
    found = conditions(edition, wanted.options)
    if (found.course, found.exercises) != (wanted.course, wanted.exercises):
        raise TitoError(f"its tests or notebooks of {wanted.module} are not those of this course: copy them there")
    if found.grader != wanted.grader:
        raise TitoError("its tito, Python, NumPy, pytest or hypothesis is not the one here: install the same there")
    bubblewrap.check(wanted.options.unsafe)
    return RetryingJudge(partial(Judge, edition, wanted.options, exercises), wanted.options.limit_seconds)


def _address() -> str:
    from distributed import get_worker

    return str(get_worker().address)
