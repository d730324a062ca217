"""An ONNX graph under construction: nodes, constants, and codes as the file stores them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinytorch.deployment.extras import library
from tinytorch.deployment.steps import Convolution, Product, Value
from tinytorch.quantization import IntType, QParams, QuantizedTensor, pack_bits

Form: TypeAlias = Literal["qdq", "qoperator", "standard"]
Codes: TypeAlias = Literal["uint8", "int8"]
MICROSOFT = "com.microsoft"


class Graph:
    """Writes steps as nodes. Names of arrays are those of the steps' values; "output" is the last one's."""

    def __init__(self, form: Form, codes: Codes, float_bias: bool = False) -> None:
        self.form, self.codes, self.float_bias = form, codes, float_bias
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.opset = 13  # per-channel QuantizeLinear, integer Clip and Max

    def node(self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(self.made(kind, inputs, [output], domain=domain, **attributes))
        return output

    def made(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
        return library("onnx").helper.make_node(kind, inputs, outputs, f"{outputs[0]}/{kind}", **attributes)

    def constant(self, name: str, array: NDArray[Any]) -> str:
        self.constants[name] = library("onnx").numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    # Codes

    def stored(self, codes: NDArray[Any], int_type: IntType) -> NDArray[Any]:
        """Codes or zero points of a type as this file stores them: int8 or uint8, the one 128 below the other."""
        shift = 128 * (int_type.signed - (self.codes == "int8")) if int_type.signed else -128 * (self.codes == "int8")
        return (np.asarray(codes).astype(np.int16) + shift).astype(self.codes)

    def params(self, name: str, p: QParams) -> list[str]:
        """Scale and zero point of an activation, as two constants."""
        zero_point = self.constant(f"{name}.zero_point", self.stored(p.zero_point, p.int_type))
        return [self.constant(f"{name}.scale", p.scale), zero_point]

    def clipped(self, y: Value, unclipped: Callable[[str], str]) -> str:
        """What `unclipped` writes under a name, within the codes of y's type, where a byte holds more than these."""
        assert y.qparams is not None
        t = y.qparams.int_type
        lowest, highest = self.stored(np.array([t.qmin, t.qmax]), t)
        limits = np.iinfo(self.codes)
        if (lowest, highest) == (limits.min, limits.max):
            return unclipped(y.name)
        ends = [self.constant(f"{y.name}.{end}", code) for end, code in (("lowest", lowest), ("highest", highest))]
        return self.node("Clip", [unclipped(f"{y.name}.unclipped"), *ends], y.name)

    def quantized(self, x: str, y: Value) -> str:
        assert y.qparams is not None
        params = self.params(y.name, y.qparams)
        return self.clipped(y, lambda name: self.node("QuantizeLinear", [x, *params], name))

    def dequantized(self, x: Value, name: str) -> str:
        assert x.qparams is not None
        return self.node("DequantizeLinear", [x.name, *self.params(x.name, x.qparams)], name)

    def dequantized_weight(self, layer: str, weight: QuantizedTensor, transposed: bool = False) -> str:
        """A matrix [rows, columns] of stored codes as floats, or transposed. Types of 4 bits and fewer take 4 bits."""
        p, group = weight.qparams, weight.group_size
        q = weight.q
        scale: NDArray[Any] = p.scale
        zero_point: NDArray[Any] = np.broadcast_to(p.zero_point, scale.shape)
        axis: dict[str, Any] = {}
        if group is not None:  # [rows, groups, group_size] -> [rows, columns], without what fills the last group
            q = q.reshape(len(q), -1)[:, : weight.shape[1]]
            scale, zero_point = scale.reshape(len(q), -1), zero_point.reshape(len(q), -1)
            axis = {"axis": int(not transposed), "block_size": group}
            self.opset = 21
        elif scale.ndim:
            axis = {"axis": int(transposed) if scale.shape[0] > 1 else int(not transposed)}
            scale, zero_point = scale.ravel(), zero_point.ravel()
        if transposed:
            q, scale, zero_point = q.T, scale.T, zero_point.T
        names = [
            self.integers(f"{layer}.weight.codes", q, p.int_type),
            self.constant(f"{layer}.weight.scale", scale),
            self.integers(f"{layer}.weight.zero_point", zero_point, p.int_type),
        ]
        return self.node("DequantizeLinear", names, f"{layer}.weight.float", **axis)

    def integers(self, name: str, codes: NDArray[Any], int_type: IntType) -> str:
        """Codes of a weight as they are, two in a byte where a code has at most 4 bits."""
        onnx = library("onnx")
        if int_type.bits > 4:
            return self.constant(name, codes.astype(int_type.storage))
        self.opset = 21
        stored = onnx.TensorProto.INT4 if int_type.signed else onnx.TensorProto.UINT4
        pairs = pack_bits(np.ascontiguousarray(codes, int_type.storage), 4).tobytes()
        self.constants[name] = onnx.helper.make_tensor(name, stored, codes.shape, pairs, raw=True)
        return name

    # Products

    def weights(self, step: Product | Convolution) -> tuple[list[str], NDArray[np.float32], dict[str, Any]]:
        """[codes, scale, zero point] of the weight; what a unit of the sum is worth; the axis of the scales, if any."""
        assert step.x.qparams is not None
        name, scale = f"{step.layer or 'model'}.weight", step.weight.qparams.scale
        scale = scale.reshape(-1) if scale.ndim else scale
        zeros = np.zeros(scale.shape, np.int8)
        parts: dict[str, NDArray[Any]] = {"": step.weight.q.astype(np.int8), ".scale": scale, ".zero_point": zeros}
        names = [self.constant(name + part, array) for part, array in parts.items()]
        return names, step.x.qparams.scale * scale, {"axis": 0} if scale.ndim else {}

    def bias(self, step: Product | Convolution) -> str:
        return self.constant(f"{step.layer or 'model'}.bias", step.bias)

    def windows(self, step: Convolution) -> dict[str, Any]:
        return {
            "kernel_shape": step.weight.shape[2:],
            "strides": step.stride,
            "pads": step.padding * 2,
            "dilations": step.dilation,
            "group": step.groups,
        }

    def in_floats(self, step: Product | Convolution, operator: str, x: Value, y: str, **attributes: Any) -> str:
        """A float operator on dequantized codes, weights and bias."""
        names, unit, axis = self.weights(step)
        weight = self.node("DequantizeLinear", names, f"{step.layer or 'model'}.weight.float", **axis)
        return self.node(
            operator, [self.dequantized(x, f"{y}.x"), weight, self.dequantized_bias(step, unit, axis)], y, **attributes
        )

    def dequantized_bias(self, step: Product | Convolution, unit: NDArray[np.float32], axis: dict[str, Any]) -> str:
        """The bias in float32, of which a file may keep the codes."""
        name = f"{step.layer or 'model'}.bias"
        if self.float_bias:
            return self.constant(name, step.bias.astype(np.float32) * unit)
        zeros = self.constant(f"{name}.zero_point", np.zeros(unit.shape, np.int32))
        codes = [self.bias(step), self.constant(f"{name}.scale", unit), zeros]
        return self.node("DequantizeLinear", codes, f"{name}.float", **axis)

    def summed(self, step: Product | Convolution, operator: str, x: str, y: str, **attributes: Any) -> str:
        """Integer sums plus the bias, in float32 times what a unit is worth."""
        (weight, *_), unit, _ = self.weights(step)
        assert step.x.qparams is not None
        layer = step.layer or "model"
        zero = self.params(step.x.name, step.x.qparams)[1]
        along = (-1,) + (1,) * (step.weight.ndim - 2)
        if operator == "MatMulInteger":
            self.constant(weight, step.weight.q.T.astype(np.int8))
        sums = self.node(operator, [x, weight, zero], f"{layer}.sums", **attributes)
        bias = self.constant(f"{layer}.bias", step.bias.reshape(along))
        whole = self.node("Cast", [self.node("Add", [sums, bias], f"{layer}.biased")], f"{layer}.whole", to=1)
        unit = unit.reshape(along) if unit.ndim else unit
        return self.node("Mul", [whole, self.constant(f"{layer}.unit", unit)], y)
