"""What learning platforms call the files and folders of a download: whose each is, by the platform's own word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial

import yaml

from tito.grading.handed_in import HandedIn
from tito.grading.intake import times, unpacking
from tito.grading.intake.arrival import Arrival
from tito.grading.intake.tops import Files, Folder, Top
from tito.grading.intake.unpacking import Budget, Entry, Refused
from tito.grading.roster import Person

# Canvas: name[_LATE]_user_attachment_file; without names [LATE_]anon_id_attachment_file.
CANVAS = re.compile(r"(?P<who>.{1,100}?)(?P<late>_LATE)?_(?P<user>\d+)_(?P<number>\d+)_(?P<file>.+)", re.DOTALL)
CANVAS_ANONYMOUS = re.compile(r"(?P<late>LATE_)?(?P<who>anon)_(?P<user>[^_]+)_(?P<number>\d+)_(?P<file>.+)", re.DOTALL)
CANVAS_NO_FILE = re.compile(r"(?P<who>.{1,100}?)(?P<late>_LATE)?_(?P<user>\d+)_(?P<file>(text|link)\.html)", re.DOTALL)
# Moodle: Full Name_participant_assignsubmission_file_ is a folder; with a file's name behind it, it is that file.
MOODLE = re.compile(
    r"(?P<who>.{1,200})_(?P<participant>\d+)_assignsubmission_(?P<kind>[a-z]+)(?:_(?P<file>.*))?", re.DOTALL
)
MOODLE_BLIND = "Participant"  # what Moodle calls everybody while names are hidden
MOODLE_TYPED = "onlinetext"  # what was typed into a page, and is no file
# Gradescope's metadata are YAML, whose keys are Ruby's symbols. Of each folder this is who handed it in.
GRADESCOPE_FOLDER = re.compile(r"submission_\d+")
SUBMITTERS = re.compile(r"^([\w.-]+):[ \t]*\n {2}:submitters:[ \t]*\n((?: {2}-.*\n| {3,}.*\n){1,5000})", re.MULTILINE)


@dataclass
class Claimed:
    """Arrivals by the names of the students, and what at the top belongs to them or to the platform."""

    arrivals: dict[str, Arrival] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def add(self, name: str, arrival: Arrival) -> None:
        """Note a file or a folder of somebody's. What is known of one arrival holds for all of this student."""
        self.names.add(name)
        known = self.arrivals.setdefault(arrival.name, replace(arrival, files=[], surely_one=True))
        known.files += arrival.files
        known.remarks = tuple(dict.fromkeys((*known.remarks, *arrival.remarks)))
        late = bool(known.handed_in and known.handed_in.late_mark)
        known.handed_in = known.handed_in if late else arrival.handed_in


def of_gradescope(top: Top) -> Claimed:
    """The folders of an export, by its submission_metadata.yml. Of a group everybody has a submission of his own."""
    claimed = Claimed()
    metadata = next((entry for entry in top.files if entry.name == times.GRADESCOPE), None)
    if metadata is None:
        return claimed
    claimed.names.add(metadata.name)
    with ExitStack() as stack:
        received, submitters = times.of_gradescope([metadata], Budget(stack)), _submitters(metadata, Budget(stack))
    for name, folder in top.visible_folders.items():
        if name in received or name in submitters or GRADESCOPE_FOLDER.fullmatch(name):
            for arrival in _of_group(name, folder, submitters.get(name, [])):
                taken = arrival.name in claimed.arrivals  # two students of one name
                arrival.name = f"{arrival.name}_{name.rpartition('_')[2]}" if taken else arrival.name
                arrival.handed_in = received.get(name)
                claimed.add(name, arrival)
    return claimed


def _of_group(name: str, folder: Folder, group: list[Person]) -> Iterator[Arrival]:
    for person in group or [Person()]:
        others = [other.name or other.email for other in group if other is not person]
        together = (f"handed in together with {', '.join(map(unpacking.shown, others))}",) if others else ()
        yield Arrival(person.name or person.email or person.sis or name, [folder.files], together, person=person)


def _submitters(metadata: Entry, budget: Budget) -> dict[str, list[Person]]:
    """Who handed in each folder. Only these lines are given to a YAML reader: the rest may be many megabytes."""
    found = dict[str, list[Person]]()
    with suppress(Refused):
        text = unpacking.read(metadata, budget).decode("utf-8", "replace").replace("\r\n", "\n")
        for folder, lines in SUBMITTERS.findall(text):
            with suppress(yaml.YAMLError):
                listed = yaml.load(lines, yaml.BaseLoader)
                people = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
                found[folder] = [
                    Person(name=_text(item, ":name"), email=_text(item, ":email"), sis=_text(item, ":sid"))
                    for item in people
                ]
    return found


def _text(item: dict[object, object], key: str) -> str:
    value = item.get(key)
    return unpacking.shown(value) if isinstance(value, str) else ""


def of_moodle(top: Top) -> Claimed:
    """A student's folders, or files where the instructor asked for no folders. What was typed in is no notebook."""
    claimed, typed = Claimed(), list[tuple[str, Arrival]]()
    items: list[tuple[str, Files]] = [(entry.name, partial(iter, [entry])) for entry in top.visible]
    items += [(name, folder.files) for name, folder in top.visible_folders.items()]
    for name, files in items:
        if not (match := MOODLE.fullmatch(name)):
            continue
        who, participant = match["who"], match["participant"]
        person = Person(name="" if who == MOODLE_BLIND else who, moodle=participant)
        arrival = Arrival(f"{who}_{participant}", [files], person=person)
        if match["kind"] == MOODLE_TYPED:
            typed.append((name, arrival))
        else:
            arrival.files = [partial(_renamed, files, name, match["file"] or name)]
            claimed.add(name, arrival)
    for name, arrival in typed:
        text = Entry("onlinetext.html", problem="a text was typed into Moodle, and no notebook was handed in")
        arrival.files = [] if arrival.name in claimed.arrivals else [partial(iter, [text])]
        claimed.add(name, arrival)
    return claimed


def _renamed(files: Files, name: str, new: str) -> Iterator[Entry]:
    """A file of the top gets the name that the student gave it; what lies in a folder has its own."""
    for entry in files():
        yield replace(entry, path=new) if entry.path == unpacking.shown(name) else entry


def of_canvas(top: Top) -> Claimed:
    claimed = Claimed()
    for entry in top.visible:
        if match := _canvas(entry.name):
            user, late = match["user"], bool(match["late"])
            number = int(match.groupdict().get("number", "0")[-18:])  # of two attachments the larger is the newer
            person = Person() if match["who"] == "anon" else Person(canvas=user)
            remarks = ("Canvas marks this submission as late",) if late else ()
            own = checked(replace(entry, path=match["file"], when=(number,)))
            handed_in = HandedIn(None, "Canvas", late)
            name = f"{match['who']}_{user}"
            claimed.add(entry.name, Arrival(name, [partial(iter, [own])], remarks, handed_in=handed_in, person=person))
    return claimed


def _canvas(name: str) -> re.Match[str] | None:
    return CANVAS.fullmatch(name) or CANVAS_ANONYMOUS.fullmatch(name) or CANVAS_NO_FILE.fullmatch(name)


def checked(entry: Entry) -> Entry:
    """A file at the top, which must be of a kind that is read."""
    if entry.suffix in (*unpacking.NOTEBOOKS, ".zip") or entry.problem:
        return entry
    return replace(entry, problem=f"{entry.path} is neither .ipynb, .py nor .zip")


PLATFORMS = (of_gradescope, of_moodle, of_canvas)


def is_download(top: Top) -> bool:
    """Did a platform make this?"""
    return any(platform(top).arrivals for platform in PLATFORMS)
