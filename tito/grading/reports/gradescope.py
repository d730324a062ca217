"""How an exercise stands in Gradescope's words."""

from __future__ import annotations

from typing import Any

from tito.testing.outcome import HIDDEN, Outcome, PartOutcome, in_words

HIDDEN_FAILED = "The tests that you have pass, but a hidden one does not: which inputs did you not think of?"


def entry(number: int, outcome: Outcome) -> dict[str, Any]:
    """An exercise as a test of Gradescope's. What a hidden test asks, and what came, is not told."""
    text = _told(outcome)
    if outcome.told_by_part:
        text = "\n".join(f"{part.name}: {_told(part)}" for part in outcome.parts if part.message)
    if outcome.parts and outcome.status != "passed":
        text = f"{in_words(outcome.status, outcome.parts)}\n{text}"
    return {
        "number": str(number),
        "name": f"{outcome.exercise}: {outcome.title}",
        "score": outcome.points,
        "max_score": outcome.max_points,
        "status": "passed" if outcome.status == "passed" else "failed",
        "output": text or "passed",
        "output_format": "text",
        "visibility": "visible",
    }


def _told(found: Outcome | PartOutcome) -> str:
    """Why an exercise, or a part of it, does not pass; of a hidden test not even the claim."""
    return HIDDEN_FAILED if found.body == HIDDEN else found.message
