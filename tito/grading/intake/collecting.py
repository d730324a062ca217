"""Submissions as people get them -> Submission: exercises' cells and answers as text. Nothing of a student's is run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from tito.course import markers
from tito.course.edition import Edition
from tito.course.module import Notebook
from tito.course.notebook import Cell, Document
from tito.course.questions import LONGEST_ANSWER, Asked
from tito.errors import TitoError, WrongCall
from tito.grading.handed_in import HandedIn
from tito.grading.intake import collapsing, reading, stopwatch, times, unpacking
from tito.grading.intake.aligning import Aligner, Slot
from tito.grading.intake.arrival import Arrival
from tito.grading.intake.arrivals import arrivals
from tito.grading.intake.choosing import Cells, Sheet, best
from tito.grading.intake.outside import ungraded
from tito.grading.intake.reading import Page
from tito.grading.intake.tops import Files
from tito.grading.intake.unpacking import NOTEBOOKS, Budget, Entry, Refused
from tito.grading.options import Several
from tito.grading.roster import NOBODY, Roster
from tito.grading.submission import Submission
from tito.testing import environment

MOST_REMARKS = 20
MOST_PAGES = 400  # .py and .ipynb that are read of one submission
MOST_CODE = 2_000_000  # characters of code in them
MOST_WORDS = 4_000_000  # characters of text in them
LEAST_CELL = 100  # characters that a cell counts for, be it empty
LONGEST_SUBMISSION = 1_000_000  # characters of all exercises' cells
CLAIM = "the archive names its author: "


def collect(
    edition: Edition,
    path: Path,
    roster: Roster = NOBODY,
    several: Several = "best",
) -> list[Submission]:
    """All submissions in a folder, or in one file, sorted by name.

    several: which counts of what one student handed in several times. Raises TitoError where `path` itself is wrong,
    and where what lies there is no class with a folder, or a file, for each student.
    """
    try:
        path = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a link that leads to itself
        raise WrongCall(f"{path} cannot be found: name a folder of submissions, or one submission") from None
    if not path.is_dir() and path.suffix.lower() not in (*NOTEBOOKS, ".zip"):
        raise WrongCall(f"{path} is neither a folder nor a .zip, .ipynb or .py: name what was handed in")
    given = _given(edition)
    with ExitStack() as stack:
        try:
            found = arrivals(edition.module, path, stack, roster)
        except OSError as error:
            raise TitoError(f"{path} cannot be read ({error.strerror})") from None
        read = [one for arrival in found if (one := _submission(edition, given, arrival, several))]
    _check_is_class(path, [one for one in read if one.submission.cells], roster)
    if not read:
        raise TitoError(f"{path} holds no submission: wanted folders, .zip, .ipynb or .py files of students")
    everybody = (one.submission for one in read)
    known = (replace(one, person=roster.person(one.name, one.person)) for one in everybody)
    return sorted(known, key=lambda submission: submission.name)


def _check_is_class(path: Path, read: Sequence[_Read], roster: Roster) -> None:
    """Refuse to grade several people's work as one submission, where that seems to be so of most submissions.

    Of a few it may be a student's own way to keep his files, and no student can stop the others' being graded by it.
    """
    crowds = [
        one for one in read if len(one.owners) > 1 and not roster.find(one.submission.name, one.submission.person)
    ]
    if len(crowds) * 2 > len(read):
        name, whose = crowds[0].submission.name, collapsing.sentence(crowds[0].owners)
        raise WrongCall(
            f"{path} would be graded as {len(read)} submission{'s' if len(read) > 1 else ''}, but {name} holds files "
            f"of {whose}: name the folder in which each student has a folder or a file; if {name} is one person, list "
            "this name in roster.csv"
        )


def one(edition: Edition, name: str, files: Files) -> Submission:
    """What one person handed in, whatever lies there. Nothing is raised: what cannot be read is refused."""
    read = _submission(edition, _given(edition), Arrival(name, [files]))
    return read.submission if read else Submission(name, {})


def elsewhere(edition: Edition, chosen: Submission, entries: Sequence[Entry]) -> Iterator[str]:
    """A sentence for each of these files in which exercises are written, and not as in what was chosen."""
    with ExitStack() as stack, suppress(Refused):
        reader = _Reader(edition, _given(edition), Budget(stack), [])
        for sheet in reader.sheets(entries):
            written = {key: cells for key, cells in reader.written(sheet).items() if cells != chosen.cells.get(key)}
            if written:
                yield f"{sheet.entry.called} is not handed in, and holds other work on {', '.join(written)}"


def given_cells(edition: Edition) -> dict[str, tuple[str, ...]]:
    """Of every exercise the cells of the student's edition, as a Submission holds them."""
    return {
        exercise.id: tuple(slot.source for slot in given.slots[exercise.id])
        for entry, given in _given(edition).items()
        for exercise in entry.exercises
    }


def questions(edition: Edition) -> dict[str, str]:
    """What each question asks, in the module's order."""
    given = _given(edition)
    return {item.id: given[entry].asked.text(item.id) for entry in edition.module.notebooks for item in entry.questions}


def answers(edition: Edition, documents: Iterable[Document]) -> dict[str, str]:
    """The answers in a module's notebooks, which a student has before him; empty where nothing is written yet."""
    found = dict[str, str]()
    for given, document in zip(_given(edition).values(), documents, strict=True):
        found |= given.asked.answers(document.cells, {}).texts
    return {question.id: found.get(question.id, "") for question in edition.module.questions}


@dataclass(frozen=True)
class _Given:
    """A notebook of the student's edition."""

    page: Page

    @property
    def cells(self) -> tuple[Cell, ...]:
        return self.page.cells

    @cached_property
    def asked(self) -> Asked:
        return Asked(self.page.in_order)

    @cached_property
    def slots(self) -> dict[str, list[Slot]]:
        found = dict[str, list[Slot]]()
        for cell in self.cells:
            if cell.exercise is not None:
                found.setdefault(cell.exercise, []).append(Slot(cell.code))
        return found


def _given(edition: Edition) -> dict[Notebook, _Given]:
    """Read by the same reader as what is handed in, for the two are compared."""
    pages = ((entry, entry.path.name, text.encode()) for entry, text in edition.texts.items())
    return {entry: _Given(reading.page(bytearray(data), name)) for entry, name, data in pages}


@dataclass(frozen=True)
class _Read:
    """owners: of whom the files seem to be; empty where all are surely one student's."""

    submission: Submission
    owners: Sequence[collapsing.Owner] = ()


def _submission(
    edition: Edition, given: Mapping[Notebook, _Given], arrival: Arrival, several: Several = "best"
) -> _Read | None:
    """Everything that can go wrong with one submission ends here, in a sentence: the others go on."""
    remarks, handed_in, words = list(arrival.remarks), arrival.handed_in, dict[str, str]()
    owners: Sequence[collapsing.Owner] = ()
    try:
        with ExitStack() as stack, stopwatch.limited():
            reader = _Reader(edition, given, Budget(stack), remarks, several)
            cells = reader.cells(arrival)
            owners = () if arrival.surely_one else reader.owners()
            handed_in, words = handed_in or reader.handed_in, reader.answers
            why = "" if cells else reader.nothing()
    except Refused as refusal:
        cells, why = {}, str(refusal)
    except stopwatch.TooLong:
        cells, why = {}, f"to read it took more than {stopwatch.SECONDS:g} s: hand in the notebooks only"
    except Exception as error:  # a way in that nobody thought of: it costs this submission, and no other
        cells, why = {}, f"what was handed in cannot be read ({type(error).__name__})"
    if why and arrival.aside:
        return None
    remarks = list(dict.fromkeys(remarks))
    more = len(remarks) - MOST_REMARKS
    shown = (*remarks[:MOST_REMARKS], *([f"and {more} more remarks"] if more > 0 else []))
    return _Read(Submission(arrival.name, cells, shown, why, arrival.person, handed_in, words), owners)


def _is_of(sheet: Sheet, notebook: Notebook) -> bool:
    """Does a file of another name hold exercises of this notebook, by their lines? A library may define their names."""
    exercises = [exercise.id for exercise in notebook.exercises]
    return any(cell.exercise in exercises for cell in sheet.page.cells)


class _Reader:
    """Finds the exercises in what one student handed in."""

    def __init__(
        self,
        edition: Edition,
        given: Mapping[Notebook, _Given],
        budget: Budget,
        remarks: list[str],
        several: Several = "best",
    ) -> None:
        self._edition, self._given, self._budget, self._remarks = edition, given, budget, remarks
        self._several = several
        self._sheets = list[Sheet]()
        self._module = edition.module
        self._exercises = frozenset(exercise.id for exercise in self._module.exercises)
        self._problems, self._seen, self._pages_left = list[str](), list[str](), MOST_PAGES
        self._code_left, self._words_left = MOST_CODE, MOST_WORDS
        self.answers = dict[str, str]()  # to the questions, once the cells were asked for
        self._fits = dict[tuple[Path, int], tuple[Cells, list[str]]]()
        self.handed_in: HandedIn | None = None

    def cells(self, arrival: Arrival) -> dict[str, tuple[str, ...]]:
        inside = (entry for files in arrival.files for entry in unpacking.flat(files(), self._budget))
        entries = unpacking.told_apart(inside)
        self._problems += [entry.problem for entry in entries if entry.problem]
        self._claim(entries)
        before = len(self._remarks)
        found, missing, graded = dict[str, tuple[str, ...]](), list[str](), list[Entry]()
        for notebook, sheet in self._chosen(entries):
            found |= self._exercises_of(notebook, sheet) if sheet else {}
            graded += [sheet.entry] if sheet else []
            missing += [] if sheet else [notebook.path.stem]
        absent = [f"nothing of {stem} (.ipynb or .py) can be graded: its exercises earn no points" for stem in missing]
        first = [*(absent if found else []), *self._problems]  # of many remarks the last are left out
        self._remarks[before:before] = first
        stamped = times.of_nbgrader(entries, graded, self._budget) if arrival.nbgrader else None
        self.handed_in = stamped or times.of_files(graded)
        if sum(len(source) for sources in found.values() for source in sources) > LONGEST_SUBMISSION:
            raise Refused(f"the exercises' cells hold more than {LONGEST_SUBMISSION} characters")
        return found

    def nothing(self) -> str:
        """Why no exercise was found."""
        if self._problems:
            self._remarks[:] = [remark for remark in self._remarks if remark != self._problems[0]]
            return self._problems[0]
        wanted = " or ".join(entry.path.stem for entry in self._module.notebooks)
        if not self._seen:
            return f"no notebook was handed in: wanted {wanted}, as .ipynb or .py"
        return f"no exercise of {self._module.name} was found in {', '.join(self._seen[:3])}: wanted {wanted}"

    def _claim(self, entries: list[Entry]) -> None:
        """An archive of `tito submit` says whose it is. That may be shown, and is believed by nobody."""
        for entry in entries:
            if entry.name == "manifest.json" and not entry.problem:
                try:
                    data = unpacking.read(entry, self._budget)[:100_000]
                except Refused as refusal:
                    self._problems.append(str(refusal))
                    continue
                match = re.search(r'"student": "((?:[^"\\]|\\.){1,200})"', data.decode("utf-8", "replace"))
                if match:
                    self._remarks.append(f"{CLAIM}{unpacking.shown(match[1])} (not checked)")

    def _chosen(self, entries: list[Entry]) -> Iterator[tuple[Notebook, Sheet | None]]:
        """Of every notebook the file that is graded: one of its name, else one with its exercises."""
        files = [entry for entry in entries if entry.suffix in NOTEBOOKS and not entry.problem]
        stems = {notebook.path.stem.lower(): notebook for notebook in self._module.notebooks}
        named: dict[Notebook | None, list[Entry]] = {None: [], **{notebook: [] for notebook in self._given}}
        for entry in files:
            stem = max((stem for stem in stems if stem in entry.name.lower()), key=len, default="")
            named[stems.get(stem)].append(entry)
        own = {notebook: self.sheets(named[notebook]) for notebook in self._given}
        others = [sheet for found in own.values() for sheet in found]
        begun = {notebook for notebook, found in own.items() if any(self._work(notebook, sheet) for sheet in found)}
        others += self.sheets(named[None]) if len(begun) < len(own) else []
        for notebook, sheets in own.items():
            found = [sheet for sheet in sheets if self._holds(sheet, notebook)]
            if notebook not in begun:
                found += [sheet for sheet in others if sheet not in sheets and _is_of(sheet, notebook)]
            chosen = self._best(notebook, found) if found else None
            self._answer(notebook, [*([chosen] if chosen else []), *sheets, *found])
            yield notebook, chosen

    def sheets(self, files: Iterable[Entry]) -> list[Sheet]:
        """The files that can be read, up to as many as a person could have written; the newest first."""
        found = list[Sheet]()
        for entry in sorted(files, key=lambda entry: entry.when, reverse=True):
            try:
                page = reading.page(unpacking.read(entry, self._budget), entry.called)
            except Refused as refusal:
                self._problems.append(str(refusal))
                continue
            self._pages_left -= 1
            self._code_left -= sum(max(LEAST_CELL, len(cell.source)) for cell in page.cells)
            if self._pages_left < 0 or self._code_left < 0:
                self._problems.append(f"{entry.called} was not read: far more code was handed in than the module has")
                break
            self._words_left -= sum(len(cell.source) for cell in page.texts)
            if self._words_left < 0:
                page = replace(page, texts=())
                self._problems.append(
                    f"the texts of {entry.called} were not read: far more text was handed in than fits"
                )
            self._seen.append(entry.called)
            found.append(Sheet(entry, page, Aligner(page.cells, page.grade_ids, self._exercises)))
        self._sheets += found
        return found

    def owners(self) -> Sequence[collapsing.Owner]:
        """Of the notebook that most people seem to have written in, who they are.

        In a whole edition that was handed in, what lies beside the notebooks was given, and is nobody's: an oracle of
        the tests and a function of the package may have an exercise's name.
        """
        project = self._edition.project
        beside = {
            project.package_name,
            project.tests.name,
            *(PurePosixPath(name).name for name in project.names_given_along),
        }
        sheets = [sheet for sheet in self._sheets if not beside & {*PurePosixPath(sheet.entry.path).parts[:-1]}]
        written = {n: [sheet.entry for sheet in sheets if self._work(n, sheet)] for n in self._given}
        found = (collapsing.owners(entries, notebook.path.stem) for notebook, entries in written.items())
        return max(found, key=len, default=())

    def _without(self, exercise: str, name: str) -> str:
        """Why an exercise cannot import a name where it is graded; empty where it can."""
        package = self._edition.project.package_name
        return environment.without(exercise, name, package, self._edition.package.has)

    def _holds(self, sheet: Sheet, notebook: Notebook) -> bool:
        slots = self._given[notebook].slots
        return any(sheet.aligner.has(exercise.id, slots[exercise.id]) for exercise in notebook.exercises)

    def written(self, sheet: Sheet) -> Cells:
        """The exercises of all notebooks that are written in a file."""
        return {key: cells for notebook in self._given for key, cells in self._work(notebook, sheet).items()}

    def _work(self, notebook: Notebook, sheet: Sheet) -> Cells:
        """The exercises in which something was written, and no stub is left."""
        slots = self._given[notebook].slots
        return {
            exercise: sources
            for exercise, sources in self._fitted(notebook, sheet)[0].items()
            if sources != tuple(slot.source for slot in slots[exercise])
            and not any(markers.is_stub(source, exercise) for source in sources)
        }

    def _best(self, notebook: Notebook, sheets: list[Sheet]) -> Sheet:
        """The one that is graded; the others, as far as they differ, are named."""
        chosen, others = best(sheets, lambda sheet: self._work(notebook, sheet), self._several)
        fitted = self._fitted(notebook, chosen)[0]
        for sheet, why in others:
            if self._fitted(notebook, sheet)[0] != fitted:
                self._remarks.append(f"{sheet.entry.called} differs from {chosen.entry.called}, {why}, which is graded")
        return chosen

    def _answer(self, notebook: Notebook, sheets: Sequence[Sheet]) -> None:
        """Note each question's answer: from the file that is graded, which comes first, else from another one."""
        asked, left = self._given[notebook].asked, {question.id for question in notebook.questions}
        first = sheets[0] if sheets else None
        for sheet in {id(sheet): sheet for sheet in sheets}.values():
            if not left:
                return
            found = asked.answers(sheet.page.in_order, sheet.page.grade_ids)
            self._remarks += [f"{sheet.entry.called}: {remark}" for remark in found.remarks if sheet is first]
            for question in sorted(left & found.texts.keys()):
                text = found.texts[question]
                if len(text) > LONGEST_ANSWER:
                    self._remarks.append(
                        f"{question}: the answer has {len(text)} characters, of which the first {LONGEST_ANSWER} count"
                    )
                if text and sheet is not first:
                    self._remarks.append(f"{question}: the answer is from {sheet.entry.called}")
                if text:
                    self.answers[question] = text[:LONGEST_ANSWER]
                    left.discard(question)

    def _fitted(self, notebook: Notebook, sheet: Sheet) -> tuple[Cells, list[str]]:
        """The exercises of a notebook that are in a file, and what is to be said of them; found out once."""
        key = notebook.path, id(sheet)
        if key not in self._fits:
            slots, remarks = self._given[notebook].slots, list[str]()
            fitted = {item.id: sheet.aligner.fit(item.id, slots[item.id], remarks) for item in notebook.exercises}
            self._fits[key] = {exercise: sources for exercise, sources in fitted.items() if sources}, remarks
        return self._fits[key]

    def _exercises_of(self, notebook: Notebook, sheet: Sheet) -> Cells:
        found, remarks = self._fitted(notebook, sheet)
        missing = [exercise.id for exercise in notebook.exercises if exercise.id not in found]
        self._remarks += [*sheet.page.remarks, *remarks]
        self._remarks += [f"{exercise}: no cell of it is in {sheet.entry.called}" for exercise in missing]
        given = [cell for one in self._given.values() for cell in one.cells]
        sentences = ungraded(given, sheet.page.cells, self._exercises, self._without)
        self._remarks += [f"{sheet.entry.called}: {sentence}" for sentence in sentences]
        return found
