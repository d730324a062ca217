"""The fuzz: cases made, taken all ways, compared, counted."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from tito.course import markers, notebook

from . import in_cells, in_files  # noqa: F401 - they fill the catalogue
from .kinds import KINDS, Context, File, Files, Kind
from .memory import Memory, meaning
from .page import Page, solved, twin
from .ways import COURSE, FORKS, ROOT, Commands, Result, Ways

TOLD = "was imported from|hidden|cannot be loaded"  # in a message that explains, whatever a test found
OF_A_FILE = "earn no points|cannot be|not UTF-8|no notebook was handed in"  # in a sentence about a whole notebook
NEEDED_BY = {"mean": ("variance",)}  # a mistake in one costs the others


@dataclass
class Case:
    """One student: their notebooks, the files at home and handed in, and which exercises a change may cost."""

    name: str
    kinds: list[Kind]
    pages: list[Page]
    context: Context
    home: Files = field(default_factory=dict)
    handed: Files = field(default_factory=dict)
    lms: Files = field(default_factory=dict)

    @property
    def touched(self) -> set[str]:
        found = set(self.context.touched)
        return found | {other for name in found for other in NEEDED_BY.get(name, ())}

    @property
    def harmless(self) -> bool:
        return all(kind.harmless for kind in self.kinds)


@dataclass(frozen=True)
class Difference:
    """One exercise, for which the ways do not give the same; `why` is the sentence that explains it, if one does."""

    case: str
    kinds: tuple[str, ...]
    exercise: str
    points: dict[str, int]
    why: str


@dataclass
class Found:
    """What one process found."""

    differences: list[Difference] = field(default_factory=list)
    sentences: Counter[str] = field(default_factory=Counter)
    used: Counter[str] = field(default_factory=Counter)
    notebooks: int = 0
    runs: int = 0


def case(ways: Ways, name: str, only: str = "", same_code: bool = False) -> Case:
    """The case of this name: always the same. same_code: of changes that leave the exercises' code what it is."""
    rng = random.Random(name)
    given = {entry.path.stem: solved(ways.here, entry) for entry in ways.module.notebooks}
    stubs = {stem: _stub(ways, stem) for stem in given}
    context = Context(rng, stubs=stubs)
    names = [name for name, kind in KINDS.items() if kind.harmless or not same_code]
    weights = [KINDS[name].weight for name in names]
    chosen = [only] if only else rng.choices(names, weights, k=rng.randint(1, 4))
    kinds = [KINDS[name] for name in dict.fromkeys(chosen)]
    suffix = rng.choice([".py", ".ipynb"])
    pages = [replace(deepcopy(page), suffix=suffix) for page in given.values()]
    made = Case(name, kinds, pages, context)
    for kind in kinds:
        if kind.where == "cells":
            at = rng.randrange(len(pages))
            before = deepcopy(pages[at])
            kind.apply(context, pages[at])
            if same_code and _code(before) != _code(pages[at]):
                pages[at], context.touched, made.kinds = before, set(), [one for one in made.kinds if one != kind]
    _write(made)
    return made


def _code(page: Page) -> list[str]:
    """What the cells that are exported mean, in order."""
    read = [notebook.Cell(cell.kind, cell.source, 1, None) for cell in page.cells]
    return [meaning("\n".join(line for _, line in cell.body)) for cell in read if cell.exported]


def _stub(ways: Ways, stem: str) -> Page:
    entry = next(entry for entry in ways.module.notebooks if entry.path.stem == stem)
    page = solved(ways.here, entry)
    for cell, given in zip(page.cells, notebook.load(ways.here, entry.path).cells, strict=True):
        cell.source = markers.cell_stub(given.source, stem)
    return page


def _write(made: Case) -> None:
    """Pages -> files at home, handed in, and as an LMS gives them."""
    c = made.context
    for page in made.pages:
        data = page.file()
        for kind in (kind for kind in made.kinds if kind.where == "bytes"):
            data = kind.apply(c, data, page.suffix)
        made.home[page.name] = made.handed[page.name] = File(data)
        if c.paired and page.suffix == ".ipynb":
            with suppress(Exception):  # what jupytext cannot read has no twin
                made.home[f"{page.stem}.py"] = File(twin(data.decode("utf-8-sig")).encode("utf-8"))
    for kind in (kind for kind in made.kinds if kind.where == "handed"):
        made.handed = kind.apply(c, made.handed)
    made.lms = {f"ada/{name}": file for name, file in made.handed.items()}
    for kind in (kind for kind in made.kinds if kind.where == "lms"):
        made.lms = kind.apply(c, made.handed)
    if "*" in c.touched:
        c.touched |= {exercise for page in made.pages for exercise in page.exercises}


def results(ways: Ways, made: Case) -> dict[str, Result]:
    tested, whole = ways.test(made.home)
    submitted, archive = ways.submit(whole)
    found = {"test": tested, "submit": submitted if whole else tested}
    found["grade"] = ways.grade(made.lms)
    if archive:
        found["grade of the archive"] = ways.grade_path(archive)
    found["gradescope"] = ways.gradescope(made.handed)
    if (
        FORKS and not ways.real and not any(kind.where != "cells" and not kind.harmless for kind in made.kinds)
    ):  # nbgrader reads other files
        found["nbgrader"] = ways.nbgrader(made.pages)
    return found


def differences(ways: Ways, made: Case, found: dict[str, Result]) -> list[Difference]:
    """Exercises for which two ways give different points, and untouched ones that lost theirs."""
    of = {exercise.id: exercise.points for exercise in ways.module.exercises}
    differences = []
    for exercise, full in of.items():
        alone = exercise in {other for name in made.context.touched for other in NEEDED_BY.get(name, ())}
        points = {way: r.points[exercise] for way, r in found.items() if not (alone and way == "nbgrader")}
        wanted = set(points.values()) | (set() if exercise in made.touched else {full})
        if len(wanted) > 1:
            why = "" if made.harmless else _explained(ways, made, found, exercise)
            differences.append(Difference(made.name, tuple(k.name for k in made.kinds), exercise, points, why))
    return differences


def _explained(ways: Ways, made: Case, found: dict[str, Result], exercise: str) -> str:
    """The sentences by which each way that gave fewer explains it; or else those by which all that gave more do."""
    most = max(result.points[exercise] for result in found.values())
    fewer = {way: result for way, result in found.items() if result.points[exercise] < most}
    more = {way: result for way, result in found.items() if way not in fewer}
    for group in (fewer, more):
        said = [_sentence(ways, made, way, result, exercise) for way, result in group.items()]
        if said and all(said):
            return " | ".join(dict.fromkeys(said))
    if "nbgrader" in more and len(more) == 1 or "nbgrader" in fewer and len(fewer) == 1:
        return next((kind.in_nbgrader for kind in made.kinds if kind.in_nbgrader), "")
    return ""


def _sentence(ways: Ways, made: Case, way: str, result: Result, exercise: str) -> str:
    """What a way says about an exercise, or about its whole notebook; empty where it says nothing."""
    if result.refused:
        return result.refused
    message = result.messages.get(exercise, "")
    if message and (":\n" not in message or re.search(TOLD, message)):  # not what a test found
        return message
    stem = next(stem for stem, page in made.context.stubs.items() if exercise in page.exercises)
    about = rf"\b{exercise}\b|is not as it was given|({OF_A_FILE}).*\b{stem}\b|\b{stem}\b.*({OF_A_FILE})"
    return next((told for told in result.told if re.search(about, told)), "")


def work(arguments: tuple[argparse.Namespace, int, Path | None]) -> Found:
    """Every n-th case, in a process of its own."""
    options, which, kept = arguments
    found, memory = Found(), Memory(kept)
    kind, source = Commands if options.commands else Ways, ROOT if options.real else COURSE
    with tempfile.TemporaryDirectory(prefix="fuzz_") as folder, kind(Path(folder, "course"), memory, source) as ways:
        for name, only in _names(options)[which :: options.jobs]:
            made = case(ways, name, only, options.real)
            came = results(ways, made)
            found.used.update(kind.name for kind in made.kinds)
            found.notebooks += len(made.pages)
            new = differences(ways, made, came)
            found.differences += new
            for line in _lines(new):
                print(line, file=sys.stderr, flush=True)
            for result in came.values():
                found.sentences.update(_general(told) for told in result.told)
            if options.case is not None:
                show(made, came)
    found.runs = memory.runs
    return found


def _names(options: argparse.Namespace) -> list[tuple[str, str]]:
    """The names of the cases, and for each the only kind of change, if there is one."""
    if options.case is not None:
        return [(f"{options.seed}:{options.case}", options.kind)]
    if options.each:
        kinds = [name for name in KINDS if options.kind in ("", name)]
        return [(f"{options.seed}:{name}:{n}", name) for n in range(options.each) for name in kinds]
    cases = -(-options.notebooks // (3 if options.real else 2))
    return [(f"{options.seed}:{number}", options.kind) for number in range(cases)]


def _lines(differences: list[Difference]) -> Iterator[str]:
    """A line a case: its changes, and the exercises that nothing explains, with their points by each way."""
    for case, found in groupby((one for one in differences if not one.why), key=lambda one: one.case):
        several = list(found)
        yield f"UNEXPLAINED  case {case}: {', '.join(several[0].kinds)}"
        for one in several:
            yield f"    {one.exercise}: {', '.join(f'{way} {points}' for way, points in one.points.items())}"


def _general(sentence: str) -> str:
    return re.sub(r"\d+", "N", sentence)


def show(made: Case, came: dict[str, Result]) -> None:
    print(f"{made.name}: {', '.join(kind.name for kind in made.kinds)}; may cost {sorted(made.touched)}")
    for page in made.pages:
        print(f"--- {page.name}")
        text = made.home[page.name].data.decode("utf-8", "replace")
        print(
            text
            if page.suffix == ".py" and len(text) < 9_000
            else "\n".join(f"[{c.kind}] {c.source}\n" for c in page.cells)
        )
    print(f"--- handed in: {[(name, len(file.data)) for name, file in made.lms.items()]}")
    for way, result in came.items():
        print(f"{way:<22}{result.points}")
        for told in result.told:
            print(f"    {told}")
        for exercise, message in result.messages.items():
            if not result.points[exercise]:
                print(f"    ({exercise}) {message}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notebooks", type=int, default=2000, help="several to a case")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes; default: one a core")
    parser.add_argument("--case", help="the number of one case, or what follows the seed in its name")
    parser.add_argument("--each", type=int, default=0, help="instead: every kind of change alone, so many times")
    parser.add_argument("--kind", default="", choices=["", *KINDS], metavar="NAME", help="change in this way only")
    parser.add_argument("--commands", action="store_true", help="through the commands, as processes; none remembered")
    parser.add_argument("--real", action="store_true", help="the course of this repository; its code as it is")
    parser.add_argument("--sentences", action="store_true", help="also print every sentence that was said")
    parser.add_argument("--log", type=Path, metavar="JSON", help="write every difference to this file")
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz_memory_") as kept:
        shared = None if options.commands else Path(kept)
        jobs = 1 if options.case is not None else options.jobs
        tasks = [(options, which, shared) for which in range(jobs)]
        if jobs == 1:
            parts = [work(tasks[0])]
        else:
            with multiprocessing.get_context("spawn").Pool(jobs) as pool:
                parts = pool.map(work, tasks, chunksize=1)
    return report(options, parts, time.monotonic() - begun)


def report(options: argparse.Namespace, parts: list[Found], seconds: float) -> int:
    used = sum((part.used for part in parts), Counter[str]())
    differences = [difference for part in parts for difference in part.differences]
    for name, count in sorted(used.items(), key=lambda pair: -pair[1]):
        print(f"{count:>6}  {name}")
    unexplained = [one for one in differences if not one.why]
    for line in _lines(differences):
        print(line)
    if options.sentences:
        for sentence, count in sum((part.sentences for part in parts), Counter[str]()).most_common():
            print(f"{count:>6}  {sentence}")
    if options.log:
        options.log.write_text(json.dumps([one.__dict__ for one in differences], indent=1), encoding="utf-8")
    print(
        f"seed {options.seed}: {sum(part.notebooks for part in parts)} notebooks, {len(used)} of {len(KINDS)} kinds of "
        f"change, {sum(part.runs for part in parts)} distinct contents run, {len(differences)} differences, "
        f"{len(unexplained)} unexplained; {seconds:.0f} s"
    )
    return 1 if unexplained else 0
