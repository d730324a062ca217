"""What `tito grade` would say: a submission, read and judged as it will be, by the tests that a student has."""

from __future__ import annotations

import hashlib
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tito import archive, exporting, notebook, release, testing
from tito.course import Module
from tito.errors import TitoError
from tito.grading import intake, offered
from tito.grading.grade import Grade, MachineryError
from tito.grading.judging import box
from tito.grading.judging.judge import Judge
from tito.project import Project
from tito.submission import Submission
from tito.testing import Outcome, Result


@dataclass(frozen=True)
class Rehearsed:
    """The tests' result, lowered to what grading would give; and what one should know of that, in sentences."""

    result: Result
    told: tuple[str, ...]


def rehearse(project: Project, module: Module, submission: Submission, result: Result) -> Rehearsed:
    """Grade a submission here, in a box where this machine has one. `result` is what its tests gave."""
    told = list(_changed(project, module))
    try:
        grade = _grade(project, offered.as_given(project, module), submission)
    except (TitoError, MachineryError) as error:
        told.append(f"It could not be tried here as it will be graded; these points are of the tests alone: {error}")
        return Rehearsed(result, tuple(told))
    there = {outcome.id: outcome for outcome in grade.outcomes}
    lowest = tuple(there[o.id] if o.status == "passed" else o for o in result.exercises)
    for mine, outcome in zip(result.exercises, lowest, strict=True):
        if mine.status != outcome.status:
            why = textwrap.indent(f"\n{outcome.message}", "  ") if "\n" in outcome.message else f" {outcome.message}"
            told.append(f"{outcome.id} passes its tests here, and would not where it is graded:{why}")
    if lowest != result.exercises:
        told.append(offered.HAS)
    return Rehearsed(replace(result, exercises=lowest), tuple(told))


def lacking(project: Project, module: Module) -> list[str]:
    """What the exercises import and will not find in grading, in sentences."""
    documents = [notebook.read(project, entry.path) for entry in module.notebooks]
    return [*testing.lacking(project, module, documents, module.exercises)]


def _grade(project: Project, module: Module, submission: Submission) -> Grade:
    with tempfile.TemporaryDirectory(prefix="tito_submit_") as folder:
        path = Path(folder, submission.path.name)
        path.write_bytes(archive.pack(submission.files))
        read = intake.collect(module, path)[0]
    if read.refused:
        nothing = (Outcome(e.id, e.title, 0, e.points, "failed", read.refused) for e in module.exercises)
        return Grade(read.name, tuple(nothing), "refused", 0.0)
    with Judge(project, module, unsafe=box.protection().kind == "none") as judge:
        return judge.grade(read)


def _changed(project: Project, module: Module) -> Iterator[str]:
    """The given files of the package that are not as they were given."""
    record = release.read_record(project.root)
    targets = [exporting.target(project, n.path, notebook.default_exp(n.path)) for n in module.notebooks]
    for name, digest in record["files"].items() if record else ():
        path = project.root / name
        ours = path.is_relative_to(project.package) and path not in targets and path.is_file()
        if ours and hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            yield f"{name} is not as it was given; grading has it as it was given"
