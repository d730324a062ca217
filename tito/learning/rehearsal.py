"""What `tito grade` would say: a submission, read and judged as it will be, by the tests that a student has."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tito import archive, files
from tito.course import exporting, notebook, release_record
from tito.course.edition import Edition
from tito.course.module import Module
from tito.course.project import Project
from tito.errors import TitoError
from tito.grading.grade import Grade, MachineryError
from tito.grading.intake import collecting
from tito.grading.judging.judge import Judge
from tito.grading.options import Options
from tito.grading.sandbox import bubblewrap
from tito.learning.submission import SubmissionArchive
from tito.testing import environment, runner
from tito.testing.outcome import Finding, outcome_of
from tito.testing.runner import Result


@dataclass(frozen=True)
class Rehearsed:
    """The tests' result, lowered to what grading would give; and what one should know of that, in sentences."""

    result: Result
    remarks: tuple[str, ...]


def rehearse(
    project: Project,
    module: Module,
    submission: SubmissionArchive,
    result: Result,
    on_exercise: Callable[[], None] = lambda: None,
) -> Rehearsed:
    """Grade a submission here, in a sandbox where this machine has one.

    result: what its tests gave. on_exercise: called as each exercise is graded.
    """
    remarks = list(_changed(project, module))
    try:
        grade = _grade(Edition(project, module), submission, on_exercise)
    except (TitoError, MachineryError) as error:
        remarks.append(f"It could not be tried here as it will be graded; these points are of the tests alone: {error}")
        return Rehearsed(result, tuple(remarks))
    there = {outcome.exercise: outcome for outcome in grade.outcomes}
    lowest = tuple(there[o.exercise] if there[o.exercise].points < o.points else o for o in result.exercises)
    for mine, outcome in zip(result.exercises, lowest, strict=True):
        if mine.points != outcome.points:
            why = textwrap.indent(f"\n{outcome.message}", "  ") if "\n" in outcome.message else f" {outcome.message}"
            here, less = "passes its tests here", "would not"
            if outcome.points or mine.status != "passed":
                here, less = f"earns {mine.points} here", f"would earn {outcome.points}"
            remarks.append(f"{outcome.exercise} {here}, and {less} where it is graded:{why}")
    if lowest != result.exercises:
        remarks.append(environment.HAS)
    return Rehearsed(replace(result, exercises=lowest), tuple(remarks))


def lacking(project: Project, module: Module) -> list[str]:
    """What the exercises import and will not find in grading, in sentences."""
    documents = [notebook.read(project, entry.path) for entry in module.notebooks]
    return [*runner.lacking(project, module, documents, module.exercises)]


def _grade(edition: Edition, submission: SubmissionArchive, on_exercise: Callable[[], None]) -> Grade:
    with tempfile.TemporaryDirectory(prefix="tito_submit_") as folder:
        path = Path(folder, submission.path.name)
        path.write_bytes(archive.pack(submission.files))
        read = collecting.collect(edition, path)[0]
    if read.refused:
        nothing = (outcome_of(exercise, Finding("refused", "", read.refused)) for exercise in edition.module.exercises)
        return Grade(read.name, tuple(nothing), "refused", 0.0)
    options = Options(seed=0, unsafe=bubblewrap.protection().kind == "none")
    with Judge(edition, options) as judge:
        return judge.grade(read, on_exercise=on_exercise)


def _changed(project: Project, module: Module) -> Iterator[str]:
    """The given files of the package that are not as they were given."""
    released = release_record.read(project.root) or {}
    targets = [exporting.target(project, n.path, notebook.default_exp(n.path)) for n in module.notebooks]
    for name, digest in released.items():
        path = project.root / name
        ours = path.is_relative_to(project.package) and path not in targets and path.is_file()
        if ours and files.digest(path.read_bytes()) != digest:
            yield f"{name} is not as it was given; grading has it as it was given"
