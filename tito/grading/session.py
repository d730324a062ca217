"""One call of `tito grade` or `tito merge` from the moment everybody is known: grade, show, report, sum up."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

from tito import console, files
from tito.course import Module
from tito.errors import Status, TitoError
from tito.grading import display, intake, reports, similarity
from tito.grading.batch import Batch, Pool
from tito.grading.merging import About


class Stopped(TitoError):
    """Ctrl-C, after everything that was started has been ended."""

    status = Status.INTERRUPTED


def cores() -> int:
    """Those that this process may use: fewer than the machine has under Slurm or in a container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(batch: Batch, pool: Pool, notes: Sequence[str]) -> None:
    """Grade whom the journal does not know, and show how far it is. `notes`: what the journal has to say first."""
    for note in notes:
        console.say(note, "yellow")
    known, total = len(batch.grades), len(batch.submissions)
    refused = sum(grade.status == "refused" for grade in batch.grades)
    counted = [(refused, "cannot be read"), (known - refused, "graded already")]
    if told := ", ".join(f"{count} {what}" for count, what in counted if count):
        console.say(f"{total} submissions: {told}")
    try:
        with closing(batch.run(pool)) as graded, display.following(known, total) as show:
            for grade in graded:
                show(grade)
    except KeyboardInterrupt:
        done = f"{len(batch.grades)} of {total} submissions are graded and kept"
        raise Stopped(f"stopped by Ctrl-C: {done}; the same command goes on from there") from None


def report(module: Module, out: Path, batch: Batch, about: About, json_path: Path | None) -> Status:
    """Write the reports, say what there is; FAILED where the grader itself failed for somebody."""
    given = intake.given_cells(module)
    judged = [about.conditions.exercise] if about.conditions.exercise else list(given)
    alike = similarity.pairs(batch.submissions, {name: given[name] for name in judged})
    reports.write(out, module, batch.grades, alike, foot(about))
    if json_path:
        told = about.as_json() | {"grades": [grade.as_json() for grade in batch.grades]}
        files.write_whole([(json_path, json.dumps(told, indent=1) + "\n")])
    counted = [(word, [g for g in batch.grades if g.status == status]) for status, word in WORDS.items()]
    console.say(", ".join(f"{len(found)} {word}" for word, found in counted if found) or "no submissions")
    for grade in counted[-1][1]:
        console.say(f"{grade.submission}: {grade.remarks[-1]}", "red")
    console.say(f"{out / 'index.html'}  {out / 'grades.csv'}")
    return Status.FAILED if counted[-1][1] else Status.DONE


WORDS = {"graded": "graded", "refused": "could not be read", "machinery": "not graded, for the grader itself failed"}


def foot(about: About) -> dict[str, Any]:
    """How the batch was graded, for people who look at the reports later."""
    conditions = about.conditions
    shown: dict[str, Any] = {"seed": conditions.seed, "limit_seconds": conditions.limit_seconds}
    shown |= {"unsafe": conditions.unsafe} | ({"exercise": conditions.exercise} if conditions.exercise else {})
    shown |= {"shard": about.shard} if about.shard.of > 1 else {}
    shown |= {"tests_and_notebooks": conditions.course[:12], "grader": conditions.grader[:12]}
    return shown | {"python": platform.python_version(), "numpy": metadata.version("numpy")}
