"""What students of this course are given: small, complete, and without a line of a solution or of what is withheld."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tito.course.module import Module, load_module, module_names
from tito.course.project import Project
from tito.releasing import release

PROJECT = Project(Path(__file__).parent.parent)
MODULES = module_names(PROJECT)
NAMED = re.compile(r"\b(?:docs|examples)/[\w./]*\w")


Edition = tuple[Module, dict[str, bytes]]


@pytest.fixture(scope="module", params=MODULES)
def edition(request: pytest.FixtureRequest) -> Edition:
    """(module, its student's edition). Making it raises where a file would show a line of a solution."""
    module = load_module(PROJECT, request.param)
    return module, release.student_edition(PROJECT, module)


def test_the_search_for_solutions_knows_what_to_search(edition: Edition) -> None:
    module, tree = edition
    solved = release.solutions(PROJECT)
    assert len(solved) > 2 * len(module.exercises)
    reference = {"book.py": (module.notebooks[0].path).read_bytes()}
    assert list(release.leaks(solved, reference)), "not even the reference is found to hold solutions"
    assert not list(release.leaks(solved, tree))


def test_nothing_withheld_is_in_it(edition: Edition) -> None:
    module, tree = edition
    tests = PROJECT.module_tests(module.name)
    given = {line.strip() for path in tests.glob("*.py") for line in path.read_text(encoding="utf-8").split("\n")}
    withheld = {
        line.strip()
        for path in tests.rglob("*")
        if path.parent != tests and path.suffix in (".py", ".toml")
        for line in path.read_text(encoding="utf-8").split("\n")
        if len(line.strip()) >= 60 and line.strip() not in given
    }
    assert withheld, "there should be hidden tests and mistakes"
    everything = b"\n".join(tree.values()).decode("utf-8", "replace")
    assert not [line for line in withheld if line in everything]
    assert not [name for name in tree if {"hidden", "mistakes", "alternatives", ".git"} & set(Path(name).parts)]


def test_it_holds_what_a_student_needs_and_fits_an_e_mail(edition: Edition) -> None:
    module, tree = edition
    exercises = {f"tests/{module.name}/test_{exercise.id}.py" for exercise in module.exercises}
    assert exercises | {"README.md", "LICENSE", "pyproject.toml", "tito/cli.py"} <= tree.keys()
    assert sum(map(len, tree.values())) < 5_000_000


def test_it_is_the_same_every_time(edition: Edition) -> None:
    module, tree = edition
    assert release.student_edition(PROJECT, module) == tree


def test_what_the_package_and_what_goes_along_name_is_in_it(edition: Edition) -> None:
    """A path such as docs/library.md, in a docstring of the package or in a page that students get."""
    _, tree = edition
    names = [name for name in tree if re.match(r"(tinytorch|docs)/.*\.(py|md)$", name)]
    pages = {name: tree[name].decode() for name in names}
    named = {(path, name) for name, text in pages.items() for path in NAMED.findall(text)}
    assert ("docs/library.md", "tinytorch/quantization/__init__.py") in named
    assert not [(path, name) for path, name in named if path not in tree]
