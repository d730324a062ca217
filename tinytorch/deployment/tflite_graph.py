"""A TFLite graph under construction: tensors, buffers and operators, packed as a FlatBuffer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.deployment.extras import library
from tinytorch.deployment.stored import int8_zero_point
from tinytorch.quantization import QParams

Shape = tuple[int, ...]


def schema() -> Any:
    """The classes of TFLite's schema, which come with LiteRT."""
    library("flatbuffers")
    return library("ai_edge_litert.schema_py_generated")


@dataclass(frozen=True)
class Operator:
    """An operator of the schema, by its name there, and the lowest version of it that does what is asked.

    options: the name of its table of options, without "Options"; None: it has none.
    """

    name: str
    version: int = 1
    options: str | None = None


class TfliteGraph:
    """batch: of every tensor."""

    def __init__(self, batch: int) -> None:
        self.batch, self.schema = batch, schema()
        self.tensors: list[Any] = []
        self.buffers: list[Any] = [self.schema.BufferT()]  # the first one is empty, for what is computed
        self.operators: list[Any] = []
        self.known: list[Operator] = []

    def tensor(
        self,
        name: str,
        shape: Shape,
        dtype: str,
        scale: NDArray[np.float32] | None = None,
        zero_point: int = 0,
        axis: int = 0,
        data: NDArray[Any] | None = None,
    ) -> int:
        """The index of a new tensor. scale: () or one for each slice along the axis. data: of a constant."""
        s, quantization, buffer = self.schema, None, 0
        if scale is not None:
            scales = np.atleast_1d(scale).astype(np.float32)
            zeros = np.full(len(scales), zero_point, np.int64)
            quantization = s.QuantizationParametersT(scale=scales, zeroPoint=zeros, quantizedDimension=axis)
        if data is not None:
            buffer = len(self.buffers)
            self.buffers.append(s.BufferT(data=np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)))
        made = s.TensorT(
            shape=np.array(shape, np.int32),
            type=getattr(s.TensorType, dtype),
            buffer=buffer,
            name=name.encode(),
            quantization=quantization,
        )
        self.tensors.append(made)
        return len(self.tensors) - 1

    def rename(self, name: str, new: str) -> None:
        next(each for each in self.tensors if each.name == name.encode()).name = new.encode()

    def codes(self, name: str, shape: Shape, p: QParams) -> int:
        """A new tensor of codes, of one batch of this shape."""
        return self.tensor(name, (self.batch, *shape), "INT8", p.scale, int8_zero_point(p))

    def floats(self, name: str, shape: Shape) -> int:
        return self.tensor(name, (self.batch, *shape), "FLOAT32")

    def integers(self, name: str, values: Any) -> int:
        """A constant of int32 that tells an operator something."""
        array = np.asarray(values, np.int32)
        return self.tensor(name, array.shape, "INT32", data=array)

    def add(self, operator: Operator, inputs: list[int], output: int, **options: Any) -> int:
        """Write an operator; the index of its output."""
        s = self.schema
        if operator not in self.known:
            self.known.append(operator)
        made = s.OperatorT(
            opcodeIndex=self.known.index(operator),
            inputs=np.array(inputs, np.int32),
            outputs=np.array([output], np.int32),
        )
        if operator.options is not None:
            made.builtinOptionsType = getattr(s.BuiltinOptions, f"{operator.options}Options")
            made.builtinOptions = getattr(s, f"{operator.options}OptionsT")(**options)
        self.operators.append(made)
        return output

    def packed(self, x: int, y: int, description: str) -> bytes:
        """The file."""
        s = self.schema
        graph = s.SubGraphT(
            tensors=self.tensors,
            inputs=np.array([x], np.int32),
            outputs=np.array([y], np.int32),
            operators=self.operators,
            name=b"main",
        )
        codes = [getattr(s.BuiltinOperator, each.name) for each in self.known]
        model = s.ModelT(
            version=3,
            operatorCodes=[
                s.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), version=each.version, builtinCode=code)
                for code, each in zip(codes, self.known, strict=True)
            ],
            subgraphs=[graph],
            description=description.encode(),
            buffers=self.buffers,
        )
        return packed_model(model)


def packed_model(model: Any) -> bytes:
    """The bytes of a model of the schema's classes."""
    builder = library("flatbuffers").Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
