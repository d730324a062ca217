"""When a submission was handed in, and who says so: a learning platform, or only the date of a file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Source = Literal["Gradescope", "nbgrader", "Canvas", "the file's date", "the instructor"]


@dataclass(frozen=True)
class HandedIn:
    """`when` has no time zone where its source has none, as in a zip; None: the source does not tell a time.

    The platforms say when they received a submission. A file's date is that of a student's clock, or of a download.
    """

    when: datetime | None
    source: Source
    late_mark: bool = False  # Canvas tells of a submission that it is late, and not when it came

    def as_json(self) -> dict[str, Any]:
        when = self.when.isoformat() if self.when else None
        return {"when": when, "source": self.source, "late_mark": self.late_mark}

    @classmethod
    def from_json(cls, data: dict[str, Any] | None) -> HandedIn | None:
        """The inverse of as_json; None where there was none."""
        if data is None:
            return None
        when = datetime.fromisoformat(data["when"]) if data["when"] else None
        return cls(when, data["source"], data["late_mark"])
