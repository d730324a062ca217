"""A user's script, outside of this repository, is type-checked against the package, however that was installed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
from typing import assert_type

import numpy as np

from tinytorch.acceleration import accelerate
from tinytorch.core import Linear, Module, Sequential, Tensor, accuracy, concatenate, stack
from tinytorch.quantization import INT4, LayerErrors, QuantizedTensor, compare_layers, quantize_static

model = Sequential(Linear(4, 2))
x = np.ones((3, 4), np.float32)
made = quantize_static(model, [x], rules={"layers.0": INT4})
assert_type(made, Module)
assert_type(accelerate(made), Module)
assert_type(accuracy(made, x, np.zeros(3, np.int64)), float)
assert_type(compare_layers(model, made, [x]), LayerErrors)
assert_type(QuantizedTensor.from_float(x).nbytes, int)
assert_type(model[0], Module)
assert_type(model[1:], Sequential)


class Gated(Module):
    def __init__(self) -> None:
        self.a, self.b = Linear(4, 2), Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        a: Tensor = self.a(x)
        b: Tensor = self.b(x)
        return stack([a * b.tanh(), concatenate([a, b], axis=0)[:3]])
"""
INSTALLS = {
    "regular": ("-m", "uv", "pip", "install"),
    "editable": ("-m", "uv", "pip", "install", "-e"),
    "editable by pip": ("-m", "pip", "--python", "{python}", "install", "-e"),
}


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module", params=list(INSTALLS))
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that holds this package, installed that way, and sees the libraries of the one that runs this."""
    folder = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    run(sys.executable, "-m", "uv", "venv", "-q", "--python", sys.executable, "env", folder=folder)
    python = folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = [part.format(python=python) for part in INSTALLS[request.param]]
    by_uv = ["--python", str(python)] if "uv" in install else []
    run(sys.executable, *install, str(ROOT), "--no-deps", "-q", *by_uv, folder=folder)
    site = run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip()
    Path(site, "libraries.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    (folder / "user.py").write_text(SCRIPT, encoding="utf-8")
    return python


@pytest.mark.e2e
def test_mypy_finds_the_package_and_its_types(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, cache = environment.parents[2], tmp_path_factory.getbasetemp() / "mypy"
    options = ("--strict", "--python-executable", str(environment), "--cache-dir", str(cache))
    assert "Success" in run(sys.executable, "-m", "mypy", *options, "user.py", folder=folder)


@pytest.mark.nightly
def test_pyright_finds_the_package_and_its_types(environment: Path) -> None:
    pyright = (sys.executable, "-m", "uv", "tool", "run", "--from", "pyright[nodejs]", "pyright")
    assert "0 errors" in run(*pyright, "--pythonpath", str(environment), "user.py", folder=environment.parents[2])
