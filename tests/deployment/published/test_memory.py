"""What a conversion takes of memory: at most four times the model, and one batch, however many there are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytorch.deployment.extras import library

pytestmark = [pytest.mark.engines, pytest.mark.nightly]
WIDTH, PRODUCTS, BATCHES = 4096, 8, 20
CONVERTED = """
import sys
from pathlib import Path
import numpy as np
import onnxruntime
from tinytorch.deployment import quantize_onnx

def peak():  # of this program alone: what getrusage tells begins with the memory of whoever started it
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024

before, rng = peak(), np.random.default_rng(0)
batches = (rng.normal(size=(16, {width})).astype(np.float32) for _ in range({batches}))
quantize_onnx(sys.argv[1], batches).save(sys.argv[2])
print(peak() - before)
"""


def half_a_gigabyte(path: Path) -> int:
    """A chain of products in a file. Its bytes."""
    onnx = library("onnx")
    helper, rng, x = onnx.helper, np.random.default_rng(0), "x"
    nodes, weights = [], []
    for i in range(PRODUCTS):
        weight = rng.normal(0, WIDTH**-0.5, (WIDTH, WIDTH)).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(weight, f"w{i}"))
        nodes += [helper.make_node("MatMul", [x, f"w{i}"], [f"h{i}"]), helper.make_node("Relu", [f"h{i}"], [f"x{i}"])]
        x = f"x{i}"
    value: Any = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", 1, ["N", WIDTH])], [value(x, 1, None)], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path.stat().st_size


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a program's peak of memory so")
def test_a_conversion_takes_at_most_four_times_the_model(tmp_path: Path) -> None:
    before, after = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    nbytes = half_a_gigabyte(before)
    assert nbytes > 500e6
    program = CONVERTED.format(width=WIDTH, batches=BATCHES)
    done = subprocess.run([sys.executable, "-c", program, before, after], check=True, capture_output=True, text=True)
    print(f"\n{int(done.stdout) / nbytes:.2f} times the model of {nbytes:,} bytes")
    assert int(done.stdout) < 4 * nbytes
