"""What a person sees while a batch is graded: a bar with the time left on a terminal, a line a submission elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tito import console
from tito.grading.grade import Grade


@contextmanager
def following(known: int, total: int) -> Iterator[Callable[[Grade], None]]:
    """Call what this gives with every grade that is made; `known` of them were made before."""
    terminal = console.stdout()
    if not terminal.is_terminal:
        done = known

        def line(grade: Grade) -> None:
            nonlocal done
            done += 1
            console.say(f"{done:>{len(str(total))}} of {total}  {summary(grade)}")

        yield line
        return
    with console.bar("graded", terminal) as bar:
        task = bar.add_task("", total=total, completed=known)
        yield lambda grade: bar.update(task, advance=1, description=summary(grade).replace("[", r"\["))


def summary(grade: Grade) -> str:
    """One line on one grade.

    >>> summary(Grade("ada", (), "machinery", 0.0))
    'ada  not graded: the grader itself failed'
    """
    if grade.status == "machinery":
        return f"{grade.submission}  not graded: the grader itself failed"
    refused = "  could not be read" if grade.status == "refused" else ""
    return f"{grade.submission}  {console.points(grade.points, grade.max_points)}{refused}"
