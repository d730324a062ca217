"""How each product of a graph is quantized, by the rules of a call."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias, get_args

from tinytorch.core.checks import said, whole_number
from tinytorch.deployment.published.products import OPERATORS, RECURRENT, Product
from tinytorch.quantization import INT8, IntType
from tinytorch.quantization.qparams import as_int_type

__all__ = ["Scheme"]

Told: TypeAlias = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and of how much, where that is known."""

Activations: TypeAlias = Literal["static", "dynamic", "float"]
ACTIVATIONS = get_args(Activations)


@dataclass(frozen=True)
class Scheme:
    """How a product is computed.

    weight_type: of its weight's codes, signed. activations "static": codes of a range that calibration found.
    "dynamic": codes of each input's own range. "float": the weight alone is quantized. group_size: of weights of 4 bits
    and fewer, a scale for so many numbers of a row; None: one for each output channel.

    In rules INT4 is short for Scheme(INT4, "float"), "static" and "dynamic" for Scheme(activations=...), "weights" for
    Scheme(activations="float"); None and "float" leave the product in float.
    """

    weight_type: IntType = INT8
    activations: Activations = "static"
    group_size: int | None = None

    def __post_init__(self) -> None:
        if not as_int_type(self.weight_type).signed:
            raise ValueError(f"weights are symmetric, so their type is signed: IntType({self.weight_type.bits})")
        if self.activations not in ACTIVATIONS:
            raise ValueError(f"activations must be one of {', '.join(ACTIVATIONS)}, got {said(self.activations)}")
        if self.weight_type.bits <= 4 and self.activations != "float":
            raise ValueError(f'no engine multiplies {self.weight_type} weights by codes: activations="float"')
        if self.group_size is not None:
            size = whole_number("Scheme", "group_size", self.group_size, 16)
            if self.weight_type.bits > 4 or size & (size - 1):
                raise ValueError(f"groups are of weights of 4 bits, 16, 32, 64, ... numbers each, got {size}")


def as_scheme(value: Any, default: Scheme) -> Scheme | None:
    """What a rule says, in full. TypeError for what is none."""
    if value is None or isinstance(value, Scheme):
        return value
    if isinstance(value, IntType):
        few = value.bits <= 4
        return replace(default, weight_type=value, activations="float" if few else default.activations)
    if value == "weights":
        return Scheme(INT8, "float")
    if value in ACTIVATIONS:
        return None if value == "float" else Scheme(INT8, value)
    wanted = 'Scheme(...), an IntType, "static", "dynamic", "weights" or "float"'
    raise TypeError(f"a rule is {wanted}, got {said(value)}")


def stated(rules: Mapping[str, Any] | None, default: Scheme) -> list[Scheme]:
    """What rules say, but "float"."""
    return [scheme for rule in (rules or {}).values() if (scheme := as_scheme(rule, default)) is not None]


def schemes_of(products: list[Product], default: Scheme, rules: Mapping[str, Any] | None) -> dict[str, Scheme | None]:
    """The scheme of each product by its name; None: it stays in float.

    A rule's key is a node's name, a pattern of names or an operator; a name comes before a pattern, a pattern before an
    operator, of several patterns the first. ValueError for a key that fits no product.
    """
    rules = dict(rules or {})
    for key in rules:
        if not any(_rank(key, product) is not None for product in products):
            names = [product.name for product in products]
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
            shown = f"the nearest is {near[0]}" if near else f"of {len(names)} the first are {', '.join(names[:10])}"
            raise ValueError(f"a rule for {said(key)} fits no product; {shown}")
    return {product.name: _scheme_of(product, default, rules) for product in products}


def _scheme_of(product: Product, default: Scheme, rules: Mapping[str, Any]) -> Scheme | None:
    fitting = [key for key in rules if _rank(key, product) is not None]
    scheme: Scheme | None = default
    if product.operator in RECURRENT and default.activations != "float":
        scheme = None  # an engine makes floats of the weights at each call, which takes longer than a short sequence
    if fitting:
        scheme = as_scheme(rules[min(fitting, key=lambda key: _rank(key, product) or 0)], default)
    return scheme and possible(product, scheme)


def possible(product: Product, scheme: Scheme) -> Scheme:
    """The scheme as this product has it: not all have integer kernels, and groups are of matrices alone."""
    if product.is_lookup or product.weight_first or product.operator in ("ConvTranspose", *RECURRENT):
        scheme = replace(scheme, activations="float")
    if product.is_lookup and scheme.weight_type.bits <= 4:
        scheme = replace(scheme, weight_type=INT8, group_size=None)
    if scheme.group_size is not None and (product.operator not in ("MatMul", "Gemm") or product.axis is None):
        scheme = replace(scheme, group_size=None)
    return scheme


def _rank(key: str, product: Product) -> int | None:
    """How near a key is to a product, 0 the nearest; None: it does not fit."""
    if key == product.name:
        return 0
    if key in OPERATORS:
        return 2 if key == product.operator else None
    return 1 if fnmatchcase(product.name, key) else None
