"""What the grader says about one submission, and what it raises when the fault is its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from tito.testing.outcome import Outcome

GradeStatus = Literal["graded", "refused", "machinery"]


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
    lost: bool = (
        False  # a sandbox or the tests' process ended unasked: by the student's code, or by who kills from outside
    )

    @property
    def points(self) -> int:
        return sum(outcome.points for outcome in self.outcomes)

    @property
    def max_points(self) -> int:
        return sum(outcome.max_points for outcome in self.outcomes)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"outcomes": [outcome.as_json() for outcome in self.outcomes]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Grade:
        """The inverse of as_json. Raises KeyError or TypeError for what as_json did not make."""
        outcomes = tuple(Outcome.from_json(outcome) for outcome in data["outcomes"])
        return cls(**(data | {"outcomes": outcomes, "remarks": tuple(data["remarks"])}))
