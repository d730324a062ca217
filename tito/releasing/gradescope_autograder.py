"""What runs in Gradescope's container for every submission, and writes results.json as Gradescope defines it.

`python -m tito.releasing.gradescope_autograder MODULE SUBMISSION RESULTS`, called in the course's folder, reads and
grades as `tito grade` does: the same intake, the same judge, the same points. Where the container allows no sandbox,
students' code runs in a process of its own without one.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tito import files
from tito.course.edition import Edition
from tito.course.module import Module, load_module
from tito.course.project import Project, find_project
from tito.grading import batch
from tito.grading.grade import Grade, MachineryError
from tito.grading.intake import collecting, unpacking
from tito.grading.judging.judge import UNSANDBOXED, Judge
from tito.grading.judging.retrying import RetryingJudge
from tito.grading.options import Options
from tito.grading.reports.gradescope import entry
from tito.grading.sandbox import bubblewrap
from tito.grading.submission import Submission
from tito.releasing.gradescope import WITHHELD

LIMIT_SECONDS = 240.0  # for one submission; Gradescope itself ends what takes ten minutes
SHOWN = {"stdout_visibility": "hidden", "visibility": "visible"}


def grade(here: Project, module: Module, submission: Path, withheld: Path) -> dict[str, Any]:
    """Gradescope's results for one submission. Raises MachineryError or TitoError where the grader itself failed."""
    begun, edition = time.monotonic(), Edition(here, module)
    read = collecting.one(edition, "submission", partial(unpacking.walk, submission))
    graded = batch.refusal(module, None, read) if read.refused else _judged(edition, read, withheld)
    tests = [entry(number, outcome) for number, outcome in enumerate(graded.outcomes, 1)]
    results: dict[str, Any] = {"score": graded.points, "execution_time": round(time.monotonic() - begun)} | SHOWN
    remarks = [remark for remark in graded.remarks if remark != UNSANDBOXED and not remark.startswith(collecting.CLAIM)]
    return results | ({"output": "\n".join(remarks)} if remarks else {}) | {"tests": tests}


def _judged(edition: Edition, read: Submission, withheld: Path) -> Grade:
    unsafe = bubblewrap.protection().kind == "none"
    with _in_place(edition.project, edition.module, withheld):
        options = Options(limit_seconds=LIMIT_SECONDS, unsafe=unsafe)
        with closing(RetryingJudge(partial(Judge, edition, options), LIMIT_SECONDS)) as judge:
            graded = judge.grade(read)
    if graded.status == "machinery":
        raise MachineryError(graded.remarks[-1])
    return replace(graded, remarks=(*read.remarks, *graded.remarks))


@contextmanager
def _in_place(here: Project, module: Module, withheld: Path) -> Iterator[None]:
    """The hidden tests, where the judge looks for them; nothing is put, or removed, where some lie already."""
    target = here.test_files(module.name, "any")[1].parent
    if target.exists() or not withheld.is_dir():
        yield
        return
    shutil.copytree(withheld, target)
    try:
        yield
    finally:
        shutil.rmtree(target, ignore_errors=True)


def failed(error: BaseException) -> dict[str, Any]:
    """The results where the grader itself failed. They hold no score: Gradescope must not take them for a grade."""
    reason = str(error).split("\n")[0] or type(error).__name__
    output = f"The autograder itself failed ({reason}). This says nothing about your work, and is no grade: tell your "
    output += "instructor, who should run the autograder again, or mend it."
    return {"output": output} | SHOWN


def main(arguments: list[str]) -> int:
    """MODULE SUBMISSION RESULTS. Whatever happens, the results are written."""
    name, submission, target = arguments
    try:
        here = find_project()
        results = grade(here, load_module(here, name), Path(submission), here.root.parent / WITHHELD)
    except BaseException as error:
        traceback.print_exc()  # for the instructor
        results = failed(error)
    files.write_whole([(Path(target), json.dumps(results, indent=2) + "\n")])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
