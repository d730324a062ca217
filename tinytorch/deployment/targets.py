"""What a network can be written for: each with its writer, the engine that runs the file here, and its rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tinytorch.core import Module
from tinytorch.deployment.onnx_file import to_onnx
from tinytorch.deployment.onnx_targets import tensorrt_faults
from tinytorch.deployment.tflite_file import to_tflite
from tinytorch.deployment.tflite_targets import edgetpu_faults, micro_faults

__all__ = ["TARGETS", "Target"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Target:
    """write: a model and the shape of a sample -> the file's bytes. ending: of its name. library: what write needs.

    engine: what runs it here, by its name in ENGINES; None: nothing does. faults: what breaks the target's rules.
    codes_out: the model must end in codes. zero_points: activations may have other zero points than 0.
    """

    write: Callable[[Module, Shape], bytes]
    ending: str
    library: str
    engine: str | None = None
    faults: Callable[[bytes], list[str]] = lambda content: []
    codes_out: bool = False
    zero_points: bool = True


def _onnx(target: str) -> Callable[[Module, Shape], bytes]:
    return lambda model, shape: bytes(to_onnx(model, shape, target=target).SerializeToString())


def _int8(model: Module, shape: Shape) -> bytes:
    return to_tflite(model, shape, "int8")


def _tensorrt_faults(content: bytes) -> list[str]:
    from tinytorch.deployment.onnx_engines import as_onnx

    return tensorrt_faults(as_onnx(content))


TARGETS: Mapping[str, Target] = {
    "onnx": Target(_onnx("onnxruntime"), ".onnx", "onnx", "onnxruntime"),
    "tensorrt": Target(_onnx("tensorrt"), ".onnx", "onnx", None, _tensorrt_faults, zero_points=False),
    "tflite": Target(to_tflite, ".tflite", "flatbuffers", "litert", codes_out=True),
    "tflite-micro": Target(_int8, ".tflite", "flatbuffers", "tflite micro", micro_faults, codes_out=True),
    "edgetpu": Target(_int8, ".tflite", "flatbuffers", "litert", edgetpu_faults, codes_out=True),
}
