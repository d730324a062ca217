"""What a model's file says of itself before anything is quantized: its inputs, and its bytes on the disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinytorch.deployment.extras import library
from tinytorch.deployment.published.reading import read_onnx


@dataclass(frozen=True)
class Input:
    """An input of a model. shape: None where a size is free; of an input without a shape it is unknown, None."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None

    @property
    def dims(self) -> tuple[int | None, ...]:
        """The shape, as a tuple in every case."""
        if self.shape is None:
            raise ValueError(f"the model does not say how many axes its input {self.name} has: --shape {self.name}=...")
        return self.shape

    def __str__(self) -> str:
        sizes = "?" if self.shape is None else ", ".join("any" if n is None else str(n) for n in self.shape)
        return f"{self.name} ({self.dtype} [{sizes}])"


@dataclass(frozen=True)
class ModelFile:
    """A model on the disk. files: its own, and those in which its weights lie."""

    path: Path
    inputs: tuple[Input, ...]
    files: tuple[Path, ...]

    @property
    def nbytes(self) -> int:
        return sum(file.stat().st_size for file in self.files)

    def check_spared(self, written: list[Path]) -> None:
        """ValueError if one of the files that will be written holds the model, or weights of it."""
        for path in written:
            if any(path.exists() and file.exists() and path.samefile(file) for file in self.files):
                raise ValueError(f"{path} holds weights of {self.path.name}, which stays as it is; name another file")


def model_file(path: Path) -> ModelFile:
    """Reads it without the weights that lie in other files. ValueError, in a sentence, for what is no ONNX model."""
    onnx = library("onnx")
    try:
        model = onnx.load(path, load_external_data=False)
    except library("google.protobuf.message").DecodeError:
        model = onnx.ModelProto()
    if not model.graph.node:
        read_onnx(path)  # says what is wrong with it
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_input(value) for value in model.graph.input if value.name not in weights)
    for value in model.graph.output:
        _check_array("output", value)
    places = {entry.value for t in model.graph.initializer for entry in t.external_data if entry.key == "location"}
    return ModelFile(path, inputs, (path, *(path.with_name(place) for place in sorted(places))))


def _check_array(kind: str, value: Any) -> None:
    if value.type.WhichOneof("value") not in (None, "tensor_type"):  # a sequence or a map, as of scikit-learn's ZipMap
        raise ValueError(f"{kind} {value.name} of the model is no array: export it without")


def _input(value: Any) -> Input:
    tensor = value.type.tensor_type
    _check_array("input", value)
    if not tensor.elem_type:
        raise ValueError(f"the model does not say which type its input {value.name} has, and no engine would take it")
    dtype = np.dtype(library("onnx").helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    known = tensor.HasField("shape")
    shape = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim)
    return Input(value.name, dtype, shape if known else None)
