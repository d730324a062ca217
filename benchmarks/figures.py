"""The pictures and tables of README.md and docs, all made of the files that measurements wrote.

`python -m benchmarks.figures` draws into docs/images what docs/images/data holds, and writes the tables that stand
between `<!-- table NAME -->` and `<!-- end -->`. `--measure schemes bits networks` first measures some of it anew: each
takes minutes to an hour, and speeds want a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import way_of_a_number
from benchmarks.measured import COMMANDS, ROOT, is_there, load, measure, network_ratios, scheme_rows
from benchmarks.tables import write_tables

import demo_plot  # isort: skip  # from the demo's folder, which benchmarks.measured has put on the path

IMAGES = ROOT / "docs" / "images"
COLOURS = ("#3f8fd2", "#d9822b", "#3a9d5d", "#a56cc1")


def draw_schemes(path: Path) -> None:
    demo_plot.plot(scheme_rows(), path, "svg")


def draw_bits(path: Path) -> None:
    """The mean over the seeds, and a bar from the least to the most."""
    measured = load("bits")

    def draw(axes: Any) -> None:
        float32 = 100 * sum(measured["float32"]) / len(measured["float32"])
        axes.axhline(float32, color=demo_plot.INK, ls=":")
        axes.annotate("float32", (8, float32), (0, 5), textcoords="offset points", ha="right")
        marks = zip(measured["ways"].items(), COLOURS, "osD^", strict=True)
        for shift, ((way, each), colour, mark) in enumerate(marks):
            percent = [[100 * value for value in seeds] for seeds in each]
            mean = [sum(seeds) / len(seeds) for seeds in percent]
            reach = [[m - min(s) for m, s in zip(mean, percent, strict=True)],
                     [max(s) - m for m, s in zip(mean, percent, strict=True)]]  # fmt: skip
            x = [bits + 0.06 * (shift - 1.5) for bits in measured["bits"]]
            axes.errorbar(x, mean, reach, color=colour, marker=mark, capsize=3, label=way)
        axes.set(xlabel="bits of a weight (activations: 8)", ylabel="accuracy, %", ylim=(0, 100))
        axes.set_title(f"{measured['data']}, {measured['model']}, one scale a tensor", fontsize=10)
        axes.legend(frameon=False, loc="lower right")

    save(path, "Accuracy against the bits of the weights", (5.6, 3.8), draw)


def draw_networks(path: Path) -> None:
    """A dot for each engine, at how many times faster ours is."""
    measured = load("networks")
    ratios = network_ratios()

    def draw(axes: Any) -> None:
        axes.axvline(1, color=demo_plot.INK, lw=1)
        for (engine, colour), mark in zip((("ONNX Runtime", COLOURS[0]), ("LiteRT", COLOURS[1])), "oD", strict=True):
            lines = [i for i, each in enumerate(ratios.values()) if engine in each]
            values = [each[engine] for each in ratios.values() if engine in each]
            axes.scatter(values, lines, color=colour, marker=mark, s=36, label=engine, zorder=3)
        axes.set_yticks(range(len(ratios)), list(ratios), fontsize=8)
        axes.grid(axis="x", color=demo_plot.INK, alpha=0.25)
        axes.invert_yaxis()
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}x")
        axes.set_xlabel("our speed, as a multiple of the engine's")
        told = f"kernel {measured['kernel']}, threads: {measured['threads']}, load before the run: {measured['load']:g}"
        axes.figure.suptitle(f"{measured['machine']}\n{told}", fontsize=8)
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.4, -0.12), ncols=2)

    save(path, "The speed of whole networks beside ONNX Runtime and LiteRT", (5.6, 1.4 + 0.25 * len(ratios)), draw)


def save(path: Path, title: str, size: tuple[float, float], draw: Callable[[Any], None]) -> None:
    """A picture of one panel without a background."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(demo_plot.STYLE):
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        draw(axes)
        figure.savefig(path, format="svg", transparent=True, metadata={"Date": None, "Title": title})
        plt.close(figure)


def draw_way(path: Path) -> None:
    path.write_text(way_of_a_number.svg(), encoding="utf-8", newline="\n")


DRAWINGS: dict[str, Callable[[Path], None]] = {"schemes": draw_schemes, "bits": draw_bits, "networks": draw_networks}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.figures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", nargs="+", default=[], choices=list(COMMANDS), metavar="WHAT", help="anew")
    parser.add_argument("--to", type=Path, default=IMAGES, metavar="DIR", help="the pictures; default: docs/images")
    args = parser.parse_args(argv)
    for name in args.measure:
        measure(name)
    args.to.mkdir(parents=True, exist_ok=True)
    draw_way(args.to / "way_of_a_number.svg")
    for name in filter(is_there, DRAWINGS):
        DRAWINGS[name](args.to / f"{name}.svg")
    if args.to == IMAGES:
        write_tables()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
