"""The layouts in which a class is handed in, each written by a small function: full names -> files -> a folder.

`LAYOUTS[name](folder, students)` writes them and returns what each student's submission is called.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from .malformed_zips import zipped

Files = Mapping[str, str | bytes]  # by path in what a student hands in
Class = Mapping[str, Files]  # by full name, such as "Ada Lovelace"
Names = dict[str, str]  # full name -> what the submission is called
CANVAS_FIRST, MOODLE_FIRST, GRADESCOPE_FIRST = 47_001, 9_001, 300_001


def write(folder: Path, files: Files) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_bytes(data))


def login(name: str) -> str:
    """`adalovelace`, the student's name in paths."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def email(name: str) -> str:
    return f"{login(name)}@example.edu"


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _zip(files: Files) -> bytes:
    return zipped({name: _bytes(data) for name, data in files.items()})


def _flat(path: str) -> str:
    """The name of a file that is uploaded by itself."""
    return path.rpartition("/")[2]


def folders(top: Path, students: Class) -> Names:
    for name, files in students.items():
        write(top / login(name), files)
    return {name: login(name) for name in students}


def zips(top: Path, students: Class) -> Names:
    write(top, {f"{login(name)}.zip": _zip(files) for name, files in students.items()})
    return {name: login(name) for name in students}


def canvas(top: Path, students: Class) -> Names:
    names = dict[str, str]()
    for user, (name, files) in enumerate(students.items(), CANVAS_FIRST):
        squeezed = login(name)
        for number, (path, data) in enumerate(files.items()):
            write(top, {f"{squeezed}_{user}_{user * 10 + number}_{_flat(path)}": data})
        names[name] = f"{squeezed}_{user}"
    return names


def nbgrader(top: Path, students: Class) -> Names:
    for name, files in students.items():
        write(top / "submitted" / login(name) / "hw", {**files, "timestamp.txt": "2026-03-06 12:00:00.000000 UTC"})
    write(top, {"source/hw/header.md": "", "gradebook.db": b"", "nbgrader_config.py": ""})
    return {name: login(name) for name in students}


def moodle(top: Path, students: Class) -> Names:
    """With a text that each student typed into the page, too."""
    names = dict[str, str]()
    for participant, (name, files) in enumerate(students.items(), MOODLE_FIRST):
        write(top / f"{name}_{participant}_assignsubmission_file_", files)
        write(top / f"{name}_{participant}_assignsubmission_onlinetext_", {"onlinetext.html": "<p>Here you are"})
        names[name] = f"{name}_{participant}".replace(" ", "_")
    return names


def moodle_flat(top: Path, students: Class) -> Names:
    names = dict[str, str]()
    for participant, (name, files) in enumerate(students.items(), MOODLE_FIRST):
        begin = f"{name}_{participant}_assignsubmission_"
        write(top, {f"{begin}file_{_flat(path)}": data for path, data in files.items()})
        write(top, {f"{begin}onlinetext_onlinetext.html": "<p>Here you are"})
        names[name] = f"{name}_{participant}".replace(" ", "_")
    return names


def gradescope(top: Path, students: Class) -> Names:
    export, metadata = top / "assignment_7_export", ["---"]
    for number, (name, files) in enumerate(students.items(), GRADESCOPE_FIRST):
        write(export / f"submission_{number}", files)
        metadata += [f"submission_{number}:", "  :submitters:", f"  - :name: {name}", f"    :sid: '0{number}'"]
        metadata += [f"    :email: {email(name)}", "  :created_at: 2026-03-06 12:00:00.000000000 Z", "  :score: 1.0"]
        metadata += ["  :results:", "    tests:", '    - output: "- :name: Mallory"', "  :history: []"]
    write(export, {"submission_metadata.yml": "\n".join(metadata) + "\n"})
    return {name: name.replace(" ", "_") for name in students}


def github_classroom(top: Path, students: Class) -> Names:
    """What `gh classroom clone student-repos` makes: a folder of clones, each a whole course."""
    for name, files in students.items():
        clone = top / "homework-submissions" / f"homework-{login(name)}"
        write(clone, {"README.md": "# Course", "pyproject.toml": "", ".git/HEAD": "ref: refs/heads/main\n"})
        write(clone / "modules" / "source", files)
    return {name: f"homework-{login(name)}" for name in students}


def google_classroom(top: Path, students: Class) -> Names:
    """A folder of Drive, in which a file that was handed in again has a number."""
    for name, files in students.items():
        for path, data in files.items():
            stem, dot, suffix = _flat(path).rpartition(".")
            write(top, {f"{name} - {stem}{dot}{suffix}": "", f"{name} - {stem} (1){dot}{suffix}": data})
    return {name: name.replace(" ", "_") for name in students}


LAYOUTS: dict[str, Callable[[Path, Class], Names]] = {
    "a folder a student": folders,
    "a zip a student": zips,
    "Canvas": canvas,
    "nbgrader": nbgrader,
    "Moodle's folders": moodle,
    "Moodle's files": moodle_flat,
    "Gradescope's export": gradescope,
    "GitHub Classroom's clones": github_classroom,
    "Google Classroom's files": google_classroom,
}


def as_zip(folder: Path) -> Path:
    """Everything below a folder in a zip beside it, as a platform's download arrives."""
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in _files(folder):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
