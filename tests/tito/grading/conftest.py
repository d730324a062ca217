"""What the tests of grading share: the toy course's module."""

from __future__ import annotations

import pytest

from tito.course import Module, load


@pytest.fixture
def module(course) -> Module:
    return load(course.project, "01_toy")
