"""A made-up class, what strangers may have written in every place, and pages as a browser reads them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

from tito.course.module import Exercise, Module
from tito.grading.about import About
from tito.grading.conditions import Conditions
from tito.grading.grade import Grade
from tito.grading.options import Options, Shard
from tito.grading.reports import writing
from tito.grading.similarity import Pair
from tito.testing.outcome import Finding, Outcome, Reason, outcome_of

ABOUT = About(Conditions("01_toy", Options(seed=7), {"tito": "77c1"}, {}, {}), Shard(), "")
UNSAFE = About(Conditions("01_toy", Options(seed=7, unsafe=True), {"tito": "77c1"}, {}, {}), Shard(), "")
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>{{ 7 * 7 }}{% raw %}",
    "=cmd|' /C calc'!A0",
    "+1", "-1", "@SUM(1)", "\t=1", "\r=1", " =1", "\uff1d1", "a;=1+1", "'=1", '"=1"',
    "../../x", "..", ".", "C:\\x", "a/b", "a:b", ".hidden", "x.", "x ",
    "CON", "con", "nul.txt", "COM1", "lpt9.x", "COM\N{SUPERSCRIPT ONE}",
    "x" * 300, "\N{CJK UNIFIED IDEOGRAPH-738B}" * 120, "a" + "\N{COMBINING ACUTE ACCENT}" * 200,
    "\N{SLIGHTLY SMILING FACE}", "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}",
    "exe\N{RIGHT-TO-LEFT OVERRIDE}gpj", "\x1b]0;owned\x07\x1b[31m", "nul\x00byte", "line\u2028two", "two\nlines",
    "\ud800", "jane", "JANE", "Jane", "stra\N{LATIN SMALL LETTER SHARP S}e", "strasse",
    "Am\N{LATIN SMALL LETTER E WITH ACUTE}lie", "Ame\N{COMBINING ACUTE ACCENT}lie", "\N{LATIN SMALL LIGATURE FI}n",
    "fin", "x-d6b96a97d147", "curiemarie_47110", "",
]  # fmt: skip


Story = str | tuple[str, ...]  # of an exercise: its status; with a claim, what came instead, and where
REASONS: dict[str, Reason] = {"passed": "passed", "failed": "claim", "timeout": "timeout", "not started": "unwritten"}


def outcome(exercise: Exercise, status: str, claim: str = "", detail: str = "", where: str = "") -> Outcome:
    return outcome_of(exercise, Finding(REASONS[status], claim, detail, where))


def grade(module: Module, name: str, *stories: Story, remarks: tuple[str, ...] = (), seconds: float = 1.0) -> Grade:
    """A story for each exercise: `passed`, or a status, a claim, what came instead, where."""
    told = [(story,) if isinstance(story, str) else story for story in stories]
    done = zip(module.exercises, [*told, *[("passed",)] * len(module.exercises)], strict=False)
    return Grade(name, tuple(outcome(e, *story) for e, story in done), "graded", seconds, remarks)


def refused(module: Module, name: str, why: str = "it is no archive") -> Grade:
    return Grade(
        name, tuple(outcome_of(e, Finding("refused", "", why)) for e in module.exercises), "refused", 0.0, (why,)
    )


def machinery(name: str) -> Grade:
    return Grade(name, (), "machinery", 0.0, ("the sandbox did not start",))


def slip(claim: str, told: str = "wanted 2, got 3") -> tuple[str, ...]:
    return ("failed", claim, told, "toy_dev.py:12: return x")


def hostile(module: Module) -> list[Grade]:
    """Every text that a stranger could have written is hostile, in every role."""
    made = []
    for place, text in enumerate(HOSTILE):
        told = ("failed", text, text) if place % 2 else ("failed", "", text * 3)
        made.append([grade(module, text, told, remarks=(text,)), refused(module, text, text)][place % 5 == 0])
    return made


def hostile_pairs() -> list[Pair]:
    names = sorted(set(HOSTILE))
    texts = [f"# {text}\nx = '{text}'\n" * 3 for text in names]
    couples = zip(names, names[1:], texts, texts[1:], strict=False)
    return [Pair(a, b, "double", 0.9, left, right, (((2, 9), (3, 12)),)) for a, b, left, right in couples]


def written(
    out: Path, module: Module, grades: Sequence[Grade], similar: Sequence[Pair] = (), about: About = ABOUT
) -> dict[str, bytes]:
    writing.write(out, module, grades, similar, about)
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def rows(data: bytes, encoding: str = "utf-8-sig") -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(encoding), newline="")))


def grades_of(files: dict[str, bytes]) -> dict[str, dict[str, str]]:
    """grades.csv: the row of each submission, by its name, as column -> cell."""
    head, *others = rows(files["grades.csv"])
    return {row[0]: dict(zip(head, row, strict=True)) for row in others}


class Page(HTMLParser):
    """A page as a browser reads it: its tags with their attributes, and its text."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags, self.text = list[tuple[str, dict[str, str | None]]](), ""
        self.feed(data.decode("utf-8"))
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data if self.tags and self.tags[-1][0] != "style" else ""

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag in names]

    @property
    def links(self) -> list[str]:
        """Where its links lead."""
        return [str(attrs["href"]) for attrs in self.all("a")]


def pages(files: dict[str, bytes]) -> dict[str, Page]:
    return {name: Page(data) for name, data in files.items() if name.endswith(".html")}
