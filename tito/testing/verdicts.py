"""From what was seen of an exercise's tests to its outcome, every place mapped back to the notebook."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from tito.course import percent
from tito.course.module import Exercise, Module
from tito.course.project import Project
from tito.testing import explained
from tito.testing.explained import AboutName
from tito.testing.outcome import HIDDEN, Finding, Outcome, claim_of, is_hidden, outcome_of
from tito.testing.protocol import Failure, Step
from tito.testing.record import Record

NOTHING = re.compile(r"'NoneType' object|unsupported operand type.*'NoneType'|cannot unpack non-iterable NoneType")
LONGEST_MESSAGE = 20  # lines
LEFT_OVER = "there is code above this line, which still ends the function: remove it"


class Located(NamedTuple):
    """A line of the notebook, as a person finds it."""

    where: str
    exercise: str | None  # whose cell it is
    text: str
    left_over: bool = False  # the line of a stub, in a function that is written

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


Locate = Callable[[str, int], Located | None]  # (file, line) of a step of an exception -> where that is


@dataclass(frozen=True)
class Verdicts:
    """discreet: of a hidden test nothing is told but its claim. about_name: what to say of a name that is missing."""

    project: Project
    module: Module
    locate: Locate
    discreet: bool = False
    about_name: AboutName = lambda name: ""

    def outcome(self, exercise: Exercise, record: Record) -> Outcome:
        parts = [record.of_part(part.name) for part in exercise.parts] or [record]
        outcome = outcome_of(exercise, *(self._finding(exercise, seen) for seen in parts))
        return replace(outcome, printed=str(record.printed))

    def unloaded(self, failure: Failure) -> Finding:
        """That a cell cannot be loaded, and why."""
        located = self._located(failure.frames)
        command = percent.why_no_python(located[-1].text) if located and failure.type == "SyntaxError" else ""
        detail = command or explained.instead(failure, self.about_name) or f"{failure.type}: {failure.text}"
        return Finding("not loaded", "", detail, str(located[-1]) if located else "")

    def _finding(self, exercise: Exercise, record: Record) -> Finding:
        if record.ended is None:
            return self._seen(exercise, record)
        located = self._located(record.stuck)
        at = str(located[-1]) if located and record.ended.reason == "timeout" else record.ended.where
        return replace(record.ended, where=at)

    def _seen(self, exercise: Exercise, record: Record) -> Finding:
        record = self._without_words(record) if self.discreet else record
        swallowed = [failure for _, failure in record.stubs if self._named(failure)]
        seen = [failure for _, failure in record.failures] + swallowed
        stubs = {self._stub_of(failure): failure for failure in reversed(seen)}
        others = [other.id for other in self.module.exercises if other.id in stubs]
        real = [(test, failure) for test, failure in record.failures if self._stub_of(failure) is None]
        if record.unloaded:
            return self.unloaded(record.unloaded)
        if exercise.id in stubs:
            return Finding("unwritten", "", self._unwritten(stubs[exercise.id]))
        if real:
            return self._failed(*real[0])
        if others:
            return Finding("blocked", "", f"needs {others[0]} first")
        if record.skipped:
            skipped = "was skipped or expected to fail, so the exercise cannot pass"
            return Finding("skipped", claim_of(record.skipped[0]), skipped)
        if not record.tests:
            shown = self.project.shown(record.files[0])
            return Finding("no tests", "", f"{shown} holds no test, so the exercise cannot pass")
        return Finding("passed")

    def _without_words(self, record: Record) -> Record:
        """The same, but of what the code said while hidden tests ran only which exercise it called unwritten."""

        def silent(test: str, failure: Failure) -> tuple[str, Failure]:
            named = self._stub_of(failure)
            text = f"exercise {named}" if named else ""
            return test, Failure(failure.type if named else "", text) if is_hidden(test) else failure

        failures, stubs = ([silent(*seen) for seen in some] for some in (record.failures, record.stubs))
        return replace(record, failures=failures, stubs=stubs)

    def _stub_of(self, failure: Failure) -> str | None:
        """The exercise whose unwritten solution raised this, if that is what it is."""
        if failure.type != "NotImplementedError":
            return None
        located = self._located(failure.frames)
        return self._named(failure) or (located[-1].exercise if located else None)

    def _named(self, failure: Failure) -> str | None:
        """The exercise that the message of a stub names."""
        named = re.match(r"exercise (\w+)", failure.text)
        return next((exercise.id for exercise in self.module.exercises if named and exercise.id == named[1]), None)

    def _located(self, frames: tuple[Step, ...]) -> list[Located]:
        """The steps of an exception that lie in the module's notebooks, outermost first."""
        steps = [self.locate(file, line) for file, line in frames]
        return [step for step in steps if step]

    def _unwritten(self, failure: Failure) -> str:
        located = self._located(failure.frames)
        if located and located[-1].left_over:
            return f"{LEFT_OVER}\n{located[-1]}"
        place = f"at {located[-1].where}" if located else "in its cell of the notebook"
        return f"not started yet: write your code {place}"

    def _failed(self, test: str, failure: Failure) -> Finding:
        """The claim that does not hold, the message, and for an exception the student's own line."""
        if self.discreet and is_hidden(test):
            return Finding("hidden claim", claim_of(test), HIDDEN)
        located = self._located(failure.frames)
        in_words = bool(failure.text) and failure.type in ("AssertionError", "Failed")  # words meant for people
        text = "\n".join(failure.text.splitlines()[:LONGEST_MESSAGE])
        instead = explained.instead(failure, self.about_name)
        detail = instead or (text if in_words else f"{failure.type}: {text}")
        if not located and NOTHING.match(text):
            detail += "\nis a `return` missing? What your function gave back is None"
        where = ""
        if located:  # the innermost line that the student wrote; below it is code that was given
            where = str(next((step for step in reversed(located) if step.exercise), located[-1]))
        elif not in_words:
            where = f"{test.partition('::')[0]}:{failure.test_line or 1}"
        return Finding("claim" if in_words else "exception", claim_of(test), detail, where)
