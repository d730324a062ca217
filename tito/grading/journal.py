"""The journal of a batch: every grade on the disk as soon as it is known, so that a kill at any moment costs minutes.

One SQLite file in WAL mode, written by one process, one commit a submission. The grade of an exercise is filed under
the hash of everything that decides it, and not under a name: whoever hands in the same cells to the same tests has the
same grade. Where tests were cut short, all exercises of that run are filed together. Kept as well are what was reported
last, and whose points have changed since the first report. Each row carries a seal, a hash of itself, and what a power
cut has spoilt is left behind, never believed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tito import files
from tito.errors import TitoError
from tito.grading.about import About
from tito.grading.changes import Change, Reported
from tito.grading.conditions import Keys
from tito.grading.grade import Grade
from tito.grading.sealed_rows import BESIDE, TABLE, Row, is_whole, rescued, seal, sealed, set_aside, text_of
from tito.grading.submission import Submission

NAME = "journal.sqlite"
OWN_TABLES = (".csv", ".toml")  # what an instructor may have put there in advance
DAMAGED, EARLIER = NAME + ".damaged", NAME + ".earlier"
FORM = 2  # of the rows; kept as SQLite's user_version
Value = TypeVar("Value")


class OtherForm(Exception):
    """The journal was written by a tito whose rows have another form."""


class Journal:
    """`OUT/journal.sqlite`, opened for this process alone until the block ends.

    `notes` tells the person what was found damaged. Raises TitoError, one sentence, where the file is in use by another
    `tito grade`, or cannot be written.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / NAME
        self.notes: list[str] = []
        with _naming_errors(self.path):
            _make_folder(out)
            self._open_or_rescue()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(sqlite3.Error):  # what was committed is safe; a full disk cannot tidy up
            self._rows.close()

    def known(self, keys: Keys) -> dict[str, Grade]:
        """The grade of every exercise that is known: those of a run in all exercises, or each by itself."""
        if run := self._value("run", keys.whole, Grade.from_json):
            return run.of_each()
        found = {exercise: self._value("grade", key, Grade.from_json) for exercise, key in keys.each.items()}
        return {exercise: grade for exercise, grade in found.items() if grade}

    def failure(self, keys: Keys) -> Grade | None:
        """How the grader itself failed, where it did and has not succeeded since."""
        return self._value("failure", keys.whole, Grade.from_json)

    def keep(self, keys: Keys, grade: Grade) -> None:
        """On the disk when this returns. A failure of the grader's own is noted, but is no grade, nor replaces one."""
        failed = grade.status == "machinery"
        if failed or grade.cut_short:
            rows = [sealed("failure" if failed else "run", keys.whole, grade.as_json())]
        else:
            rows = [sealed("grade", keys.each[name], one.as_json()) for name, one in grade.of_each().items()]
        with self._change():
            for kind in ("failure",) if failed else ("failure", "run"):
                self._remove(kind, keys.whole)
            self._put(rows)

    def copy(self, keys: Keys, other: Journal) -> None:
        """Keep what another journal knows of a submission."""
        rows = [("run", keys.whole), *(("grade", key) for key in keys.each.values())]
        found = ((kind, key, other._get(kind, key)) for kind, key in rows)
        with self._change():
            self._put(sealed(kind, key, json.loads(text)) for kind, key, text in found if text)

    def about(self) -> About | None:
        """What `open_batch` was last given; None for a new journal."""
        return self._value("about", "batch", About.from_json)

    def reported(self, exercise: str | None) -> Reported | None:
        """What the last report said, of those that were of this exercise alone, or of all."""
        return self._value("reported", exercise or "", Reported.from_json)

    def history(self) -> list[Change]:
        """Whose points changed from one report to the next, from the first on."""
        with _naming_errors(self.path):
            found = self._rows.execute("SELECT key FROM rows WHERE kind = 'change' ORDER BY key").fetchall()
        changes = (self._value("change", key, lambda data: Change(**data)) for (key,) in found)
        return [change for change in changes if change]

    def report(self, reported: Reported, changes: Iterable[Change]) -> None:
        """Remember what was reported, and whose points had changed."""
        with self._change():
            count = self._rows.execute("SELECT count(*) FROM rows WHERE kind = 'change'").fetchone()[0]
            rows = (sealed("change", f"{n:09}", asdict(change)) for n, change in enumerate(changes, count + 1))
            exercise = reported.conditions.options.exercise
            self._put([*rows, sealed("reported", exercise or "", reported.as_json())])

    @property
    def seed(self) -> int | None:
        """That of the batch; None for a new journal. A batch that goes on has the inputs that it began with."""
        about = self.about()
        return about.conditions.options.seed if about else None

    def submissions(self) -> list[Submission]:
        """Those of the batch that was last opened, sorted by name."""
        with _naming_errors(self.path):
            found = self._rows.execute("SELECT key FROM rows WHERE kind = 'submission' ORDER BY key").fetchall()
        read = (self._value("submission", name, Submission.from_json) for (name,) in found)
        return sorted((one for one in read if one), key=lambda one: one.name)

    def open_batch(self, about: About, submissions: Iterable[Submission]) -> None:
        """Remember who is graded, and how: what `tito merge` needs to know of a shard."""
        with self._change():
            rows = self._rows.execute("SELECT * FROM rows WHERE kind = 'submission'")
            known = {row[1]: row[3] for row in rows if is_whole(row)}
            mine = [sealed("submission", one.name, one.as_json()) for one in submissions]
            self._put(
                row for row in mine if known.pop(row[1], None) != row[3]
            )  # a class is much to write at every start
            for name in known:
                self._remove("submission", name)
            self._put([sealed("about", "batch", about.as_json())])

    @contextmanager
    def _change(self) -> Iterator[None]:
        """All that is put in the block is kept, or nothing of it."""
        with _naming_errors(self.path), self._rows:
            self._rows.execute("BEGIN")
            yield

    def _value(self, kind: str, key: str, from_json: Callable[[dict[str, Any]], Value]) -> Value | None:
        """None where nothing is kept, or nothing that this tito understands."""
        text = self._get(kind, key)
        try:
            return None if text is None else from_json(json.loads(text))
        except (AttributeError, KeyError, TypeError, ValueError):
            return None

    def _get(self, kind: str, key: str) -> str | None:
        with _naming_errors(self.path):
            found = self._rows.execute("SELECT text, seal FROM rows WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return found[0] if found and found[1] == seal(kind, key, found[0]) else None

    def _put(self, rows: Iterable[Row]) -> None:
        self._rows.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", rows)

    def _remove(self, kind: str, key: str) -> None:
        self._rows.execute("DELETE FROM rows WHERE kind = ? AND key = ?", (kind, key))

    def _open_or_rescue(self) -> None:
        try:
            self._open()
        except OtherForm:
            names = (f"{EARLIER}{number or ''}" for number in range(1000))
            aside = next(self.path.with_name(name) for name in names if not self.path.with_name(name).exists())
            set_aside(self.path, aside)
            self._open()
            self.notes.append(
                f"{self.path} was written by another version of tito, whose grades do not count here: everybody is "
                f"graded; the file is now {aside.name}"
            )
        except sqlite3.DatabaseError as error:
            if _reason(error):
                raise
            self._rescue(str(error))

    def _open(self) -> None:
        files.create_private(self.path)
        for suffix in BESIDE:
            files.make_private(self.path.with_name(f"{self.path.name}{suffix}"))
        self._rows = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        self._rows.text_factory = text_of
        try:
            self._rows.execute("PRAGMA locking_mode = EXCLUSIVE")  # the lock of this batch; the system frees it
            self._rows.execute("PRAGMA journal_mode = WAL")
            self._rows.execute("PRAGMA synchronous = FULL")  # a commit has reached the disk
            self._rows.execute("BEGIN EXCLUSIVE")
            if not self._rows.execute("SELECT 1 FROM sqlite_master WHERE name = 'rows'").fetchone():
                self._rows.execute(TABLE)
                self._rows.execute(f"PRAGMA user_version = {FORM}")
            elif self._rows.execute("PRAGMA user_version").fetchone()[0] != FORM:
                raise OtherForm
            self._rows.execute("COMMIT")
            found = self._rows.execute("PRAGMA integrity_check").fetchall()
            if found != [("ok",)]:
                raise sqlite3.DatabaseError(found[0][0].splitlines()[-1])
        except BaseException:
            self._rows.close()
            raise

    def _rescue(self, reason: str) -> None:
        """Put a damaged journal aside, and take from it the rows whose seals are whole."""
        damaged = self.path.with_name(DAMAGED)
        set_aside(self.path, damaged)
        self._open()
        with self._change():
            self._put(rescued(damaged))
        count = self._rows.execute("SELECT count(*) FROM rows WHERE kind IN ('grade', 'run')").fetchone()[0]
        self.notes.append(
            f"{self.path} was damaged ({reason}): {count} grades could be read and are kept, the rest is graded again; "
            f"the damaged file is now {DAMAGED}"
        )


def _make_folder(out: Path) -> None:
    """Make the folder for its owner alone, too where it was made in advance for the instructor's own tables.

    Whom the owner lets in later is let in: once there is a journal, the folder's mode is the owner's business.
    """
    files.private_folder(out)
    if all(path.is_file() and path.suffix in OWN_TABLES for path in out.iterdir()):
        files.make_private(out)


def _reason(error: sqlite3.Error) -> str:
    """What a person can mend, in words; empty for damage."""
    text = str(error)
    if "locked" in text:
        return "another `tito grade` is at work there: wait for it, or give this one an --out of its own"
    if "full" in text:
        return "the disk is full: make room and run the command again, what was graded is kept"
    if "readonly" in text or "unable to open" in text or "permission" in text.lower():
        return "it cannot be written: choose another --out, or change its rights"
    return ""


@contextmanager
def _naming_errors(path: Path) -> Iterator[None]:
    """Raise what SQLite or the system says as one sentence that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        advice = _reason(error) or f"it cannot be read ({error}): move it away and run the command again"
        raise TitoError(f"{path}: {advice}") from None
    except OSError as error:
        raise TitoError(f"{error.filename or path} could not be written ({error.strerror or error})") from None
