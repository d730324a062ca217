"""What the grader says about one submission, and what it raises when the fault is its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from tito.grading.handed_in import HandedIn
from tito.testing import environment
from tito.testing.outcome import Outcome

GradeStatus = Literal["graded", "refused", "machinery", "missing"]


class MachineryError(Exception):
    """The grader itself failed: try again, and never count it as the student's."""


@dataclass(frozen=True)
class Grade:
    """How a submission stands: an outcome for every exercise, in the module's order."""

    submission: str  # the name; unique in a batch
    outcomes: tuple[Outcome, ...]
    status: GradeStatus
    seconds: float
    remarks: tuple[str, ...] = ()  # what the student should know
    digest: str = ""  # of the cells
    # A sandbox or the tests' process ended unasked: by the student's code, or by who kills from outside.
    lost: bool = False
    # Tests were cut short, and those after them met what that left: less time, or given code in the place of a cell. So
    # these outcomes stand or fall together.
    cut_short: bool = False
    handed_in: HandedIn | None = None  # of this submission: others with the same cells share the rest

    @property
    def points(self) -> int:
        return sum(outcome.points for outcome in self.outcomes)

    @property
    def max_points(self) -> int:
        return sum(outcome.max_points for outcome in self.outcomes)

    def of_each(self) -> dict[str, Grade]:
        """The grade of every exercise by itself, with an equal share of the time."""
        own = {remark for outcome in self.outcomes for remark in outcome.remarks}
        alone = replace(
            self,
            seconds=self.seconds / max(1, len(self.outcomes)),
            remarks=tuple(remark for remark in self.remarks if remark not in own),
        )
        return {outcome.exercise: replace(alone, outcomes=(outcome,)) for outcome in self.outcomes}

    def as_json(self) -> dict[str, Any]:
        outcomes = [outcome.as_json() for outcome in self.outcomes]
        return asdict(self) | {"outcomes": outcomes, "handed_in": self.handed_in and self.handed_in.as_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Grade:
        """The inverse of as_json. Raises KeyError or TypeError for what as_json did not make."""
        outcomes = tuple(Outcome.from_json(outcome) for outcome in data["outcomes"])
        handed_in = HandedIn.from_json(data.get("handed_in"))
        return cls(**(data | {"outcomes": outcomes, "remarks": tuple(data["remarks"]), "handed_in": handed_in}))


def joined(grades: Sequence[Grade]) -> Grade:
    """One grade of several exercises, of their grades."""
    outcomes = tuple(outcome for grade in grades for outcome in grade.outcomes)
    explained = environment.together(outcome.remarks for outcome in outcomes)
    remarks = dict.fromkeys((*explained, *(remark for grade in grades for remark in grade.remarks)))
    return replace(
        grades[0],
        outcomes=outcomes,
        seconds=sum(grade.seconds for grade in grades),
        remarks=tuple(remarks),
        lost=any(grade.lost for grade in grades),
    )
