"""What is given to students: the same tree and commands, every solution a stub, nothing withheld left in it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from tito import files
from tito.course import exporting, given_files, markers, notebook, release_record
from tito.course.edition import Edition
from tito.course.module import Module, load_module, module_names
from tito.course.project import CARRIED, PYPROJECT, Project
from tito.errors import TitoError, WrongCall

Tree = dict[str, bytes]  # path with forward slashes -> what the file holds

AT_ROOT = (PYPROJECT, "hatch_build.py", "LICENSE", ".gitignore", ".gitattributes")
COMMAND_LINE = "tito"  # a course may bring the command line it is used with, as this one does
LEFT_OUT = re.compile(rf"\..+|__pycache__|.+\.(pyc|ipynb|egg-info|nbi|nbc)|released|{CARRIED.name}")
SHORTEST_LEAK = 24  # characters: a shorter line, such as `return quantized`, many people would write without copying


def student_edition(project: Project, module: Module, installed: bool = False) -> Tree:
    """The student's repository. Raises TitoError where it would hold a line of a solution.

    installed: for somebody who has `tito` already; else a course that brings it is given with it.
    """
    tree = _root(project) | _folder(project, project.package)
    if not installed:
        tree |= _command_line(project)
    for path in project.given_along:
        tree |= _folder(project, path) if path.is_dir() else {project.shown(path): path.read_bytes()}
    tree |= _folder(project, project.module(module.name))
    tests = project.module_tests(module.name)
    tree |= {project.shown(path): path.read_bytes() for path in _given(tests) if path.parent == tests}
    stubs = {name: _stubs(project, load_module(project, name)) for name in module_names(project)}
    tree |= stubs[module.name] | _as_released(project, stubs[module.name])
    exported = _exports(project, stubs)
    package = {name: data for name, data in tree.items() if (project.root / name).is_relative_to(project.package)}
    own = {name: data for name, data in package.items() if name not in exported}
    tree[project.shown(project.released_package(module.name))] = given_files.archive_of(own)
    tree |= exported
    tree["README.md"] = readme(project, module, installed=installed).encode()
    refuse_leaks(project, tree)
    return dict(sorted(tree.items()))


def _command_line(project: Project) -> Tree:
    """The command line of a course that brings it: its own copy; in a course from a wheel, the one that runs."""
    if (project.root / COMMAND_LINE).is_dir():
        return _folder(project, project.root / COMMAND_LINE)
    if COMMAND_LINE not in project.pyproject.get("project", {}).get("scripts", {}):
        return {}
    running = CARRIED.parent
    return {path.relative_to(running.parent).as_posix(): path.read_bytes() for path in _given(running)}


def readme(project: Project, module: Module, template: str = "student.md", installed: bool = False) -> str:
    """A template of `tito/releasing/templates`, filled in for this module. installed: as in `student_edition`."""
    way = "installed" if installed else "with_pip"
    text = Template(_template(template)).safe_substitute(
        begin=_template(f"begin_{way}.md"), colab=_template(f"colab_{way}.md")
    )
    first = module.notebooks[0]
    words = {
        "title": module.title,
        "module": module.name,
        "package": project.package_name,
        "points": str(module.points),
        "count": str(len(module.exercises)),
        "first": module.exercises[0].id,
        "notebook": project.shown(first.path),
        "notebooks": "\n".join(f"{i}. `{project.shown(n.path)}`" for i, n in enumerate(module.notebooks, 1)),
    }
    return _aligned(Template(text).substitute(words))


def _template(name: str) -> str:
    return resources.files("tito.releasing").joinpath("templates", name).read_text(encoding="utf-8")


def _aligned(text: str) -> str:
    """Comments behind commands, `  # ...`, in one column, whatever the names of module and exercise."""
    lines = [line.partition("  # ") for line in text.split("\n")]
    width = max((len(command.rstrip()) for command, mark, _ in lines if mark), default=0)
    return "\n".join(f"{command.rstrip():{width}}{mark}{note}" if mark else command for command, mark, note in lines)


def write(tree: Tree, folder: Path, kind: str, module: Module) -> list[str]:
    """Put a tree into a folder, all of it or nothing, and return what was written. Ctrl-C may come too late.

    The folder must be new or empty, or hold an earlier release in which nobody has worked. Raises WrongCall otherwise.
    """
    earlier = _check_folder(folder, tree)
    if earlier and (form := release_record.form(folder)) != (kind, module.name):
        wanted = f"the {kind} format of {module.name} would replace it: name another folder"
        raise WrongCall(f"{folder} holds a release in the {form[0]} format of {form[1]}, and {wanted}")
    head = {"made_by": "tito release", "format": kind, "module": module.name}
    record = head | {"files": {name: files.digest(data) for name, data in tree.items()}}
    texts = tree | {release_record.NAME: (json.dumps(record, indent=1) + "\n").encode()}
    if not earlier:
        with files.whole_folder(folder) as made:
            files.write_whole([(made / name, data) for name, data in texts.items()])
        return [*texts]
    try:
        files.write_whole([(folder / name, data) for name, data in texts.items()], imported=True)
    except KeyboardInterrupt:
        if release_record.read(folder) != record["files"]:
            raise
    with suppress(KeyboardInterrupt), files.until_in_place():
        for name in earlier - tree.keys():
            (folder / name).unlink(missing_ok=True)
    return [*texts]


def check_place(project: Project, folder: Path) -> None:
    """Refuse a release into what releases are made from: the next one would carry it along. Raises WrongCall."""
    place = folder.resolve()
    sources = (project.package, project.root / COMMAND_LINE, project.source, project.tests, *project.given_along)
    for source in sources:
        if place.is_relative_to(source.resolve()):
            inside = (
                f"{folder} lies in {project.shown(source)}/, which is given out: the next release would hold this one"
            )
            raise WrongCall(f"{inside}; name a folder outside of it")


def _check_folder(folder: Path, tree: Tree) -> set[str]:
    """The names of the earlier release's files, all of which may be replaced."""
    if folder.exists() and not folder.is_dir():
        raise WrongCall(f"{folder} is a file: name a folder that is new or empty")
    if not folder.exists() or not any(folder.iterdir()):
        return set()
    earlier = release_record.read(folder)
    if earlier is None:
        raise WrongCall(f"{folder} is not empty and holds no earlier release: name a folder that is new or empty")
    for name, digest in earlier.items():
        path = folder / name
        wanted = {digest, files.digest(tree.get(name, b""))}  # the new one, where a release was killed on its way
        if path.is_file() and files.digest(path.read_bytes()) not in wanted:
            raise WrongCall(f"{folder} holds a release in which {name} was changed: release into another folder")
    for name in tree.keys() - earlier.keys():
        path = folder / name
        if path.exists() and not (path.is_file() and path.read_bytes() == tree[name]):
            raise WrongCall(f"{path} is not of the earlier release: move it away, or name another folder")
    return set(earlier)


def _root(project: Project) -> Tree:
    found = (project.root / name for name in AT_ROOT)
    return {path.name: path.read_bytes() for path in found if path.is_file()}


def _folder(project: Project, folder: Path) -> Tree:
    return {project.shown(path): path.read_bytes() for path in _given(folder)}


def _given(folder: Path) -> Iterator[Path]:
    """The files of a folder without what tools and people leave there, an earlier release among it."""
    for path in sorted(folder.iterdir()):
        if LEFT_OUT.fullmatch(path.name):
            continue
        if path.is_dir():
            yield from () if release_record.read(path) is not None else _given(path)
        elif path.is_file():
            yield path


def _stubs(project: Project, module: Module) -> Tree:
    return {project.shown(entry.path): text.encode() for entry, text in Edition(project, module).texts.items()}


def _as_released(project: Project, stubs: Tree) -> Tree:
    return {project.shown(project.released(project.root / name)): data for name, data in stubs.items()}


def _exports(project: Project, stubs: dict[str, Tree]) -> Tree:
    """What the stubs of every module export: no file that was generated from a solution may stay."""
    with tempfile.TemporaryDirectory(prefix="tito_release_") as folder:
        copy = Project(Path(folder))
        given = {PYPROJECT: (project.root / PYPROJECT).read_bytes()}
        tables = {project.shown(path): path.read_bytes() for path in map(project.module_toml, stubs)}
        for name, data in {**given, **tables, **{k: v for tree in stubs.values() for k, v in tree.items()}}.items():
            (copy.root / name).parent.mkdir(parents=True, exist_ok=True)
            (copy.root / name).write_bytes(data)
        made = [file for name in stubs for file in exporting.make(copy, load_module(copy, name))]
        return {copy.shown(file.target): file.text.encode() for file in made}


def refuse_leaks(project: Project, tree: Tree) -> None:
    """Raise TitoError naming every place in the tree that shows a line of a solution of any module."""
    found = list(leaks(solutions(project), tree))
    if found:
        more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
        raise TitoError(f"students would see solutions: {'; '.join(found[:3])}{more}. Reword those lines, then release")


def solutions(project: Project) -> set[str]:
    """The telling lines between solution markers, without those that students are given elsewhere in a notebook."""
    solved, given = set[str](), set[str]()
    for name in module_names(project):
        for entry in load_module(project, name).notebooks:
            document = notebook.read(project, entry.path)
            for line in markers.lines(notebook.percent_text(document), document.name):
                (solved if line.inside else given).add(_squeezed(line.text))
    return {line for line in solved - given if len(line) >= SHORTEST_LEAK}


def leaks(solved: set[str], tree: Tree) -> Iterator[str]:
    """Every place, as FILE: `line`, where a file holds one of these lines, be it as a part of a line."""
    for name, data in tree.items():
        text = _squeezed(_all_text(name, data))
        yield from (f"{name} holds `{line}`" for line in sorted(solved) if line in text)


def _all_text(name: str, data: bytes) -> str:
    """A file as text; of JSON, such as a notebook with its metadata, every string in it."""
    text = data.decode("utf-8", "replace")
    if name.endswith((".ipynb", ".json")):
        return "\n".join(_strings(json.loads(text)))
    return text


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield "".join(item for item in value if isinstance(item, str))  # a cell's source is a list of lines
        for item in value:
            yield from () if isinstance(item, str) else _strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _strings(item)


def _squeezed(text: str) -> str:
    return " ".join(text.split()).removeprefix("# ")
