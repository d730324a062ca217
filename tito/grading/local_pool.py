"""A batch graded on this machine: one thread and one judge for each job."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial

from tito.grading.batch import Pool, Task, exercises_of
from tito.grading.grade import Grade
from tito.grading.judging.retrying import Judging, RetryingJudge


def cores() -> int:
    """Those that this process may use: fewer than the machine has under Slurm or in a container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pool(make_judge: Callable[[Sequence[str]], Judging], jobs: int, limit_seconds: float) -> Pool:
    """A pool of threads, each with a judge of its own, made for the exercises that are asked for."""

    def graded(tasks: list[Task]) -> Generator[tuple[Task, Grade]]:
        if not tasks:
            return
        judges, own, processors = list[RetryingJudge](), threading.local(), _processors(jobs)
        stopped = threading.Event()

        def begin() -> None:
            _stay_on(next(processors))
            own.judge = RetryingJudge(partial(make_judge, exercises_of(tasks)), limit_seconds)
            judges.append(own.judge)

        def grade(task: Task) -> tuple[Task, Grade] | None:
            if stopped.is_set():
                return None
            try:
                return task, own.judge.grade(task.submission, task.exercises)
            except BaseException:  # nobody can be graded: no other submission is begun
                stopped.set()
                raise

        threads = ThreadPoolExecutor(min(jobs, len(tasks)), initializer=begin)
        try:
            order = {threads.submit(grade, task): number for number, task in enumerate(tasks)}
            waiting = set(order)
            while waiting:  # in short steps: on Windows Ctrl-C is not heard during a wait
                done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                ended = sorted((bool(future.exception()), order[future], future) for future in done)
                yield from filter(None, (future.result() for _, _, future in ended))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            for judge in judges:
                judge.close()
            threads.shutdown()

    return graded


def _processors(jobs: int) -> Iterator[int | None]:
    """One for each worker in turn; None where fewer work than there are processors, and on other systems than Linux."""
    known = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    return itertools.cycle(known if 1 < len(known) <= jobs else [None])


def _stay_on(processor: int | None) -> None:
    """Keep this thread, and every process that it starts, on a processor.

    A judge and its sandbox take turns, tens of thousands of times a submission, and to wake another processor each time
    would take longer than most answers.
    """
    if sys.platform == "linux" and processor is not None:
        os.sched_setaffinity(0, {processor})
