"""What the tests of grading share: the toy course's module, handing in, the rule of those that need a box."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tito.course import Module, load
from tito.grading import intake
from tito.grading.judging import box

REQUIRED = os.environ.get("TITO_BOX") == "required"  # as CI has it: a machine without a box must not look tested
left_out = list[pytest.Item]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `box` where there is none. That is this machine's lack, and the last lines say so."""
    boxed = [item for item in items if item.get_closest_marker("box")]
    if boxed and not REQUIRED and box.protection().kind == "none":
        left_out.extend(boxed)
        config.hook.pytest_deselected(items=boxed)
        items[:] = [item for item in items if item not in boxed]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if left_out:
        why = box.protection()
        terminalreporter.section("no box for strangers' code", yellow=True)
        terminalreporter.line(f"{len(left_out)} tests of grading were not run: {why.reason}. Fix: {why.fix}")


@pytest.fixture
def module(course) -> Module:
    return load(course.project, "01_toy")


@pytest.fixture
def hand_in(tmp_path: Path, module: Module) -> Callable[[Mapping[str, str | bytes]], list[intake.Submission]]:
    """Files by path -> what intake makes of the folder."""

    def hand_in(files: Mapping[str, str | bytes]) -> list[intake.Submission]:
        for name, data in files.items():
            path = tmp_path / "handed in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        return intake.collect(module, tmp_path / "handed in")

    return hand_in
