"""A drawing of a quantized model, product by product: the ranges that calibration saw, and the errors of the codes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tinytorch.deployment.published.quantizing import ProductReport
from tinytorch.deployment.published.telling import shortened

ROW = 0.2  # inches for a product


def plot(products: tuple[ProductReport, ...], path: Path, kind: str) -> None:
    """Writes a file of this kind, png or svg: a line for each product, the first above."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    size = 12, 1.4 + ROW * max(len(products), 4)
    with plt.style.context("default"):
        figure, (ranges, errors) = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
        _draw_ranges(ranges, products)
        _draw_errors(errors, products)
        for panel in (ranges, errors):
            panel.grid(color="0.9")
            panel.set_axisbelow(True)
            panel.tick_params(axis="x", labelsize=8)
        figure.savefig(path, dpi=110, format=kind)
        plt.close(figure)


def _draw_ranges(panel: Any, products: tuple[ProductReport, ...]) -> None:
    for line, p in enumerate(products):
        if p.lo is not None and p.hi is not None:
            panel.barh(line, p.hi - p.lo, left=p.lo, height=0.6, color="tab:blue")
    panel.use_sticky_edges = False
    panel.set_yticks(range(len(products)), [shortened(p.name) for p in products], fontsize=7)
    panel.set_ylim(len(products) - 0.5, -0.5)
    panel.set_xscale("symlog", linthresh=1)
    panel.set_title("range of the input", fontsize=10)
    panel.set_xlabel("lo to hi, linear from -1 to 1, logarithmic beyond", fontsize=8)


def _draw_errors(panel: Any, products: tuple[ProductReport, ...]) -> None:
    inputs, weights = [p.input_sqnr_db for p in products], [p.weight_sqnr_db for p in products]
    for label, colour, marker, values in (("input", "tab:orange", "o", inputs), ("weight", "tab:blue", "s", weights)):
        drawn = [(value, line) for line, value in enumerate(values) if math.isfinite(value)]
        panel.scatter(*zip(*drawn, strict=True) if drawn else ([], []), s=16, c=colour, marker=marker, label=label)
    panel.set_title("signal to quantization noise", fontsize=10)
    panel.set_xlabel("dB; what is exact or in float has no mark", fontsize=8)
    panel.legend(fontsize=8)
