"""A model that INT8 breaks, mended step by step: the text recogniser of `benchmarks.published_models`.

    python -m benchmarks.published_case [--write]

What `activations="static"` loses is looked for by `sensitivity`, which needs no labels; the products that alone make
the outputs err most then stay in float, more of them at each step; beside these what other settings give. `--write`
puts the tables into docs/published_models.md.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from typing import Any

from benchmarks.published import text
from benchmarks.published.machine import machine
from benchmarks.published.quantizers import runner
from benchmarks.published_models import PAGE, ROUNDS
from tinytorch.deployment import OnnxSensitivity, QuantizedOnnx, quantize_onnx
from tinytorch.deployment.published.quantizing import how_of
from tinytorch.quantization import HistogramObserver, PercentileObserver, speedup, time_interleaved

SHOWN, STEPS = 8, (1, 2, 4, 8)
Setting = tuple[str, dict[str, Any]]


def settings(worst: list[str]) -> list[Setting]:
    """What is tried, by the call's arguments. worst: the products that alone cost most."""
    static: dict[str, Any] = {"activations": "static"}
    kept: list[Setting] = [
        (f"static, the {n} costliest in float", static | {"rules": dict.fromkeys(worst[:n], "float")}) for n in STEPS
    ]
    return [
        ("static", static),
        *kept,
        ("static, 99.99 % of each range", static | {"observer": lambda: PercentileObserver(99.99)}),
        ("static, ranges of least squared error", static | {"observer": HistogramObserver}),
        ("static, equalized", static | {"equalize": True}),
        ("static, one scale a weight", static | {"axis": None}),
        ("weights alone", {"activations": "float"}),
        ("defaults", {}),
    ]


def costliest(rows: tuple[OnnxSensitivity, ...]) -> list[OnnxSensitivity]:
    """Of each product the row of what was asked, those first that make the outputs err most."""
    asked = {row.layer: row for row in reversed(rows)}.values()
    return sorted(asked, key=lambda row: row.sqnr_db)


def table_of(rows: list[OnnxSensitivity], operators: dict[str, str]) -> str:
    lines = ["| product | operator | how | it alone makes the outputs err |", "|---|---|---|---|"]
    for row in rows[:SHOWN]:
        error = f"{10 ** (-row.sqnr_db / 20):.1%}"
        lines.append(f"| {row.layer} | {operators[row.layer]} | {how_of(row.scheme)} | {error} |")
    return "\n".join(lines)


def report(told: Callable[[str], None]) -> str:
    task = text.recognition()
    floats = runner(task.model)
    of_float = task.answers(floats)
    told("sensitivity")
    found = quantize_onnx(task.model, task.calibration, activations="static", sensitivity=True)
    rows = costliest(found.sensitivities)
    lines = ["| setting | right (95 %) | bytes | of float's | outputs err | speed |", "|---|---|---|---|---|---|"]
    size = task.model.ByteSize()
    lines.append(f"| float | {task.score(of_float, of_float).text} | {size:,} | 100% | 0% | 1.00 |")
    for name, how in settings([row.layer for row in rows]):
        told(name)
        made: QuantizedOnnx = quantize_onnx(task.model, task.calibration, **how)
        run = runner(made.model)
        score, (before, after) = (
            task.score(task.answers(run), of_float),
            time_interleaved([floats, run], task.timed, ROUNDS),
        )
        share, error = f"{made.nbytes / size:.0%}", f"{made.output_error or 0:.1%}"
        lines.append(f"| {name} | {score.text} | {made.nbytes:,} | {share} | {error} | {speedup(before, after):.2f} |")
    operators = {product.name: product.operator for product in found.products}
    where = f"Measured with `python -m benchmarks.published_case` on {machine()}, one thread, {ROUNDS} rounds in turns."
    return "\n\n".join([where, table_of(rows, operators), "\n".join(lines)])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE}")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    found = report(lambda what: print(what, file=sys.stderr, flush=True))
    print(found)
    if args.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- the case -->")
        after = rest.partition("<!-- end of the case -->")[2]
        PAGE.write_text(f"{before}<!-- the case -->\n{found}\n<!-- end of the case -->{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
