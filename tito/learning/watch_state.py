"""What `tito watch` knows and shows: the exercise one is at, how it stands, hints. Files and keys are told to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from tito import console
from tito.course import pairing
from tito.course.module import Exercise, Module
from tito.course.project import Project
from tito.errors import TitoError
from tito.learning import hints, progress
from tito.testing import runner
from tito.testing.exports import Exports
from tito.testing.outcome import Outcome, in_words

KEYS = "h hint   n next   l list   q quit"
BAR = 24  # characters


@dataclass(frozen=True)
class Round:
    """One export and test: how the exercise stands, or why it could not be tested."""

    exercise: Exercise
    outcome: Outcome | None
    problem: str
    seconds: float
    lacking: tuple[str, ...] = ()  # what it imports and will not find in grading, and what was overwritten
    digests: Mapping[str, str] = field(default_factory=dict)  # exercise -> a hash of its cells; none if not exported


def play(
    project: Project,
    module: Module,
    exercise: Exercise,
    limit: float = runner.LIMIT_SECONDS,
    cancel: threading.Event | None = None,
) -> Round:
    """Export the module and run one exercise's tests; the result is remembered. Raises Cancelled."""
    begun = time.monotonic()
    try:
        exports = Exports(project, module)
        outcome = next(runner.run(project, module, exports, [exercise], limit, cancel))
    except TitoError as error:
        return Round(exercise, None, str(error), time.monotonic() - begun)
    documents = [file.document for file in exports.files]
    digests = progress.digests(documents)
    progress.record(project, module, [outcome], digests)
    lacking = (*runner.lacking(project, module, documents, [exercise]), *pairing.tell(project))
    return Round(exercise, outcome, "", time.monotonic() - begun, lacking, digests)


@dataclass
class Watch:
    """The state between two events. `page` is all that is to be seen of it."""

    project: Project
    module: Module
    exercise: Exercise | None = None  # None: all are passed
    last: Round | None = None
    hints: list[str] = field(default_factory=list)
    done: str = ""  # what has just been passed
    lacking: tuple[str, ...] = ()  # what that will not find in grading
    listing: bool = False
    seen: Mapping[str, str] = field(default_factory=dict)  # the digests of the last round

    def __post_init__(self) -> None:
        self.exercise = progress.read(self.project).current(self.module)

    def begun(self) -> None:
        """A round begins: what the last one said is of a text that may have been changed."""
        self.last = None

    def finished(self, done: Round) -> bool:
        """Take in a round. True where one moved on: the new exercise is to be tested then."""
        if self.exercise is None or done.exercise.id != self.exercise.id:
            return self.exercise is not None
        if elsewhere := self._edited(done.digests):
            self._go_to(elsewhere)
            return True
        self.last, self.listing = done, False
        if done.outcome is None or done.outcome.status != "passed":
            return False
        earned = console.points(done.outcome.points, done.outcome.max_points)
        self.exercise = progress.read(self.project).current(self.module)
        sentences = [f"{done.exercise.id} passed: {earned}.", done.outcome.printed]
        self.hints, self.done, self.lacking = [], "\n".join(filter(None, sentences)), done.lacking
        return self.exercise is not None

    def key(self, key: str) -> bool:
        """What a key does. True where another exercise is to be tested then."""
        self.listing = key == "l" and not self.listing
        if key == "h" and self.exercise:
            self.hints = hints.ask(self.project, self.module, self.exercise)
        if key == "n" and self.exercise:
            self._go_to(self._next(self.exercise))
            self.seen = {}  # what was edited before the key was pressed does not lead back
            return True
        return False

    def _go_to(self, chosen: Exercise) -> None:
        """Be at this exercise, of which nothing is known yet."""
        self.exercise, self.last, self.hints, self.done, self.lacking = chosen, None, [], "", ()
        progress.update(self.project, lambda kept: kept.at.update({self.module.name: chosen.id}))

    def _edited(self, now: Mapping[str, str]) -> Exercise | None:
        """Another exercise than this one, where its cells were edited since the last round and those here were not."""
        before, self.seen = self.seen, now or self.seen
        edited = [e for e in self.module.exercises if before and now and before.get(e.id) != now.get(e.id)]
        return edited[0] if edited and self.exercise not in edited else None

    def _next(self, here: Exercise) -> Exercise:
        """The following exercise that is not passed, the first after the last; this one where there is no other."""
        kept, all_of_them = progress.read(self.project), self.module.exercises
        index = all_of_them.index(here)
        waiting = (*all_of_them[index + 1 :], *all_of_them[: index + 1])
        return next((e for e in waiting if kept.get(self.module.name, e.id).status != "passed"), here)

    def page(self) -> list[tuple[str, str]]:
        """Everything to show, as (text, colour)."""
        lines = [(self._progress(), ""), ("", "")]
        if self.listing:
            return [*lines, *self._list(), ("", ""), (KEYS, "")]
        lines += [(self.done, "green"), ("", "")] if self.done else []
        lines += [*((sentence, "yellow") for sentence in self.lacking), ("", "")] if self.lacking else []
        if self.exercise is None:
            end = f"All exercises passed. Check all at once with `tito test {self.module.name}`, then `tito submit`."
            return [*lines, (end, "green"), ("", ""), (KEYS, "")]
        split = ", ".join(f"{part.name} {part.points}" for part in self.exercise.parts)
        worth = f"{self.exercise.points}: {split}" if split else f"{self.exercise.points}"
        title = f"{self.exercise.id}: {self.exercise.title} (for {worth})"
        lines += [(title, "bold"), *self._result(), ("", "")]
        lines += [*((hint, "cyan") for hint in self.hints), ("", "")] if self.hints else []
        return [*lines, (KEYS, "")]

    def _progress(self) -> str:
        kept = progress.read(self.project)
        entries = [kept.get(self.module.name, exercise.id) for exercise in self.module.exercises]
        earned, passed = sum(entry.points for entry in entries), sum(entry.status == "passed" for entry in entries)
        filled = BAR * earned // self.module.points
        bar = "#" * filled + "." * (BAR - filled)
        points = console.points(earned, self.module.points)
        return f"{self.module.name}  [{bar}]  {points}, {passed} of {len(entries)} exercises"

    def _result(self) -> list[tuple[str, str]]:
        if self.last is None or self.exercise is None or self.last.exercise.id != self.exercise.id:
            return [("testing ...", "")]
        if self.last.outcome is None:
            return [("not exported", "red"), (self.last.problem, "")]
        outcome, seconds = self.last.outcome, f"  (in {self.last.seconds:.1f} s)"
        lacking = [(sentence, "yellow") for sentence in self.last.lacking]
        printed = [("", ""), (outcome.printed, "")] if outcome.printed else []
        stands = in_words(outcome.status, outcome.parts) + seconds
        return [(stands, console.COLOURS[outcome.status]), (outcome.message, ""), *lacking, *printed]

    def _list(self) -> list[tuple[str, str]]:
        kept = progress.read(self.project)
        rows = [(exercise, kept.get(self.module.name, exercise.id)) for exercise in self.module.exercises]
        width = max(len(exercise.id) for exercise, _ in rows)
        here = self.exercise.id if self.exercise else ""
        return [
            (
                f"{'>' if exercise.id == here else ' '} {exercise.id:{width}}  "
                f"{console.points(entry.points, exercise.points):>16}  "
                f"{in_words(entry.status, kept.parts(self.module.name, exercise))}",
                console.COLOURS.get(entry.status, ""),
            )
            for exercise, entry in rows
        ]
