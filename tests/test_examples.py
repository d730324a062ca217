"""Each piece of work in examples/ runs as it stands, checks itself by another computation, and fits on a screen."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
WORK = sorted(path.stem for path in EXAMPLES.glob("*.py") if not path.stem.startswith("make_"))
PEERS = {"scikit_learn_mlp", "conventions_of_peers"}  # they import scikit-learn, or ONNX and ONNX Runtime
LONGEST = 40  # lines


def test_there_are_the_pieces_of_work() -> None:
    assert len(WORK) >= 10 and set(WORK) > PEERS


@pytest.mark.parametrize("name", WORK)
def test_an_example_is_short_and_holds_a_check(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST
    assert text.startswith('"""') and len(re.findall("^assert ", text, re.MULTILINE)) >= 1


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.peers] if name in PEERS else []) for name in WORK]
)
def test_an_example_runs_and_its_check_holds(name: str, tmp_path: Path) -> None:
    """In a folder of its own, in a process of its own, with a line at the end that says what came of it."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"
