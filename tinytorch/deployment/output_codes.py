"""Codes at the end of a network, for engines that know no layer of integers that gives floats."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

from tinytorch.core import Identity, Module, Sequential, evaluating
from tinytorch.core.layers import as_module
from tinytorch.quantization import INT8, IntType, Lookup, MinMaxObserver, Observer, OnCodes, QuantizedTensor
from tinytorch.quantization.trees import ends, fuse_chain, inputs_of

__all__ = ["with_output_codes"]


def with_output_codes(
    model: Module,
    batches: Iterable[Any],
    observer: Callable[[], Observer] = MinMaxObserver,
    activation_type: IntType = INT8,
) -> Module:
    """A new model that ends in codes, of the range that its outputs had in the calibration batches.

    batches: as for `quantize_static`. A model that gives codes already is copied as it is. TypeError if its last layer
    computes in float.
    """
    seen, ended, has_codes = observer(), deepcopy(as_module(model)), False
    with evaluating(ended):
        for x in inputs_of(batches):
            y = ended(x)
            has_codes = isinstance(y, QuantizedTensor)
            if not has_codes:
                seen.observe(y.data)
    if has_codes:
        return ended
    # Whatever would take these codes makes the layers before it give them.
    qparams = seen.qparams(activation_type)
    fuse_chain(chain := Sequential(ended, Lookup(Identity(), qparams)))
    _, last = ends(chain.layers[0])
    if not isinstance(last, OnCodes) and getattr(last, "output_qparams", None) is None:
        kind = type(last).__name__
        raise TypeError(f"the last layer, a {kind}, computes in float: only a layer on codes can give codes")
    return chain.layers[0]
