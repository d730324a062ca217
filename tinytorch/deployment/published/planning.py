"""Which arrays of a graph become codes, and with which parameters, once calibration has shown them."""

from __future__ import annotations

from collections.abc import Mapping

from tinytorch.deployment.published.products import FloatGraph, Product, chain_of
from tinytorch.deployment.published.schemes import Scheme
from tinytorch.deployment.published.weights import quantized_weight
from tinytorch.deployment.published.writing import Plan
from tinytorch.quantization import UINT8, Observer, QParams

ON_CODES = ("Relu", "Clip")  # what engines do to the codes of what comes before
MOVING = ("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Slice", "Expand", "Split")


def arrays_in_codes(graph: FloatGraph, schemes: Mapping[str, Scheme]) -> tuple[list[str], set[str]]:
    """The arrays that become codes, and those of them that every node reads from the codes.

    The input of each static product; behind a convolution, which engines have in integers from codes to codes alone,
    its output, too; and what only moves such codes, or adds them.
    """
    products = [p for p in graph.products if p.name in schemes and schemes[p.name].activations == "static"]
    names = dict.fromkeys(product.x for product in products)
    ends = {end_of(graph, product.y) for product in products if product.operator == "Conv"}
    shared = ends - set(graph.outputs) - graph.taken_within
    for node in graph.graph.node:
        moves = node.op_type in MOVING and node.input[0] in shared and node.output[0] in names
        sums = node.op_type == "Add" and shared.issuperset(node.input)
        if moves or sums:
            shared.add(end_of(graph, node.output[0]))
            shared -= set(graph.outputs) | graph.taken_within
    return [*dict.fromkeys([*names, *sorted(shared)])], shared


def end_of(graph: FloatGraph, y: str) -> str:
    """Where the array y is clipped before anybody else takes it."""
    return [*chain_of(graph, y, ON_CODES)][-1]


def planned(
    graph: FloatGraph,
    schemes: Mapping[str, Scheme],
    observers: Mapping[str, Observer],
    axis: int | None,
) -> tuple[Plan, dict[str, str]]:
    """The plan, and of products that could not be quantized as was asked the reason.

    A product whose input was 0 in all of calibration is quantized dynamically, for that does not tell its range.
    """
    schemes, notes = dict(schemes), {}
    names, shared = arrays_in_codes(graph, schemes)
    codes = {name: observers[name].qparams(UINT8) for name in names if tells_range(observers[name])}
    _keep_codes_that_move(graph, codes, shared)
    weights = {}
    for product in graph.products:
        scheme = schemes.get(product.name)
        if scheme is None:
            continue
        if scheme.activations == "static" and product.x not in codes:
            schemes[product.name] = scheme = Scheme(scheme.weight_type, "dynamic")
            notes[product.name] = "its input was always the same number: dynamic"
        static = codes[product.x] if scheme.activations == "static" else None
        try:
            weights[product.name] = quantized_weight(graph, product, scheme, axis, static)
        except OverflowError as error:
            notes[product.name] = f"left in float: {error}"
            del schemes[product.name]
    return Plan(schemes, weights, codes, frozenset(shared & set(codes))), notes


def tells_range(observer: Observer) -> bool:
    lo, hi = observer.range()
    return bool(lo < hi)


def _keep_codes_that_move(graph: FloatGraph, codes: dict[str, QParams], shared: set[str]) -> None:
    """What only moves codes gives codes of the same parameters."""
    for node in graph.graph.node:
        if node.op_type in MOVING and node.input[0] in shared and node.input[0] in codes:
            codes.update({name: codes[node.input[0]] for name in node.output if name in codes})


def static_products(graph: FloatGraph, plan: Plan) -> list[Product]:
    return [p for p in graph.products if p.name in plan.schemes and plan.schemes[p.name].activations == "static"]
