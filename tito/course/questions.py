"""Questions that are answered in words: text cells with a line `<!-- question: ID -->`, which Jupyter does not show.

An answer is what a student wrote in the question's cell or in text cells below it, without what was given there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tito.course import markers
from tito.course.notebook import Cell

LINE = re.compile(r"<!--[ \t]*question[ \t]*:[ \t]*([a-z][a-z0-9_]{0,99})[ \t]*-->")
NUMBER = re.compile(r"^\d+\. ")
LONGEST_ANSWER = 10_000  # characters
PLACEHOLDERS = (markers.ANSWER, "YOUR ANSWER HERE")  # ours, and nbgrader's where it is not told another


@dataclass(frozen=True)
class Answers:
    """What was found in one notebook: of each question whose place was found the answer, and what was odd."""

    texts: dict[str, str] = field(default_factory=dict)  # empty where nothing was written
    remarks: tuple[str, ...] = ()


class Asked:
    """The questions of a notebook as they were given, by which the answers in a student's copy are found."""

    def __init__(self, given: Sequence[Cell]) -> None:
        self._lines = dict[str, list[str]]()  # question -> the lines of its cell
        self._others = set[str]()  # the cells that hold no question
        self._below = dict[str, str]()  # a question, or such a cell -> the question that stands directly below it
        above = ""
        for cell in given:
            for question, text in pieces(cell.source):
                if question:
                    self._lines[question] = [line for line in text.split("\n") if _squeezed(line)]
                    self._below[above] = question
                elif _squeezed(text):
                    self._others.add(_squeezed(text))
                above = question or _squeezed(text) or above

    @property
    def ids(self) -> list[str]:
        return list(self._lines)

    def text(self, question: str) -> str:
        """What is asked, in one line and without the marks of bold type and of a numbered list."""
        lines = (line for line in self._lines[question] if line.strip() not in PLACEHOLDERS)
        return NUMBER.sub("", _squeezed(" ".join(lines)).replace("**", ""))

    def answers(self, cells: Sequence[Cell], grade_ids: Mapping[int, str]) -> Answers:
        """What a student's copy holds. grade_ids: nbgrader's names of cells, by their numbers.

        A cell that lost its line is known by nbgrader's name, by the question's own words, or else by its place: below
        what stands above the question in the notebook as it was given.
        """
        split = [(cell, question, text) for cell in cells for question, text in pieces(cell.source)]
        missing = self._lines.keys() - {question for _, question, _ in split}
        found, remarks, here, awaited = dict[str, list[str]](), list[str](), "", ""
        for cell, named, text in split:
            if named not in self._lines:
                if _squeezed(text) in self._others or cell.exercise:
                    here, awaited = "", self._below.get(_squeezed(text), "")
                if _squeezed(text) in self._others or not _squeezed(text) or cell.kind == "code":
                    continue
                lost = self._lost(text, grade_ids.get(cell.number, ""), awaited)
                if lost in missing and lost not in found:
                    named = lost
                    line = f"`<!-- question: {lost} -->`"
                    remarks.append(f"{lost}: cell {cell.number} lost its line {line}, and was taken nevertheless")
            if named in self._lines:
                here, awaited = named, self._below.get(named, "")
            if here:
                found.setdefault(here, []).append(text)
        return Answers({question: self._own(question, texts) for question, texts in found.items()}, tuple(remarks))

    def _lost(self, text: str, grade_id: str, awaited: str) -> str:
        """The question to which a cell without a line belongs, or nothing."""
        squeezed = _squeezed(text).replace("**", "")
        words = {question: self.text(question) for question in self._lines}
        by_words = (question for question, asked in words.items() if asked and asked in squeezed)
        return next((q for q in self._lines if grade_id.startswith(f"{q}-")), "") or next(by_words, awaited)

    def _own(self, question: str, texts: Sequence[str]) -> str:
        """The lines of a question's cells that were not given there."""
        given, kept = Counter(map(_squeezed, self._lines[question])), list[str]()
        for line in "\n\n".join(texts).split("\n"):
            bare = line.strip()
            if given[_squeezed(line)] > 0:
                given[_squeezed(line)] -= 1
            elif bare not in PLACEHOLDERS and not markers.marker(bare):
                kept.append(line.rstrip().removeprefix(markers.ANSWER))
        text = "\n".join(kept).strip("\n")
        return text if any(letter.isprintable() and not letter.isspace() for letter in text) else ""


def pieces(source: str) -> Iterator[tuple[str, str]]:
    """A cell's text, parted where a question begins: the question, or nothing above the first, and the text.

    >>> list(pieces("Above.\\n<!-- question: why -->\\nWhy?"))
    [('', 'Above.\\n'), ('why', '\\nWhy?')]
    """
    above, *rest = LINE.split(source)
    if above.strip() or not rest:
        yield "", above
    yield from zip(rest[::2], rest[1::2], strict=True)


def _squeezed(text: str) -> str:
    return " ".join(text.split())
