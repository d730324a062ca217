"""SIGKILL and Ctrl-C at random points over a batch, which is started again until it comes through."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tito.course.module import Module
from tito.course.project import Project

pytestmark = [pytest.mark.nightly, pytest.mark.sandbox]


def test_two_hundred_kills_lose_nothing_and_leave_no_process(here: Project, module: Module) -> None:
    command = [sys.executable, "-m", "tests.e2e.kill_grading", "--module", module.name, "--kills", "200"]
    done = subprocess.run(command, cwd=here.root, capture_output=True, encoding="utf-8")
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
