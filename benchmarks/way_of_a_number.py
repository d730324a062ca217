"""The drawing of a number's way through a quantized layer: every number in it is computed by the package.

`python -m benchmarks.figures` writes it to docs/images/way_of_a_number.svg.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from tinytorch.quantization import choose_qparams, dequantize, integer_matmul, quantize, requantize

TEXT, REAL, CODE, SUM = "#767b82", "#3f8fd2", "#d9822b", "#3a9d5d"  # each is readable on white and on near-black
WIDTH, LEFT, BOX, STEP = 620, 24, 572, 86
STYLE = f"""\
text {{ fill: {TEXT}; font: 15px system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }}
.number {{ font: 600 17px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
.call {{ font: 14px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
"""


@dataclass(frozen=True)
class Station:
    """A box: what lies there, its numbers, its colour; and the call that leads to the next one."""

    kind: str
    numbers: str
    colour: str
    call: str = ""


def stations() -> list[Station]:
    """Four reals times four weights: in float32 beside the same in int8."""
    x, w = np.array([-1, 0, 0.5, 2], np.float32), np.array([0.5, -0.25, 1, 0.75], np.float32)
    of_x, of_w = choose_qparams(-1.0, 2.0), choose_qparams(-1.0, 1.0, symmetric=True)
    of_y = choose_qparams(-2.0, 2.0)
    qx, qw = quantize(x, of_x), quantize(w, of_w)
    acc = integer_matmul(qx[None], qw[:, None], of_x.zero_point)
    q = requantize(acc, of_x.scale * of_w.scale / of_y.scale, of_y, rounding="single")
    y = dequantize(q, of_y)
    choice = f"scale {of_x.scale:.5f}, zero point {of_x.zero_point}"
    return [
        Station("x, float32", listed(x), REAL, f"quantize: {choice}"),
        Station("codes, int8", listed(qx), CODE, f"integer_matmul by the weights' codes {listed(qw)}"),
        Station("sum, int32", listed(acc[0]), SUM, "requantize: one multiplication and one shift, of integers"),
        Station("code, int8", listed(q[0]), CODE, f"dequantize: scale {of_y.scale:.5f}, zero point {of_y.zero_point}"),
        Station("y, float32", f"{y.item():.4f}   (without quantization: {x @ w:.4f})", REAL),
    ]


def listed(numbers: Iterable[float] | NDArray[np.generic]) -> str:
    return "[" + ", ".join(f"{float(number):g}" for number in numbers) + "]"


def svg() -> str:
    """The drawing as a file's text."""
    boxes = stations()
    height = STEP * (len(boxes) - 1) + 64
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title">',
        '<title id="title">The way of a number: reals, int8 codes, an int32 sum, a code, a real</title>',
        f"<style>{STYLE}</style>",
    ]
    for i, station in enumerate(boxes):
        top = 8 + STEP * i
        parts += [
            f'<rect x="{LEFT}" y="{top}" width="{BOX}" height="44" rx="8" fill="{station.colour}" fill-opacity="0.12" '
            f'stroke="{station.colour}" stroke-width="1.5"/>',
            f'<text x="{LEFT + 16}" y="{top + 27}">{escape(station.kind)}</text>',
            f'<text class="number" x="{LEFT + 130}" y="{top + 28}">{escape(station.numbers)}</text>',
        ]
        if station.call:
            x, end = LEFT + 40, top + STEP - 2
            parts += [
                f'<path d="M{x} {top + 48}V{end}m-5 -7l5 7l5 -7" fill="none" stroke="{TEXT}" stroke-width="1.5"/>',
                f'<text class="call" x="{x + 18}" y="{top + 70}">{escape(station.call)}</text>',
            ]
    return "\n".join([*parts, "</svg>", ""])
