"""A service needs NumPy alone: what else the project depends on is the course's."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
IMPORTED = {"pyyaml": "yaml"}  # where the name that is imported is another
SERVE = """
import sys

for name in sys.argv[1:]:
    sys.modules[name] = None  # as if it were not installed

import warnings

import numpy as np

warnings.simplefilter("ignore")
from tinytorch.acceleration import accelerate
from tinytorch.core import Linear, ReLU, Sequential, fit, load_state, save_state
from tinytorch.quantization import convert, explain, outputs, prepare_qat, quantize_static

x, y = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32), np.arange(32) % 2
model = Sequential(Linear(4, 8), ReLU(), Linear(8, 2))
fit(model, x, y, 1)
made = [quantize_static(model, [x]), convert(prepare_qat(model, [x]))]
save_state(made[0], "model.npz")
load_state(made[0], "model.npz")
assert all(np.array_equal(outputs(accelerate(m), x), outputs(m, x)) for m in made)
print(repr(made[0]), made[0]._repr_html_(), explain(made[1]))
"""


def others() -> list[str]:
    """The project's dependencies but NumPy, and Numba, as they are imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [Requirement(line).name for line in project["dependencies"]]
    assert "numpy" in names
    return [IMPORTED.get(name, name) for name in names if name != "numpy"]


@pytest.mark.parametrize("without", [[], ["numba"]], ids=["with Numba, if it is there", "without Numba"])
def test_a_model_is_trained_quantized_saved_and_served_with_numpy_alone(without: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVE, *others(), *without]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0 and "QuantizedLinear" in done.stdout, done.stderr
