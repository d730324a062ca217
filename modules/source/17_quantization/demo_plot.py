"""The picture of the demo: size against accuracy, with speed as colour, a panel for each network.

Accuracy is shown as points won or lost against float32: linear up to one point, where most schemes are, and
logarithmic beyond, so that the schemes that lost everything are on the same axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from demo import Row

INK = "#767b82"  # text and axes: readable on white and on near-black
STYLE: Any = {
    "font.family": "sans-serif",
    "svg.fonttype": "none",  # text stays text: small files, and the reader's own letters
    "svg.hashsalt": "tinytorch",  # the same picture is the same file
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def plot(rows: Sequence[Row], path: Path, kind: str) -> None:
    """Draw the rows of the demo's table. kind: png, pdf or svg."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm

    names = list(dict.fromkeys((row.data, row.model) for row in rows))
    speeds = [speed(row) for row in rows]
    reach = max(2.0, *speeds, *(1 / value for value in speeds))
    with plt.rc_context(STYLE):
        columns = 1 if len(names) <= 2 else 2
        lines = -(-len(names) // columns)
        size = (5.6 * columns, 4 * lines + 1)
        figure, panels = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
        for panel, name in zip(panels.flat, names, strict=False):
            own = [row for row in rows if (row.data, row.model) == name]
            dots = draw(panel, own, LogNorm(1 / reach, reach))
        for panel in panels.flat[len(names) :]:
            panel.set_axis_off()
        ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if 1 / reach <= tick <= reach]
        told = "times as fast as float32, compiled where that can be"
        bar = figure.colorbar(dots, ax=panels, label=told, ticks=ticks, orientation="horizontal", aspect=40, pad=0.02)
        bar.minorticks_off()
        bar.ax.xaxis.set_major_formatter("{x:g}")
        bar.outline.set_visible(False)
        head = {"Date": None, "Title": "Size against accuracy, speed as colour"} if kind == "svg" else None
        figure.savefig(path, dpi=120, format=kind, metadata=head, transparent=kind == "svg")
        plt.close(figure)


def speed(row: Row) -> float:
    """Of the compiled model, where there is one; else in NumPy."""
    return row.speed if row.compiled_speed is None else row.compiled_speed


def draw(panel: Any, rows: Sequence[Row], norm: Any) -> Any:
    """One network: a dot for each scheme; the grey band is the 95 % interval of float32."""
    smaller = np.array([rows[0].bytes / row.bytes for row in rows])
    won = 100 * np.array([row.accuracy - rows[0].accuracy for row in rows])
    half = 50 * (rows[0].interval[1] - rows[0].interval[0])
    panel.axhspan(-half, half, color=INK, alpha=0.15, lw=0)
    dots = panel.scatter(
        smaller, won, c=[speed(row) for row in rows], norm=norm, cmap="coolwarm_r", s=42, edgecolors=INK, lw=0.6
    )
    panel.set_xscale("log", base=2)
    panel.set_yscale("symlog", linthresh=1, linscale=1.5)
    panel.set_xlim(0.85, 1.2 * smaller.max())
    panel.set_ylim(min(-1, 1.6 * won.min()), max(1, 1.6 * won.max()))
    panel.set_xticks([1, 2, 4, 8, 16], ["1x", "2x", "4x", "8x", "16x"])
    ticks = [-80, -40, -20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5]
    panel.set_yticks([tick for tick in ticks if panel.get_ylim()[0] <= tick <= panel.get_ylim()[1]])
    panel.yaxis.set_major_formatter(lambda y, _: f"{y:+g}" if y else "0")
    panel.set_title(f"{rows[0].data}, {rows[0].model}, float32 {rows[0].accuracy:.1%}", fontsize=10)
    panel.set(xlabel="times smaller than float32", ylabel="points of accuracy against float32")
    label(panel, rows, smaller, won)
    return dots


def label(panel: Any, rows: Sequence[Row], smaller: NDArray[Any], won: NDArray[Any]) -> None:
    """Names beside their dots: float32, those that no smaller scheme equals, the fastest where there is room."""
    dots = panel.transData.transform(np.column_stack([smaller, won]))
    left, right = panel.transAxes.transform([(0, 0), (1, 1)])[:, 0]
    taken = [(x, x, y) for x, y in dots]  # from, to, at which height, in pixels
    first = list(dict.fromkeys([0, *front(-smaller, won)]))
    fastest = sorted(range(len(rows)), key=lambda i: -speed(rows[i]))
    for i in (*first, *(i for i in fastest if i not in first)):
        (x, y), width = dots[i], 5.5 * len(rows[i].scheme)
        sides = ((x - 12 - width, "right"), (x + 12, "left"))
        for (begin, side), rise in ((side, rise) for rise in (0, -10, 10) for side in sides):
            end, at = begin + width, y + rise
            free = all(end < lo or hi < begin or abs(at - other) > 11 for lo, hi, other in taken)
            if free and left <= begin and end <= right:
                taken.append((begin, end, at))
                offset = (-7 if side == "right" else 7, 0.72 * rise - 3)
                place = (smaller[i], won[i])
                panel.annotate(rows[i].scheme, place, offset, textcoords="offset points", fontsize=8, ha=side)
                break


def front(size: NDArray[Any], accuracy: NDArray[Any]) -> list[int]:
    """The Pareto front: whom nobody of at most this size beats. Of equals, the first."""
    best, found = -np.inf, list[int]()
    for i in sorted(range(len(size)), key=lambda i: (size[i], -accuracy[i], i)):
        if accuracy[i] > best:
            best = accuracy[i]
            found.append(i)
    return found
