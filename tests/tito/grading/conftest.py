"""What the tests of grading share: the toy course's module, and handing in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tito.course.edition import Edition
from tito.course.module import Module, load_module
from tito.grading.intake import collecting
from tito.grading.submission import Submission

from ..toy_course import Course


class HandIn(Protocol):
    """What the fixture `hand_in` is."""

    def __call__(self, files: Mapping[str, str | bytes]) -> list[Submission]: ...


@pytest.fixture
def module(course: Course) -> Module:
    return load_module(course.project, "01_toy")


@pytest.fixture
def toy_edition(course: Course, module: Module) -> Edition:
    return Edition(course.project, module)


@pytest.fixture
def hand_in(tmp_path: Path, toy_edition: Edition) -> HandIn:
    """Files by path -> what intake makes of the folder."""

    def hand_in(files: Mapping[str, str | bytes]) -> list[Submission]:
        for name, data in files.items():
            path = tmp_path / "handed in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        return collecting.collect(toy_edition, tmp_path / "handed in")

    return hand_in
