"""What `tito quantize` tells of a quantized model: the products, before and after, and all of it as JSON."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from tinytorch.deployment.published.budget import OnnxSensitivity
from tinytorch.deployment.published.measuring import Measured
from tinytorch.deployment.published.quantizing import ProductReport, QuantizedOnnx, how_of
from tinytorch.deployment.published.schemes import Scheme
from tinytorch.deployment.published.sessions import saturates

SHOWN, WORST = 20, 10  # products of which all are shown; of more, how many
LONGEST, NOTES = 40, 5  # letters of a name; notes that are shown
SLOWER = 0.9  # times as fast: what lies above may be noise
MUCH = 0.05  # an error of the outputs for which something may be done


@dataclass(frozen=True)
class Outcome:
    """A quantized model, and what was found when its file was opened. before, after: bytes on the disk.

    data: the line that says with what it was calibrated; batch: the samples of the timed batch.
    """

    model: str
    out: str
    data: str
    batch: int
    result: QuantizedOnnx
    before: int
    after: int
    measured: Measured | None

    @property
    def smaller(self) -> float:
        return self.before / self.after


def tell(outcome: Outcome) -> None:
    """Tables on standard output, and sentences for what was not done as asked."""
    console = Console(width=max(Console().width, 120), highlight=False, markup=False)
    result = outcome.result
    shown = worst_of(result.products)
    console.print(products_table(shown))
    if len(shown) < len(result.products):
        hidden = len(result.products) - len(shown)
        console.print(f"These have the lowest dB of inputs; {hidden} products more are in --json FILE.")
    console.print()
    console.print(before_and_after(outcome))
    for sentence in sentences(outcome):
        console.print(sentence, soft_wrap=True)


def worst_of(products: tuple[ProductReport, ...]) -> list[ProductReport]:
    """All, or of many the ten with the lowest signal to noise of their inputs, the lowest first."""
    if len(products) <= SHOWN:
        return list(products)
    return sorted(products, key=lambda p: (p.input_sqnr_db, p.weight_sqnr_db))[:WORST]


def products_table(products: list[ProductReport]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("product", "operator", "weights", "inputs"):
        table.add_column(heading, no_wrap=True)
    for heading in ("lo", "hi", "clipped", "input, dB", "weight, dB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for p in products:
        table.add_row(shortened(p.name), p.operator, *_scheme(p.scheme), *_found(p))
    return table


def shortened(name: str) -> str:
    """A long name without its beginning, which others share with it."""
    return name if len(name) <= LONGEST else f"...{name[3 - LONGEST :]}"


def _scheme(scheme: Scheme | None) -> tuple[str, str]:
    if scheme is None:
        return "float32", "float32"
    groups = f" / {scheme.group_size}" if scheme.group_size else ""
    return f"{scheme.weight_type}{groups}", "float32" if scheme.activations == "float" else scheme.activations


def _found(p: ProductReport) -> tuple[str, ...]:
    """Empty where there was nothing to find: no codes, or none whose range is known before."""
    lo, hi = ("" if end is None else f"{end:.4g}" for end in (p.lo, p.hi))
    clipped = "" if p.lo is None else f"{p.clipped:.2%}"
    of_input = "" if p.lo is None and math.isinf(p.input_sqnr_db) else decibels(p.input_sqnr_db)
    return lo, hi, clipped, of_input, "" if p.scheme is None else decibels(p.weight_sqnr_db)


def decibels(sqnr: float) -> str:
    return "exact" if sqnr == math.inf else f"{sqnr:.1f}"


def before_and_after(outcome: Outcome) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("float model", "quantized", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("bytes", f"{outcome.before:,}", f"{outcome.after:,}", f"{outcome.smaller:.2f} times smaller")
    if outcome.measured:
        m = outcome.measured
        seconds = [f"{1000 * value:.4g} ms" for value in (m.seconds_before, m.seconds)]
        table.add_row(f"batch of {outcome.batch}, 1 thread", *seconds, f"{m.speed:.2f} times as fast")
    return table


def sentences(outcome: Outcome) -> list[str]:
    """What the tables do not say."""
    result = outcome.result
    kinds = Counter(p.how for p in result.products)
    said = [f"{len(result.products)} products: {'; '.join(f'{count} {how}' for how, count in kinds.most_common())}."]
    if outcome.measured is None or outcome.measured.gives_floats:
        said += error_in_words(result.output_error, result.output_sqnr_db)
    if outcome.measured:
        said += slower_in_words(outcome.measured.speed, result)
    if outcome.measured and outcome.measured.same is not None:
        said.append(f"Of whole numbers in the outputs {outcome.measured.same:.2%} are the float model's.")
    if worst := costliest(result.sensitivities):
        said.append(f"Of the outputs' error these alone cause: {worst}.")
    notes = [f"{p.name}: {p.note}" for p in result.products if p.note]
    said += notes[:NOTES]
    if len(notes) > NOTES:
        said.append(f"{len(notes) - NOTES} notes more are in --json FILE.")
    if outcome.measured and saturates():
        said.append("ONNX Runtime's sums of 8 bits may saturate on this processor, which --type int7 avoids.")
    if result.passed_over:
        names = ", ".join(result.passed_over[:5])
        more = f" and {len(result.passed_over) - 5} more" if len(result.passed_over) > 5 else ""
        said.append(f"Passed over, and in float, is what the graphs within these nodes hold: {names}{more}.")
    return said


def costliest(rows: tuple[OnnxSensitivity, ...]) -> str:
    """The products that alone make the outputs err most, as they were asked for."""
    asked = {row.layer: row for row in reversed(rows)}.values()  # the first row of a product is what was asked
    worst = sorted(asked, key=lambda row: row.sqnr_db)[:NOTES]
    return ", ".join(f"{row.layer} {10 ** (-row.sqnr_db / 20):.2%}" for row in worst)


def error_in_words(error: float | None, sqnr: float | None) -> list[str]:
    """The error of the outputs, and what may make it smaller."""
    if error is None:
        return ["Nothing was run: without --calibrate DATA no error and no time was measured."]
    if not error:
        return ["Outputs are those of the float model."]
    if math.isinf(error):
        return ["Outputs have other shapes than the float model's, or infinite numbers in other places."]
    said = [f"Outputs are off by {error:.2%} of their size ({sqnr:.1f} dB), on the first inputs of the calibration."]
    if error > MUCH:
        ways = "--correct-bias, --equalize, another --observer, more DATA, or --keep NAME"
        said.append(f"Less: {ways} for the products that --sensitivity finds the costliest.")
    return said


def slower_in_words(speed: float, result: QuantizedOnnx) -> list[str]:
    """That the file is slower than the float model, where it clearly is, and what may be faster."""
    if speed > SLOWER:
        return []
    dynamic = any(p.scheme and p.scheme.activations == "dynamic" for p in result.products)
    other = "; --activations static is what it has the fastest products for" if dynamic else ""
    return [f"ONNX Runtime is slower with it here than with the float model{other}."]


def as_json(outcome: Outcome) -> str:
    """The whole report. What is infinite, because it stays in float, is null."""
    result, m = outcome.result, outcome.measured
    report: dict[str, Any] = {
        "model": outcome.model,
        "out": outcome.out,
        "calibration": outcome.data,
        "bytes_before": outcome.before,
        "bytes": outcome.after,
        "batch": outcome.batch if m else None,
        "seconds_before": m and m.seconds_before,
        "seconds": m and m.seconds,
        "speed": m and m.speed,
        "same_whole_numbers": m and m.same,
        "output_sqnr_db": result.output_sqnr_db,
        "output_error": result.output_error,
        "passed_over": list(result.passed_over),
        "sensitivities": [
            {"product": row.layer, "how": how_of(row.scheme), "bytes": row.nbytes, "output_sqnr_db": row.sqnr_db}
            for row in result.sensitivities
        ],
        "products": [_product(product) for product in result.products],
    }
    return json.dumps(_finite(report), indent=1, allow_nan=False) + "\n"


def _product(p: ProductReport) -> dict[str, Any]:
    names = ("name", "operator", "how", "lo", "hi", "clipped", "input_sqnr_db", "weight_sqnr_db", "note")
    return {name: getattr(p, name) for name in names}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
