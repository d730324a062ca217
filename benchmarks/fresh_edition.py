"""The commands in the student's README, run as they stand there, in a fresh environment on a fresh edition.

Run from the project's root: `python benchmarks/fresh_edition.py [MODULE]`. Needs what pip needs. Only two things are
added: `--no-lab` to `tito start`, which else would open a window, and a `q` for `tito watch`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tito import course, project

ROOT = Path(__file__).parent.parent
MAY_FAIL = "tito test"  # there are only stubs yet: status 1, and says what to do


def commands(readme: str) -> list[str]:
    """The lines of the code blocks, without comments."""
    blocks = re.findall(r"^```\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    return [line.split("#")[0].strip() for block in blocks for line in block.strip().split("\n")]


def main(arguments: list[str]) -> int:
    here = project.find(ROOT)
    name = course.find_name(here, (arguments or course.module_names(here))[0])
    with tempfile.TemporaryDirectory(prefix="fresh ü ") as temporary:
        folder = Path(temporary, "class")
        release = [sys.executable, "-m", "tito", "release", name, "--to", str(folder)]
        subprocess.run(release, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
        env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        env["PATH"] = os.pathsep.join([str(folder / ".venv" / "bin"), env["PATH"]])
        for command in commands((folder / "README.md").read_text(encoding="utf-8")):
            shown = command + (" --no-lab" if "tito start" in command else "")
            begun = time.monotonic()
            done = subprocess.run(
                shown, shell=True, cwd=folder, env=env, input="q\n", capture_output=True, encoding="utf-8"
            )
            print(f"{done.returncode}  {time.monotonic() - begun:6.1f} s  {shown}", flush=True)
            if done.returncode and not (command.startswith(MAY_FAIL) and done.returncode == 1 and not done.stderr):
                sys.exit(done.stdout + done.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
