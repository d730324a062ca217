"""Which products alone cost how much of the output, and what is then left in float, or given finer groups."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tinytorch.deployment.published.calibrating import Calibration, output_sqnr_db
from tinytorch.deployment.published.planning import planned
from tinytorch.deployment.published.products import FloatGraph, Product
from tinytorch.deployment.published.schemes import Scheme, Told, possible
from tinytorch.deployment.published.writing import Writer
from tinytorch.quantization import INT4, INT8, pareto_front

__all__ = ["OnnxSensitivity"]

GROUP = 32
FINE, COARSER = 0.03, 1.5
SMALL = 0.01  # of the model's bytes


@dataclass(frozen=True)
class OnnxSensitivity:
    """What quantizing one product alone does to the outputs. scheme None: it stays in float.

    nbytes: of its weight, codes and scales. sqnr_db: of the outputs, beside the float model's.
    """

    layer: str
    scheme: Scheme | None
    nbytes: int
    sqnr_db: float

    @property
    def noise(self) -> float:
        """Noise power of the outputs, relative to the signal's. Noises of several products about add up."""
        return float(10 ** (-self.sqnr_db / 10))

    @property
    def int_type(self) -> Any:
        """What `pareto_front` calls a choice."""
        return self.scheme


def choices_of(product: Product, asked: Scheme, finest: bool) -> list[Scheme | None]:
    """What a product may get, beside what was asked: its inputs in float, float32, and, if finest, 4 bits in groups."""
    few = possible(product, Scheme(INT4, "float", GROUP))
    return [*dict.fromkeys([asked, Scheme(INT8, "float"), *([few] if finest else []), None])]


def sensitivities(
    graph: FloatGraph,
    schemes: Mapping[str, Scheme],
    seen: Calibration,
    axis: int | None,
    finest: bool,
    told: Told,
) -> list[OnnxSensitivity]:
    """A row for each product and choice. told: is called with "measuring", how many products, and of how many."""
    rows = []
    products = [product for product in graph.products if product.name in schemes]
    for done, product in enumerate(products):
        for scheme in choices_of(product, schemes[product.name], finest):
            rows.append(_measured(graph, product, scheme, seen, axis))
        told("measuring", done + 1, len(products))
    return rows


def _measured(
    graph: FloatGraph, product: Product, scheme: Scheme | None, seen: Calibration, axis: int | None
) -> OnnxSensitivity:
    floats = graph.array(product.weight).nbytes
    if scheme is None:
        return OnnxSensitivity(product.name, None, floats, float("inf"))
    plan, notes = planned(graph, {product.name: scheme}, seen.observers, axis)
    if product.name not in plan.weights:
        return OnnxSensitivity(product.name, None, floats, float("inf"))
    # Of two plans of a size the one with more inputs in codes is faster: an input in float costs a byte here.
    nbytes = plan.weights[product.name].tensor.nbytes + (plan.schemes[product.name].activations == "float")
    return OnnxSensitivity(product.name, scheme, nbytes, output_sqnr_db(Writer(graph, plan).written(), seen))


def mended(
    graph: FloatGraph,
    schemes: Mapping[str, Scheme],
    free: Collection[str],
    seen: Calibration,
    axis: int | None,
    told: Told,
) -> tuple[dict[str, Scheme], dict[str, str]]:
    """Static schemes, in which products take finer inputs where codes of a fixed range cost the outputs too much.

    Too much is an error of the outputs above FINE, and above COARSER times that of quantizing the weights alone. Then
    the products named in free that cost most change, as few as will do: Gemm and MatMul take inputs by their own range,
    Conv in float, and of small ones the weight stays in float, too, for engines then have it ready for each call.
    Returns also a note for each of these.
    """
    codes = [name for name in free if schemes[name].activations == "static"]
    finer: dict[str, Scheme | None] = {name: replace(schemes[name], activations="float") for name in codes}
    limit = max(FINE, COARSER * _error(graph, _with(schemes, finer), seen, axis))
    if not codes or not _error(graph, schemes, seen, axis) > limit:
        return dict(schemes), {}
    costs = {}
    for done, product in enumerate(p for p in graph.products if p.name in codes):
        costs[product.name] = _error(graph, {product.name: schemes[product.name]}, seen, axis)
        if product.operator in ("Gemm", "MatMul"):
            finer[product.name] = replace(schemes[product.name], activations="dynamic")
        elif graph.array(product.weight).nbytes < SMALL * graph.model.ByteSize():
            finer[product.name] = None
        told("measuring", done + 1, len(codes))
    worst = sorted(codes, key=lambda name: -costs[name])
    least, most = 1, len(worst)
    while least < most:
        middle = (least + most) // 2
        tried = _with(schemes, {name: finer[name] for name in worst[:middle]})
        least, most = (least, middle) if _error(graph, tried, seen, axis) <= limit else (middle + 1, most)
    notes = {name: f"static, it alone makes outputs err {costs[name]:.1%}" for name in worst[:least]}
    return _with(schemes, {name: finer[name] for name in worst[:least]}), notes


def _with(schemes: Mapping[str, Scheme], others: Mapping[str, Scheme | None]) -> dict[str, Scheme]:
    return {name: scheme for name, scheme in {**schemes, **others}.items() if scheme is not None}


def _error(graph: FloatGraph, schemes: Mapping[str, Scheme], seen: Calibration, axis: int | None) -> float:
    """Of the outputs, relative to them."""
    return float(10 ** (-output_sqnr_db(_written(graph, schemes, seen, axis), seen) / 20))


def within_budget(
    graph: FloatGraph,
    rows: Sequence[OnnxSensitivity],
    budget: float,
    seen: Calibration,
    axis: int | None,
) -> dict[str, Scheme]:
    """The schemes of the smallest plan whose outputs err by at most the budget, below 1, or of the best plan within it
    in bytes. ValueError if even the smallest plan is larger, or there is nothing to choose from.

    `pareto_front`, the module's own, makes the plans of the rows; the error is then measured.
    """
    if not rows:
        raise ValueError("a budget chooses among products that may get codes, and here all stay in float: leave it out")
    table: Any = rows  # of which it takes layer, int_type, nbytes and noise
    front: list[Any] = [choice for _, _, choice in pareto_front(table)]
    plans: list[dict[str, Scheme]] = [{name: scheme for name, scheme in each.items() if scheme} for each in front]
    if budget >= 1:
        return _best_of(plans, lambda plan: _written(graph, plan, seen, axis).ByteSize() <= budget, budget)
    least, most = 0, len(plans) - 1  # the last plan leaves everything in float
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if _error(graph, plans[middle], seen, axis) <= budget else (middle + 1, most)
    return plans[least]


def _best_of(
    plans: list[dict[str, Scheme]], fits: Callable[[dict[str, Scheme]], bool], budget: float
) -> dict[str, Scheme]:
    """The last plan that fits; they grow."""
    least, most = -1, len(plans) - 1
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if fits(plans[middle]) else (least, middle - 1)
    if least < 0:
        raise ValueError(f"even the smallest plan is larger than {budget:,.0f} bytes: raise the budget")
    return plans[least]


def _written(graph: FloatGraph, plan: Mapping[str, Scheme], seen: Calibration, axis: int | None) -> Any:
    return Writer(graph, planned(graph, plan, seen.observers, axis)[0]).written()
