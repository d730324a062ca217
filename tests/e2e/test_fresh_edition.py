"""The commands in the student's README, run as they stand there, in a fresh environment on a fresh edition.

Needs what pip needs. Only two things are added: `--no-lab` to `tito start`, which else would open a window, and a `q`
for `tito watch`.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tito.course.module import Module
from tito.course.project import Project

from .commands import released

MAY_FAIL = "tito test"  # there are only stubs yet: status 1, and says what to do


def commands(readme: str) -> list[str]:
    """The lines of the code blocks, without comments."""
    blocks = re.findall(r"^```\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    return [line.split("#")[0].strip() for block in blocks for line in block.strip().split("\n")]


@pytest.mark.nightly
def test_every_command_of_the_students_readme_works(here: Project, module: Module, tmp_path: Path) -> None:
    folder = released(here, module, tmp_path / "fresh ü" / "class").root
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env["PATH"] = os.pathsep.join([str(folder / ".venv" / "bin"), env["PATH"]])
    for command in commands((folder / "README.md").read_text(encoding="utf-8")):
        shown = command + (" --no-lab" if "tito start" in command else "")
        begun = time.monotonic()
        done = subprocess.run(
            shown, shell=True, cwd=folder, env=env, input="q\n", capture_output=True, encoding="utf-8"
        )
        print(f"{done.returncode}  {time.monotonic() - begun:6.1f} s  {shown}", flush=True)
        unsolved = command.startswith(MAY_FAIL) and done.returncode == 1 and not done.stderr
        assert done.returncode == 0 or unsolved, f"{shown}\n{done.stdout}{done.stderr}"
