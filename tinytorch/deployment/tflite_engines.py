"""What runs TFLite models: LiteRT, in its three ways to compute, and TFLite Micro."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.deployment.extras import library
from tinytorch.deployment.steps import Predict, Trace
from tinytorch.deployment.stored import stored
from tinytorch.deployment.tflite_graph import packed_model, schema
from tinytorch.deployment.tflite_layout import Layout
from tinytorch.quantization import quantize


def as_tflite(file: Any) -> bytes:
    """The content of a path, or the bytes as they are."""
    return Path(file).read_bytes() if isinstance(file, (str, Path)) else bytes(file)


def values_in(content: bytes) -> set[str]:
    """The names of all tensors."""
    model = schema().Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    return {graph.Tensors(i).Name().decode() for i in range(graph.TensorsLength())}


def showing(content: bytes, names: list[str]) -> bytes:
    """The model with these tensors as its outputs."""
    s = schema()
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(content))
    graph = model.subgraphs[0]
    at = {tensor.name.decode(): i for i, tensor in enumerate(graph.tensors)}
    graph.outputs = np.array([at[name] for name in names], np.int32)
    return packed_model(model)


def in_litert(resolver: str) -> Callable[[bytes, Trace, list[str]], Predict]:
    """How LiteRT runs a file with one of its sets of kernels, on one thread."""

    def prepare(content: bytes, steps: Trace, names: list[str]) -> Predict:
        interpreters = library("ai_edge_litert.interpreter")
        interpreter = interpreters.Interpreter(
            model_content=showing(content, names),
            num_threads=1,
            experimental_op_resolver_type=getattr(interpreters.OpResolverType, resolver),
        )
        interpreter.allocate_tensors()

        def predict(x: NDArray[np.float32]) -> list[NDArray[Any]]:
            (given,) = interpreter.get_input_details()
            if given["shape"][0] != len(x):
                interpreter.resize_tensor_input(given["index"], (len(x), *given["shape"][1:]))
                interpreter.allocate_tensors()
            interpreter.set_tensor(given["index"], fed(steps, x, given["dtype"]))
            interpreter.invoke()
            found = [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]
            return answered(steps, names, found)

        return predict

    return prepare


def in_micro(content: bytes, steps: Trace, names: list[str]) -> Predict:
    """TFLite Micro, sample by sample, as it runs where there is no memory for more."""
    runtime = library("tflite_micro.python.tflite_micro.runtime")
    interpreter = runtime.Interpreter.from_bytes(showing(content, names), arena_size=ARENA)

    def predict(x: NDArray[np.float32]) -> list[NDArray[Any]]:
        found: list[list[NDArray[Any]]] = []
        for sample in fed(steps, x, interpreter.get_input_details(0)["dtype"]):
            interpreter.set_input(sample[None], 0)
            interpreter.invoke()
            found.append([np.array(interpreter.get_output(i)) for i in range(len(names))])
        return answered(steps, names, [np.concatenate(samples) for samples in zip(*found, strict=True)])

    return predict


def least_arena(content: bytes) -> int:
    """The fewest bytes, in steps of 64, with which TFLite Micro takes a file here, where pointers have 8 bytes.

    Each size is tried in a process of its own: one that is too small may end it.
    """
    library("tflite_micro.python.tflite_micro.runtime")

    def fits(size: int) -> bool:
        command = [sys.executable, "-c", TAKE, str(size)]
        return subprocess.run(command, input=content, capture_output=True).returncode == 0

    high = 16
    while not fits(high * 64):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle * 64) else (middle, high)
    return high * 64


TAKE = """
import sys
from tflite_micro.python.tflite_micro.runtime import Interpreter
Interpreter.from_bytes(sys.stdin.buffer.read(), arena_size=int(sys.argv[1]))
"""
ARENA = 1 << 24  # bytes for the tensors of any network that is compared here


def fed(steps: Trace, x: NDArray[np.float32], dtype: Any) -> NDArray[Any]:
    """A batch as the file takes it: floats, or their codes as int8."""
    if dtype == np.float32:
        return Layout(steps).in_file(steps.x, x)
    first = steps.steps[0].y
    assert first.qparams is not None
    return Layout(steps).in_file(first, stored(quantize(x, first.qparams), first.qparams))


def answered(steps: Trace, names: list[str], found: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Arrays of the file as the network has them."""
    values = {step.y.name: step.y for step in steps.steps}
    return [Layout(steps).from_file(values[name], array) for name, array in zip(names, found, strict=True)]
