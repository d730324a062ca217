"""Answers without their authors, what graders gave them, and what each author earns for it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from tito.course.module import Module
from tito.grading.reports.adjustments import Additions, Adjustment
from tito.grading.reports.marking import rubric, scores
from tito.grading.reports.marking.agreement import Agreement, kappa
from tito.grading.reports.marking.rubric import Item, Rubric
from tito.grading.reports.marking.scores import FOLDER, Score
from tito.grading.reports.tables import number

LETTERS = "bcdfghjkmnpqrtvw"  # no spreadsheet takes a word of these for a number
State = Literal["not answered", "not marked yet", "not agreed yet", "marked"]
Answers = Mapping[str, Mapping[str, str]]  # submission -> question -> what was answered
NO_ANSWERS: Answers = MappingProxyType({})


def blind(question: str, text: str) -> str:
    """By which an answer is known: from its words alone, so that it tells nothing of who wrote it.

    The same words have the same name, and are marked once; words that changed have another, and are marked again.
    """
    digest = hashlib.sha256(f"{question}\n{text}".encode("utf-8", "replace")).digest()[:5]
    return "".join(LETTERS[byte >> 4] + LETTERS[byte & 15] for byte in digest)


@dataclass(frozen=True)
class Mark:
    """How one answer of one submission stands."""

    rubric: Rubric
    answer: str  # by which the pages know it; empty where nothing was answered
    text: str
    state: State
    items: tuple[Item, ...] = ()
    comments: tuple[str, ...] = ()

    @property
    def points(self) -> Decimal:
        return self.rubric.earned(item.name for item in self.items)

    @property
    def reason(self) -> str:
        """For the student and the gradebooks: what was earned, of how much, and for what."""
        found = ", ".join(item.text for item in self.items)
        title, earned = self.rubric.question.title, f"{number(self.points)} of {self.rubric.points}"
        return f"{title}: {earned}{': ' if found else ''}{found}"


@dataclass(frozen=True)
class Marking:
    """Everything that is known of a batch's answers in words."""

    rubrics: Mapping[str, Rubric] = field(default_factory=dict)
    answers: Answers = field(default_factory=dict)
    scores: tuple[Score, ...] = ()

    def texts(self, question: str) -> dict[str, tuple[str, int]]:
        """The different answers to a question by their names: the text, and how many handed it in."""
        given = [found[question] for found in self.answers.values() if question in found]
        return {blind(question, text): (text, count) for text, count in Counter(given).items()}

    def of(self, submission: str) -> list[Mark]:
        """A mark for each question; none for a submission whose answers are not told."""
        given = self.answers.get(submission)
        if given is None:
            return []
        return [self._mark(rubric, given.get(question, "")) for question, rubric in self.rubrics.items()]

    def _mark(self, rubric: Rubric, text: str) -> Mark:
        if not text:
            return Mark(rubric, "", "", "not answered")
        answer = blind(rubric.question.id, text)
        found = sorted(self._scores[rubric.question.id, answer], key=lambda score: score.grader)
        given = [score for score in found if score.items is not None]
        found = given[:1] if given and not given[0].grader else found  # what was agreed on decides
        comments = tuple(dict.fromkeys(score.comment for score in found if score.comment))
        if not given:
            return Mark(rubric, answer, text, "not marked yet", (), comments)
        if given[0].grader and self._differ(rubric, given):
            return Mark(rubric, answer, text, "not agreed yet")
        return Mark(rubric, answer, text, "marked", tuple(rubric.chosen(given[0].items or ())), comments)

    @cached_property
    def _scores(self) -> dict[tuple[str, str], list[Score]]:
        found = defaultdict[tuple[str, str], list[Score]](list)
        for score in self.scores:
            found[score.question, score.answer].append(score)
        return found

    def disagreements(self, question: str) -> dict[str, list[Score]]:
        """The answers on which the graders differ and have not agreed yet, with what each gave."""
        rubric, known = self.rubrics[question], self.texts(question)
        found = {answer: self._scores[question, answer] for answer in known}
        given = {answer: [s for s in all if s.items is not None] for answer, all in found.items()}
        return {
            answer: own
            for answer, own in sorted(given.items())
            if all(score.grader for score in own) and self._differ(rubric, own)
        }

    def agreements(self, question: str) -> list[Agreement]:
        """Each pair of graders on the answers that both have marked."""
        rubric, given = self.rubrics[question], defaultdict[str, dict[str, Decimal]](dict)
        known = self.texts(question)
        for score in self.scores:
            if score.question == question and score.grader and score.items is not None and score.answer in known:
                given[score.grader][score.answer] = rubric.earned(score.items)
        made = list[Agreement]()
        for one, other in combinations(sorted(given), 2):
            both = sorted(given[one].keys() & given[other].keys())
            pairs = [(given[one][answer], given[other][answer]) for answer in both]
            if pairs:
                made.append(Agreement(one, other, len(pairs), sum(a == b for a, b in pairs), kappa(pairs)))
        return made

    @staticmethod
    def _differ(rubric: Rubric, given: Iterable[Score]) -> bool:
        return len({rubric.earned(score.items or ()) for score in given}) > 1

    @property
    def additions(self) -> Additions:
        """The points of what is marked, and what the instructor should know."""
        made = [
            Adjustment(name, mark.rubric.question.id, mark.points, mark.reason)
            for name in sorted(self.answers)
            for mark in self.of(name)
            if mark.state == "marked" and mark.rubric.points
        ]
        return Additions(tuple(made), tuple(self._warnings()))

    def _warnings(self) -> list[str]:
        known = {(question, answer) for question in self.rubrics for answer in self.texts(question)}
        old = [score.answer for score in self.scores if (score.question, score.answer) not in known]
        left = sum(len(self.disagreements(question)) for question in self.rubrics)
        told = list[str]()
        if old:
            count = "1 score is" if len(old) == 1 else f"{len(old)} scores are"
            told.append(f"{FOLDER}: {count} of answers that nobody hands in now, {old[0]} the first")
        if left:
            count = "1 answer, which earns" if left == 1 else f"{left} answers, which earn"
            told.append(f"{FOLDER}: graders differ on {count} nothing yet; see questions/index.html")
        return told


def read(out: Path, module: Module, answers: Answers) -> Marking:
    """What lies in `out`. Raises TitoError naming the file and its wrong line."""
    rubrics = rubric.read(out, module)
    return Marking(rubrics, answers, tuple(scores.read(out, rubrics)) if rubrics else ())
