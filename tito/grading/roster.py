"""Whose a submission is: what the layout of a download, and the instructor's roster, say of a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Person:
    """The names under which other programs know a student. An empty text: nobody said it."""

    name: str = ""  # in full, as people read it
    email: str = ""
    canvas: str = ""  # Canvas' id
    sis: str = ""  # the id in the university's own system: Canvas' SIS User ID, Moodle's ID number, Gradescope's SID
    login: str = ""  # Canvas' SIS Login ID
    moodle: str = ""  # the number of Moodle's `Participant 123`, which differs from assignment to assignment

    def or_else(self, other: Person) -> Person:
        """What is said here, and of what is not what the other says."""
        return Person(*(getattr(self, each.name) or getattr(other, each.name) for each in fields(Person)))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Person:
        """The inverse of `dataclasses.asdict`."""
        return cls(**data)


IDS = ("email", "canvas", "sis", "login", "moodle")  # of which no two people have the same


@dataclass(frozen=True)
class Listed:
    """A line of the roster. submissions: what this student's files, folders or submissions may be called."""

    line: int
    person: Person
    submissions: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """By which a person recognizes who is meant."""
        known = (self.person.name, *self.submissions, *(getattr(self.person, name) for name in IDS))
        return next(filter(None, known), "")


class Roster:
    """Everybody who is expected to hand in. An empty one expects nobody, and knows nobody."""

    def __init__(self, listed: Iterable[Listed] = ()) -> None:
        self.listed = tuple(listed)
        self._by_key = {key: listed for listed in self.listed for key in _keys(listed)}
        full_names = [listed.person.name.casefold() for listed in self.listed]
        self._by_name = {
            name: listed for name, listed in zip(full_names, self.listed, strict=True) if full_names.count(name) == 1
        }

    def find(self, submission: str, person: Person) -> Listed | None:
        """Who this is: by what the submission is called, by an id, or by a full name that only one person has."""
        keys = [("submission", submission.casefold()), *((name, getattr(person, name).casefold()) for name in IDS)]
        found = (self._by_key.get(key) for key in keys if key[1])
        return next(filter(None, found), None) or self._by_name.get(person.name.casefold() or submission.casefold())

    def person(self, submission: str, person: Person) -> Person:
        """What is known of a submission's student: what the roster says goes before what the layout says."""
        listed = self.find(submission, person)
        return listed.person.or_else(person) if listed else person


def _keys(listed: Listed) -> Iterator[tuple[str, str]]:
    """All by which this person may be found."""
    yield from (("submission", name.casefold()) for name in listed.submissions)
    yield from ((name, value.casefold()) for name in IDS if (value := getattr(listed.person, name)))


NOBODY = Roster()
