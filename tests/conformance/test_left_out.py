"""Where a peer has no build for a Python, all other tests run, and the last lines say which did not."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {peers} else found(name, *rest)
sys.modules |= dict.fromkeys({peers})
"""


def run(folder: Path, peers: tuple[str, ...], required: str) -> subprocess.CompletedProcess[str]:
    """The tests of ONNX's cases and of gemmlowp's numbers, where these peers are not installed."""
    (folder / "without_peers.py").write_text(WITHOUT.format(peers=peers), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "without_peers", "-p", "no:xdist", "-p", "no:cacheprovider"]
    files, here = ("test_onnx.py", "test_gemmlowp.py"), Path(__file__).parent  # which may have a [ in its name
    env = os.environ | {"PYTHONPATH": str(folder), "TITO_PEERS": required}
    return subprocess.run([*command, *files], cwd=here, env=env, capture_output=True, encoding="utf-8")


@pytest.mark.parametrize("peers", [("onnx",), ("onnxruntime",), ("onnx", "onnxruntime")], ids=str)
def test_without_a_peer_what_compares_with_it_is_left_out_and_said(tmp_path: Path, peers: tuple[str, ...]) -> None:
    done = run(tmp_path, peers, required="")
    assert done.returncode == 0, done.stdout[-2000:]
    modules = {"onnx": "onnx", "onnxruntime": "onnxruntime", "scikit-learn": "sklearn"}
    missing = [name for name, of in modules.items() if name in peers or importlib.util.find_spec(of) is None]
    wanted = f'tests were not run: {" and ".join(missing)} not installed. Fix: pip install -e ".[peers]"'
    assert wanted in done.stdout and " deselected" in done.stdout


def test_where_peers_are_required_a_missing_one_fails_in_one_sentence(tmp_path: Path) -> None:
    done = run(tmp_path, ("onnx",), required="required")
    assert done.returncode == 1 and "not installed: pip install -e" in done.stdout
