"""What counts in the end: the grade that the tests gave, with all that is added or taken off, each with its reason.

Everything that changes a grade comes together here. A source is a file of the instructor's in --out, read by a function
of its own to `Additions`; it is named in SOURCES, and nowhere else. What lateness costs comes last, for it may be a
share of the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

from tito.course.module import Module
from tito.grading.grade import Grade
from tito.grading.reports import adjustments, comments, deadlines_toml
from tito.grading.reports.adjustments import Adjustment
from tito.grading.reports.comments import Comment
from tito.grading.reports.deadlines import Deadlines, Lateness
from tito.grading.reports.marking import marks
from tito.grading.reports.marking.marks import Answers, Mark, Marking
from tito.grading.roster import Person

NOBODY: Mapping[str, Person] = MappingProxyType({})
SOURCES = (adjustments.read,)  # (out, module, the submissions' names) -> Additions


@dataclass(frozen=True)
class Standing:
    """The points of one submission, and how they came about."""

    grade: Grade
    adjustments: tuple[Adjustment, ...] = ()
    person: Person = Person()
    late: Lateness | None = None  # None: nobody said when it is due
    words: tuple[Mark, ...] = ()  # a mark for each question
    comments: tuple[Comment, ...] = ()

    @property
    def name(self) -> str:
        return self.grade.submission

    @property
    def max_words(self) -> int:
        """What answers in words could earn."""
        return sum(mark.rubric.points for mark in self.words)

    @property
    def corrections(self) -> list[Adjustment]:
        """What changes the points, but for the marks of answers in words: a whole class has these."""
        marks = {(mark.rubric.question.id, mark.reason) for mark in self.words}
        return [entry for entry in self.adjustments if (entry.exercise, entry.reason) not in marks]

    @property
    def adjusted(self) -> Decimal:
        return sum((adjustment.points for adjustment in self.adjustments), Decimal(0))

    @property
    def points(self) -> Decimal | None:
        """Never below 0; above the full points where the instructor gives more. None where the grader itself failed,
        and where nothing was handed in, unless an adjustment says what that counts.
        """
        if self.grade.status == "machinery" or (self.grade.status == "missing" and not self.adjustments):
            return None
        return max(Decimal(0), self.grade.points + self.adjusted)

    @property
    def reasons(self) -> str:
        return "; ".join(f"{entry.exercise}: {entry.reason}".removeprefix(": ") for entry in self.adjustments)


@dataclass(frozen=True)
class Instructions:
    """What the instructor's files say of a batch, and what in them the instructor should look at."""

    adjustments: tuple[Adjustment, ...] = ()
    deadlines: Deadlines | None = None
    marking: Marking = field(default_factory=Marking)
    comments: tuple[Comment, ...] = ()
    warnings: tuple[str, ...] = ()

    def standings(self, grades: Iterable[Grade], people: Mapping[str, Person] = NOBODY) -> list[Standing]:
        """Every grade, by name, with what is to be added to it. people: a submission's name -> who handed it in."""
        added = defaultdict[str, list[Adjustment]](list)
        for adjustment in self.adjustments:
            added[adjustment.submission].append(adjustment)
        ordered = [(grade.submission, grade) for grade in sorted(grades, key=lambda grade: grade.submission)]
        said = defaultdict[str, list[Comment]](list)
        for comment in self.comments:
            said[comment.submission].append(comment)
        made = [Standing(grade, tuple(added[name]), people.get(name, Person())) for name, grade in ordered]
        full = [replace(e, words=tuple(self.marking.of(e.name)), comments=tuple(said[e.name])) for e in made]
        return [self._in_time(entry) for entry in full]

    def _in_time(self, entry: Standing) -> Standing:
        """With how late it is, and what that costs."""
        if self.deadlines is None or not entry.grade.outcomes:
            return entry
        late = self.deadlines.lateness(entry.name, entry.grade.handed_in)
        cost = self.deadlines.adjustment(entry.name, late, entry.points or Decimal(0))
        return replace(entry, late=late, adjustments=(*entry.adjustments, *([cost] if cost else [])))


def read(out: Path, module: Module, names: Iterable[str], answers: Answers = marks.NO_ANSWERS) -> Instructions:
    """What lies in `out` for submissions of these names. Raises TitoError naming the file and its wrong line.

    answers: what was written to each question, by the submission's name; it is marked only where it is told.
    """
    names = list(names)
    marking = marks.read(out, module, answers)
    found = [*(source(out, module, names) for source in SOURCES), marking.additions]
    said, for_nobody = comments.read(out, module, names)
    added = tuple(adjustment for one in found for adjustment in one.adjustments)
    deadlines, unknown = deadlines_toml.read(out, names)
    warnings = (*(warning for one in found for warning in one.warnings), *for_nobody, *unknown)
    return Instructions(added, deadlines, marking, tuple(said), warnings)
