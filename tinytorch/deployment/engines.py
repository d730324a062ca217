"""The engines that can run a file here, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tinytorch.deployment import onnx_engines, tflite_engines
from tinytorch.deployment.running import Rounding, RoundingOf
from tinytorch.deployment.steps import Convolution, Predict, Product, Step, Trace


@dataclass(frozen=True)
class Engine:
    """What runs files. library: the module that it needs. opened: a file of any form as the other two take it.

    prepare: of such a file, a network's steps, and names of its values, what gives these for a batch. rounding: of its
    products.
    """

    library: str
    opened: Callable[[Any], Any]
    values_in: Callable[[Any], set[str]]
    prepare: Callable[[Any, Trace, list[str]], Predict]
    rounding: Rounding | RoundingOf = "float"


def _of_reference_kernels(step: Step) -> Rounding:
    return "single" if isinstance(step, Product) else "gemmlowp"


def _without_delegates(step: Step) -> Rounding:
    """Of single channels some kernels round as "gemmlowp" does and some as "ruy": a code in thousands is another."""
    single = isinstance(step, Convolution) and 1 < step.groups == step.x.shape[0]
    return "gemmlowp" if single else "ruy"


ONNX = (onnx_engines.as_onnx, onnx_engines.values_in)
TFLITE = (tflite_engines.as_tflite, tflite_engines.values_in)
LITERT, MICRO = "ai_edge_litert.interpreter", "tflite_micro.python.tflite_micro.runtime"
ENGINES: Mapping[str, Engine] = {
    "onnxruntime": Engine("onnxruntime", *ONNX, onnx_engines.in_onnxruntime),
    "reference": Engine("onnx.reference", *ONNX, onnx_engines.in_reference),
    "litert": Engine(LITERT, *TFLITE, tflite_engines.in_litert("BUILTIN")),
    "litert reference": Engine(LITERT, *TFLITE, tflite_engines.in_litert("BUILTIN_REF"), _of_reference_kernels),
    "litert without delegates": Engine(
        LITERT, *TFLITE, tflite_engines.in_litert("BUILTIN_WITHOUT_DEFAULT_DELEGATES"), _without_delegates
    ),
    "tflite micro": Engine(MICRO, *TFLITE, tflite_engines.in_micro, "gemmlowp"),
}
