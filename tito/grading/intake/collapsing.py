"""Is what is taken for one submission the work of several people? Then a class would be graded as one student."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from tito.grading.intake import attempts, choosing
from tito.grading.intake.unpacking import Entry

Owner = tuple[str, ...]  # the folders and zips in which somebody's files lie, and what is before a notebook's name


def owners(entries: Iterable[Entry], stem: str) -> list[Owner]:
    """Who seem to have files of one notebook: those that lie side by side under different names.

    A copy, a backup or an old version, by its name, is nobody's own, and neither is what lies in a folder below.
    """
    found = set[Owner]()
    for entry in entries:
        path = PurePosixPath(entry.path)
        if not choosing.ASIDE.search("/".join((*entry.outer, entry.path)).replace("_", " ")):
            name = attempts.without_number(path.stem).lower().replace(stem.lower(), "").strip(" _-.")
            found.add((*entry.outer, *path.parent.parts, *([name] if name else [])))
    return [one for one in sorted(found) if not any(one[:length] in found for length in range(len(one)))]


def sentence(owners: Sequence[Owner]) -> str:
    """Of how many people, and of whom."""
    common = next(length for length in range(99) if len({one[: length + 1] for one in owners}) > 1)
    names = ["/".join(one[common:]) or "its own" for one in owners]
    return f"{len(names)} people ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
