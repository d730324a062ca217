"""The journal of a batch: every grade on the disk as soon as it is known, so that a kill at any moment costs minutes.

One SQLite file in WAL mode, written by one process, one commit a submission. A grade is filed under the hash of
everything that decides it, and not under a name: whoever hands in the same cells to the same tests has the same grade.
Each row carries a seal, a hash of itself, and what a power cut has spoilt is left behind, never believed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from tito.errors import TitoError
from tito.grading.about import About
from tito.grading.grade import Grade
from tito.grading.sealed_rows import TABLE, Row, is_whole, rescued, seal, sealed, set_aside, text_of
from tito.grading.submission import Submission

NAME = "journal.sqlite"
DAMAGED = NAME + ".damaged"


class Journal:
    """`OUT/journal.sqlite`, opened for this process alone until the block ends.

    `notes` tells the person what was found damaged. Raises TitoError, one sentence, where the file is in use by another
    `tito grade`, or cannot be written.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / NAME
        self.notes: list[str] = []
        with _naming_errors(self.path):
            out.mkdir(parents=True, exist_ok=True)
            self._open_or_rescue()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(sqlite3.Error):  # what was committed is safe; a full disk cannot tidy up
            self._rows.close()

    def grade(self, key: str) -> Grade | None:
        return self._grade("grade", key)

    def failure(self, key: str) -> Grade | None:
        """How the grader itself failed, where it did and has not succeeded since."""
        return self._grade("failure", key)

    def keep(self, key: str, grade: Grade) -> None:
        """On the disk when this returns. A failure of the grader's own is noted, but is no grade, nor replaces one."""
        with self._change():
            self._rows.execute("DELETE FROM rows WHERE kind = 'failure' AND key = ?", (key,))
            self._put(sealed("failure" if grade.status == "machinery" else "grade", key, grade.as_json()))

    def about(self) -> About | None:
        """What `open_batch` was last given; None for a new journal."""
        text = self._get("about", "batch")
        return None if text is None else About.from_json(json.loads(text))

    def submissions(self) -> list[Submission]:
        """Those of the batch that was last opened, sorted by name."""
        with _naming_errors(self.path):
            found = self._rows.execute("SELECT key FROM rows WHERE kind = 'submission' ORDER BY key").fetchall()
        texts = (self._get("submission", name) for (name,) in found)
        return sorted((Submission.from_json(json.loads(text)) for text in texts if text), key=lambda one: one.name)

    def open_batch(self, about: About, submissions: Iterable[Submission]) -> None:
        """Remember who is graded, and how: what `tito merge` needs to know of a shard."""
        with self._change():
            rows = self._rows.execute("SELECT * FROM rows WHERE kind = 'submission'")
            known = {row[1]: row[3] for row in rows if is_whole(row)}
            for row in (sealed("submission", one.name, asdict(one)) for one in submissions):
                if known.pop(row[1], None) != row[3]:  # a whole class is much to write at every start
                    self._put(row)
            self._rows.executemany(
                "DELETE FROM rows WHERE kind = 'submission' AND key = ?", [(name,) for name in known]
            )
            self._put(sealed("about", "batch", about.as_json()))

    @contextmanager
    def _change(self) -> Iterator[None]:
        """All that is put in the block is kept, or nothing of it."""
        with _naming_errors(self.path), self._rows:
            self._rows.execute("BEGIN")
            yield

    def _grade(self, kind: str, key: str) -> Grade | None:
        text = self._get(kind, key)
        return None if text is None else Grade.from_json(json.loads(text))

    def _get(self, kind: str, key: str) -> str | None:
        with _naming_errors(self.path):
            found = self._rows.execute("SELECT text, seal FROM rows WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return found[0] if found and found[1] == seal(kind, key, found[0]) else None

    def _put(self, row: Row) -> None:
        self._rows.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", row)

    def _open_or_rescue(self) -> None:
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if _reason(error):
                raise
            self._rescue(str(error))

    def _open(self) -> None:
        self._rows = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        self._rows.text_factory = text_of
        try:
            self._rows.execute("PRAGMA locking_mode = EXCLUSIVE")  # the lock of this batch; the system frees it
            self._rows.execute("PRAGMA journal_mode = WAL")
            self._rows.execute("PRAGMA synchronous = FULL")  # a commit has reached the disk
            self._rows.execute("BEGIN EXCLUSIVE")
            self._rows.execute(TABLE)
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
            for row in rescued(damaged):
                self._put(row)
        count = self._rows.execute("SELECT count(*) FROM rows WHERE kind = 'grade'").fetchone()[0]
        self.notes.append(
            f"{self.path} was damaged ({reason}): {count} grades could be read and are kept, the rest is graded again; "
            f"the damaged file is now {DAMAGED}"
        )


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
