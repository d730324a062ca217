"""The journals of all shards joined, as if one machine had graded everybody."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

from tito.errors import TitoError, WrongCall
from tito.grading.about import About, roll
from tito.grading.batch import Pool, Task
from tito.grading.conditions import Conditions
from tito.grading.grade import Grade
from tito.grading.journal import NAME, Journal
from tito.grading.options import Options, Shard
from tito.grading.submission import Submission

DIFFERS = {
    "limit_seconds": "time limit",
    "unsafe": "protection (--unsafe)",
    "tests or notebooks": "version of the tests or notebooks",
    "grader": "version of tito, Python, NumPy, pytest or hypothesis",
}


def check_same(journal: Journal, wanted: About) -> None:
    """Refuse to continue another module's batch, or another shard's, over this one: its reports would be lost."""
    there = journal.about()
    if there is None:
        return
    for what, old, new in (
        ("module", there.conditions.module, wanted.conditions.module),
        ("shard", str(there.shard), str(wanted.shard)),
    ):
        if old != new:
            raise WrongCall(f"{journal.path.parent} holds {what} {old}, not {new}: give this one an --out of its own")


@dataclass(frozen=True)
class Merged:
    """All shards in one: a pool that knows only what they left unmarked, for the grades are in the journal already."""

    about: About
    submissions: list[Submission]
    pool: Pool


def merge(folders: Sequence[Path], into: Journal) -> Merged:
    """Copy the shards' grades into one journal. Raises TitoError where they are not all of one batch, and finished."""
    if into.path.parent.resolve() in [folder.resolve() for folder in folders]:
        raise WrongCall(f"{into.path.parent} is both --out and a shard: give the merged batch a folder of its own")
    failures = dict[str, Grade]()
    submissions = list[Submission]()
    with ExitStack() as stack:
        parts = {folder: stack.enter_context(_existing(folder)) for folder in dict.fromkeys(folders)}
        about = _one_batch({folder: _about(folder, journal) for folder, journal in parts.items()})
        check_same(into, about)
        for folder, journal in parts.items():
            into.notes.extend(journal.notes)
            found = journal.submissions()
            failures |= _copy(folder, journal, into, about.conditions, found)
            submissions += found
    submissions.sort(key=lambda one: one.name)
    if roll(submissions) != about.roll:
        raise TitoError(f"{' '.join(map(str, folders))}: a journal has lost submissions; run `tito grade` there again")
    into.open_batch(about, submissions)

    def pool(left: list[Task]) -> Generator[tuple[Task, Grade]]:
        yield from ((task, failures[about.conditions.keys(task.submission).whole]) for task in left)

    return Merged(about, submissions, pool)


def _existing(folder: Path) -> Journal:
    if not (folder / NAME).is_file():
        raise WrongCall(f"{folder} holds no {NAME}: name the folders that `tito grade --shard i/n --out DIR` made")
    return Journal(folder)


def _about(folder: Path, journal: Journal) -> About:
    about = journal.about()
    if about is None:
        raise TitoError(f"{folder} was not begun: run `tito grade` there again")
    return about


def _one_batch(abouts: dict[Path, About]) -> About:
    """What all shards agree on. Raises TitoError naming the first two that do not, or the shards that are missing."""
    first, about = next(iter(abouts.items()))
    shards = dict[int, Path]()
    for folder, other in abouts.items():
        for name, old, new in _compared(about.conditions, other.conditions):
            if old != new:
                shown = "" if isinstance(old, tuple) else f": {old} and {new}"
                what = DIFFERS.get(name, name)
                raise TitoError(f"{first} and {folder} differ in their {what}{shown}; grade one of them again")
        if (about.roll, about.shard.count) != (other.roll, other.shard.count):
            raise TitoError(f"{first} and {folder} are not parts of one batch: they were given different submissions")
        if other.shard.number in shards:
            raise TitoError(f"{shards[other.shard.number]} and {folder} both are shard {other.shard}; name one of them")
        shards[other.shard.number] = folder
    missing = [
        str(Shard(number, about.shard.count)) for number in range(1, about.shard.count + 1) if number not in shards
    ]
    if missing:
        raise TitoError(f"missing: shard {', '.join(missing)}; name the --out of every shard")
    return About(about.conditions, Shard(), about.roll)


def _compared(one: Conditions, other: Conditions) -> Iterator[tuple[str, object, object]]:
    """Each thing that decides a grade, by name, in both."""
    yield "module", one.module, other.module
    yield "tests or notebooks", (one.course, one.exercises), (other.course, other.exercises)
    yield "grader", (one.grader,), (other.grader,)
    for field in fields(Options):
        yield field.name, getattr(one.options, field.name), getattr(other.options, field.name)


def _copy(
    folder: Path, journal: Journal, into: Journal, conditions: Conditions, submissions: list[Submission]
) -> dict[str, Grade]:
    """Copy a shard's grades; returns the failures of its grader. Raises TitoError where it is not finished."""
    failures, unfinished = dict[str, Grade](), list[str]()
    for one in submissions:
        keys = conditions.keys(one)
        failure = journal.failure(keys)
        if journal.known(keys).keys() == keys.each.keys():
            into.copy(keys, journal)
        elif failure:
            failures[keys.whole] = failure
        elif not one.refused:
            unfinished.append(one.name)
    if unfinished:
        count = f"{len(unfinished)} of {len(submissions)} submissions"
        raise TitoError(f"{folder} is not finished: {count} have no grade ({unfinished[0]}, ...); run it again")
    return failures
