"""What only a whole round proves: the real commands, from a release to what was handed in and graded.

A plain `pytest` leaves these tests out, for they take minutes, or need what this project does not install:

    python -m pytest -m e2e       a whole student; every change must pass it
    python -m pytest -m nightly   whole classes, killed graders, fresh environments, nbgrader and Gradescope
    python -m pytest -m wheel     the distributions, and the wheel in an environment of its own
    python -m pytest -m browser   the notebooks in JupyterLab and Chromium

What they print is worth reading: add `-s`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tito.course.module import Module, load_module, module_names
from tito.course.project import Project

HERE = Project(Path(__file__).parents[2])


@pytest.fixture(scope="session")
def here() -> Project:
    """This course, the instructor's."""
    return HERE


@pytest.fixture(scope="session", params=module_names(HERE))
def module(request: pytest.FixtureRequest, here: Project) -> Module:
    return load_module(here, request.param)
