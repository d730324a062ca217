"""A quantized network as one C99 file: no allocation, no library, its weights constants; for a microcontroller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from tinytorch.core import Module
from tinytorch.deployment.arena import Lifetime, placed
from tinytorch.deployment.c_kernels import DEQUANTIZE, QUANTIZE, kernels
from tinytorch.deployment.steps import (
    Add,
    Convolution,
    Dequantize,
    FlattenCodes,
    FloatLayer,
    MaxPool,
    Product,
    Quantize,
    ReluOnCodes,
    Step,
    Table,
    Trace,
    Value,
    computes_in_float,
    pair,
    trace,
)
from tinytorch.deployment.stored import int8_limits, int8_zero_point, qparams_of, stored
from tinytorch.quantization import quantize_multiplier

__all__ = ["CFiles", "CRounding", "to_c"]

CRounding: TypeAlias = Literal["float", "gemmlowp", "single"]


@dataclass(frozen=True)
class CFiles:
    """A source file and its header. constants: bytes of numbers that go to flash. arena: bytes of RAM for codes."""

    name: str
    source: str
    header: str
    constants: int
    arena: int

    def write(self, folder: Path) -> None:
        """name.c and name.h in the folder."""
        for ending, text in (("c", self.source), ("h", self.header)):
            (folder / f"{self.name}.{ending}").write_text(text, encoding="utf-8", newline="\n")


def to_c(model: Module, input_shape: tuple[int, ...], name: str = "network", rounding: CRounding = "float") -> CFiles:
    """The model as C99, one sample a call: codes as int8, in the network's own order, channels first.

    rounding: how sums become codes: "float" as the network does; "gemmlowp" and "single" by integers, as TFLite Micro
    does in its two builds. A model that ends in floats gives floats.

    ValueError for a rounding that there is not, or a name that is none in C; TypeError for a layer that has no
    counterpart.
    """
    if rounding not in get_args(CRounding):
        raise ValueError(f"rounding must be one of {', '.join(get_args(CRounding))}, got {rounding!r}")
    if not (isinstance(name, str) and name.isidentifier() and name.isascii()):
        raise ValueError(f"name must be a name in C, got {name!r}")
    return _Writer(trace(model, np.zeros((1, *input_shape), np.float32)), name, rounding).written()


class _Writer:
    """Writes steps as calls. constants: the definitions of arrays; at: what stands for a value in a call."""

    def __init__(self, steps: Trace, name: str, rounding: CRounding) -> None:
        body = list(steps.steps)
        self.first = _first_codes(body)
        if floats := [step for step in body if isinstance(step, FloatLayer)]:
            raise TypeError(f"{computes_in_float(floats[0])}, which the C file cannot")
        self.last = body.pop() if isinstance(body[-1], Dequantize) else None
        self.body, self.y = body[1:], (self.last.x if self.last else steps.y)
        self.name, self.rounding = name, rounding
        self.constants: list[str] = []
        self.nbytes = 0
        self.called: set[str] = set()
        self.at, self.arena = self.places()

    def places(self) -> tuple[dict[str, str], int]:
        """An expression for every value, and the bytes of the arena: input and output are the caller's."""
        same = {step.y.name: step.x.name for step in self.body if isinstance(step, FlattenCodes)}

        def root(name: str) -> str:
            return root(same[name]) if name in same else name

        made = {root(step.y.name): i for i, step in reversed(list(enumerate(self.body)))}
        read = {root(value.name): i for i, step in enumerate(self.body) for value in _read(step)}
        sizes = {root(step.y.name): prod(step.y.shape) for step in self.body}
        ends = {root(self.first.y.name): "input", root(self.y.name): "output"}
        inner = [Lifetime(n, sizes[n], made[n], read.get(n, made[n])) for n in sizes if n not in ends]
        offsets, size = placed(inner)
        at = {n: f"arena + {offset}" if offset else "arena" for n, offset in offsets.items()} | ends
        return {name: at[root(name)] for name in [self.first.y.name, *(step.y.name for step in self.body)]}, size

    def written(self) -> CFiles:
        calls = [call for i, step in enumerate(self.body) for call in self.call(f"{self.name}_{i}", step)]
        x, out = qparams_of(self.first.y), "float" if self.y.qparams is None else "int8_t"
        lowest, highest = int8_limits(x)
        sizes = {"in": prod(self.first.y.shape), "out": prod(self.y.shape)}
        quantize = QUANTIZE.format(
            name=self.name, size=sizes["in"], scale=_c(x.scale), zero=int8_zero_point(x), lowest=lowest, highest=highest
        )
        dequantize = ""
        if self.y.qparams is not None:
            y = self.y.qparams
            dequantize = DEQUANTIZE.format(
                name=self.name, size=sizes["out"], scale=_c(y.scale), zero=int8_zero_point(y)
            )
        if self.at[self.first.y.name] == self.at[self.y.name]:
            calls.append(f"for (int32_t i = 0; i < {sizes['out']}; i++) output[i] = input[i];")
        arena = f"static int8_t arena[{self.arena}];\n" if self.arena else ""
        body = "".join(f"    {call}\n" for call in calls)
        source = "\n".join(
            [
                f'/* Written by tinytorch {version("tinytorch")}. */\n\n#include "{self.name}.h"\n',
                kernels(self.called, self.rounding),
                "".join(self.constants) + arena,
                f"void {self.name}(const int8_t *input, {out} *output) {{\n{body}}}\n",
                "\n".join(part for part in (quantize, dequantize) if part),
            ]
        )
        return CFiles(self.name, source, self.header(sizes, out), self.nbytes, self.arena)

    def header(self, sizes: Mapping[str, int], out: str) -> str:
        upper, x = self.name.upper(), f"{self.name}_quantize(const float *x, int8_t *input)"
        lines = [
            f"#ifndef {upper}_H\n#define {upper}_H\n\n#include <stdint.h>\n",
            f"#define {upper}_INPUTS {sizes['in']} /* {_shape(self.first.y)} */",
            f"#define {upper}_OUTPUTS {sizes['out']} /* {_shape(self.y)} */",
            f"#define {upper}_ARENA {self.arena} /* bytes of RAM, beside input and output */\n",
            f"/* Floats to codes. */\nvoid {x};\n",
            f"/* One sample. Not for two threads at once: the arena is one. */\n"
            f"void {self.name}(const int8_t *input, {out} *output);\n",
        ]
        if out == "int8_t":
            lines.append(f"/* Codes to floats. */\nvoid {self.name}_dequantize(const int8_t *output, float *y);\n")
        return "\n".join([*lines, "#endif\n"])

    def call(self, prefix: str, step: Step) -> list[str]:
        if step.y.qparams is None and step.y.name != self.y.name:
            raise TypeError(f"{step.layer or 'the model'} gives floats to another layer, which the C file does not")
        return [f"/* {step.layer or 'the model'} */", *CALLS[type(step)](self, prefix, step)]

    # Constants

    def array(self, name: str, kind: str, values: list[str], nbytes: int) -> str:
        lines = [", ".join(values[i : i + 16]) for i in range(0, len(values), 16)]
        text = ",\n    ".join(lines)
        self.constants.append(f"static const {kind} {name}[{len(values)}] = {{\n    {text}\n}};\n")
        self.nbytes += nbytes
        return name

    def integers(self, name: str, kind: str, array: NDArray[Any]) -> str:
        return self.array(name, kind, [str(v) for v in array.ravel().tolist()], array.nbytes)

    def struct(self, name: str, kind: str, fields: Mapping[str, Any]) -> str:
        """A constant of a struct: a pair as {a, b}."""
        said = ", ".join(f".{key} = {_field(value)}" for key, value in fields.items())
        self.constants.append(f"static const {kind} {name} = {{{said}}};\n")
        return f"&{name}"

    def output(self, prefix: str, step: Product | Convolution) -> str:
        """The struct that says how sums become codes."""
        y, scale = qparams_of(step.y), step.weight.qparams.scale.reshape(-1)
        if self.rounding == "float":
            m = (qparams_of(step.x).scale * scale) / y.scale
            values, size = [f"{_c(v)}f" for v in m], 4
        else:
            exact = np.float64(qparams_of(step.x).scale) * scale.astype(np.float64) / np.float64(y.scale)
            q31, exponent = quantize_multiplier(exact)
            values, size = [f"{{{q}, {e}}}" for q, e in zip(q31.tolist(), exponent.tolist(), strict=True)], 8
        name = self.array(f"{prefix}_multipliers", "multiplier", values, size * len(values))
        lowest, highest = int8_limits(y)
        each = {"m": name, "step": int(len(values) > 1), "zero": int8_zero_point(y)}
        return self.struct(f"{prefix}_out", "output_codes", each | {"lowest": lowest, "highest": highest})

    def weights(self, prefix: str, step: Product | Convolution) -> dict[str, str]:
        return {
            "weight": self.integers(f"{prefix}_weight", "int8_t", step.weight.q.astype(np.int8)),
            "bias": self.integers(f"{prefix}_bias", "int32_t", step.bias),
        }

    def sums(self, kernel: str, prefix: str, step: Product | Convolution, struct: str) -> list[str]:
        """The call of a product or convolution, to codes or floats."""
        x, y = self.at[step.x.name], self.at[step.y.name]
        if step.y.qparams is not None:
            self.called.add(kernel)
            return [f"{kernel}({x}, {y}, {struct}, {self.output(prefix, step)});"]
        self.called.add(f"{kernel}_to_float")
        unit = qparams_of(step.x).scale * step.weight.qparams.scale.reshape(-1)
        name = self.array(f"{prefix}_unit", "float", [f"{_c(v)}f" for v in unit], unit.nbytes)
        return [f"{kernel}_to_float({x}, {y}, {struct}, {name}, {int(len(unit) > 1)});"]


def _first_codes(body: list[Step]) -> Step:
    first = body[0] if body else None
    if not isinstance(first, Quantize):
        called = computes_in_float(first) if isinstance(first, FloatLayer) else "the model computes in float"
        raise TypeError(f"{called}: the C file begins with a layer on codes")
    return first


def _read(step: Step) -> list[Value]:
    return [step.x, step.other] if isinstance(step, Add) else [step.x]


def _c(x: np.floating[Any] | NDArray[Any]) -> str:
    """A float32 in C, of which no bit is lost; the caller adds the f."""
    text = np.format_float_scientific(np.float32(x), unique=True, trim="0")
    return text


def _field(value: Any) -> str:
    return "{" + ", ".join(map(str, value)) + "}" if isinstance(value, tuple) else str(value)


def _shape(value: Value) -> str:
    return " x ".join(map(str, value.shape))


def _product(writer: _Writer, prefix: str, step: Product) -> list[str]:
    n_out, n_in = step.weight.shape
    fields = writer.weights(prefix, step) | {
        "rows": prod(step.x.shape[:-1]),
        "n_in": n_in,
        "n_out": n_out,
        "x_zero": int8_zero_point(qparams_of(step.x)),
    }
    return writer.sums("product", prefix, step, writer.struct(prefix, "product_step", fields))


def _sides(value: Value, names: tuple[str, str]) -> dict[str, int]:
    return dict(zip(names, pair(value.shape[1:], 1), strict=True))


def _convolution(writer: _Writer, prefix: str, step: Convolution) -> list[str]:
    fields = (
        writer.weights(prefix, step)
        | {"in": step.x.shape[0], "out": len(step.bias), "groups": step.groups}
        | _sides(step.x, ("height", "width"))
        | _sides(step.y, ("rows", "columns"))
        | {
            "kernel": pair(step.weight.shape[2:], 1),
            "stride": pair(step.stride, 1),
            "padding": pair(step.padding, 0),
            "dilation": pair(step.dilation, 1),
            "x_zero": int8_zero_point(qparams_of(step.x)),
        }
    )
    return writer.sums("convolution", prefix, step, writer.struct(prefix, "convolution_step", fields))


def _max_pool(writer: _Writer, prefix: str, step: MaxPool) -> list[str]:
    writer.called.add("max_pool")
    fields = (
        {"channels": step.x.shape[0]}
        | _sides(step.x, ("height", "width"))
        | _sides(step.y, ("rows", "columns"))
        | {"size": pair(step.size, 1), "stride": pair(step.stride, 1), "padding": pair(step.padding, 0)}
    )
    struct = writer.struct(prefix, "pool_step", fields)
    return [f"max_pool({writer.at[step.x.name]}, {writer.at[step.y.name]}, {struct});"]


def _relu(writer: _Writer, prefix: str, step: ReluOnCodes) -> list[str]:
    writer.called.add("relu")
    zero = int8_zero_point(qparams_of(step.x))
    return [f"relu({writer.at[step.x.name]}, {writer.at[step.y.name]}, {prod(step.x.shape)}, {zero});"]


def _table(writer: _Writer, prefix: str, step: Table) -> list[str]:
    name, kernel = f"{prefix}_answers", "table" if step.y.qparams is not None else "table_to_float"
    writer.called.add(kernel)
    if step.y.qparams is None:
        answers = writer.array(name, "float", [f"{_c(v)}f" for v in step.answers], step.answers.nbytes)
    else:
        answers = writer.integers(name, "int8_t", stored(step.answers, step.y.qparams))
    x, y, (lowest, _) = writer.at[step.x.name], writer.at[step.y.name], int8_limits(qparams_of(step.x))
    return [f"{kernel}({x}, {y}, {prod(step.x.shape)}, {answers}, {lowest});"]


def _add(writer: _Writer, prefix: str, step: Add) -> list[str]:
    writer.called.add("add")
    y, (lowest, highest) = qparams_of(step.y), int8_limits(qparams_of(step.y))
    fields = {
        "x_ratio": f"{_c(qparams_of(step.x).scale / y.scale)}f",
        "other_ratio": f"{_c(qparams_of(step.other).scale / y.scale)}f",
        "n": prod(step.y.shape),
        "x_zero": int8_zero_point(qparams_of(step.x)),
        "other_zero": int8_zero_point(qparams_of(step.other)),
        "zero": int8_zero_point(y),
        "lowest": lowest,
        "highest": highest,
    }
    x, other, out = (writer.at[value.name] for value in (step.x, step.other, step.y))
    return [f"add({x}, {other}, {out}, {writer.struct(prefix, 'add_step', fields)});"]


CALLS: Mapping[type[Step], Callable[[_Writer, str, Any], list[str]]] = {
    Add: _add,
    Convolution: _convolution,
    FlattenCodes: lambda writer, prefix, step: [],
    MaxPool: _max_pool,
    Product: _product,
    ReluOnCodes: _relu,
    Table: _table,
}
