"""Code that a student wrote into cells of no exercise: it is not graded, and one should know before one hands in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from tito.course.notebook import Cell
from tito.grading.intake import lexing

MOST_TEXT = 1_000_000  # characters that are looked at


def ungraded(
    given: Iterable[Cell], cells: Collection[Cell], exercises: Collection[str], without: Callable[[str, str], str]
) -> Iterator[str]:
    """One sentence for every name that an exercise's cell uses and only a cell of no exercise defines.

    given: the cells of the student's edition; exercises: the ids whose cells are graded; without: an exercise and a
    dotted name -> why it cannot import that in grading, or nothing.
    """
    known, given_code = set[str](), set[str]()
    for cell in given:
        if cell.kind == "code":
            known |= lexing.defined(cell.code)
            given_code.add(cell.code.strip())
    code = [cell for cell in _affordable(cells) if cell.kind == "code"]
    graded = [cell for cell in code if cell.exercise in exercises]
    for cell in graded:
        known |= lexing.defined(cell.code)
    places, imported = dict[str, int](), dict[str, str]()
    for cell in code:
        if cell.exercise not in exercises and cell.code.strip() not in given_code:
            places |= {name: cell.number for name in lexing.defined(cell.code)}
            imported |= lexing.imported(cell.code)
            if cell.exported and given_code:
                yield f"cell {cell.number} is of no exercise and is not as it was given: what it says is not graded"
    lost = places.keys() - known - lexing.RESERVED
    for cell in graded if lost else ():
        for name in sorted(lexing.free(cell.code) & lost):
            head = f"{cell.exercise} uses {name}, which only cell {places[name]} defines: that is a cell of no exercise"
            why = without(str(cell.exercise), imported[name]) if name in imported else ""
            advice = f"nor would it run in the exercise's cell: {why}" if why else "move it into the exercise's cell"
            yield f"{head} and is not graded; {advice}"


def _affordable(cells: Iterable[Cell]) -> Iterator[Cell]:
    left = MOST_TEXT
    for cell in cells:
        left -= len(cell.source)
        if left < 0:
            return
        yield cell
