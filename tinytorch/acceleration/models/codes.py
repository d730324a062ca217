"""Codes on their way between accelerated layers, and what all these layers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...core import Module, Tensor
from ..operations.elementwise import dequantize


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes on their way between two accelerated layers: x ~ scale * (q - zero_point).

    kind: the class of quantized tensors outside, called as kind(q, qparams).
    """

    q: NDArray[Any]
    qparams: Any
    kind: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return self.q.shape

    def dequantize(self) -> NDArray[np.float32]:
        return dequantize(self.q, self.qparams)


def outside(x: Any) -> Any:
    """What other modules understand: Codes become a quantized tensor of the model's own class."""
    return x.kind(x.q, x.qparams) if isinstance(x, Codes) else x


def has_codes(x: Any) -> bool:
    return isinstance(x, Codes) or (hasattr(x, "q") and hasattr(x, "qparams"))


def same_qparams(a: Any, b: Any) -> bool:
    """Whether a and b, which may be None, are the same quantization parameters."""
    return a is b or (
        a is not None
        and b is not None
        and np.array_equal(a.scale, b.scale)
        and np.array_equal(a.zero_point, b.zero_point)
        and a.int_type == b.int_type
    )


def check_scale(qparams: Any, expected: Any, row_axes: int = 0) -> None:
    """Refuse codes that a calibrated layer was not made for: its bias counts in steps of the expected scale.

    row_axes: how many of the last axes make a row that may have a scale of its own; 0: all have one.
    """
    if qparams is expected:  # a calibrated layer has one scale
        return
    if np.ndim(qparams.scale) != 0 and (not row_axes or max(qparams.scale.shape[-row_axes:]) > 1):
        raise ValueError(f"codes on their way need one scale, got a scale of shape {qparams.scale.shape}")
    if expected is not None and qparams.scale != expected.scale:
        raise ValueError("the codes are of another scale than this layer was calibrated for: dequantize first")


class Accelerated(Module):
    """`run` may take and give Codes; `forward` gives what is known outside.

    is_quantized: it takes the place of a layer on codes, without which nothing would be gained.
    """

    is_quantized: ClassVar[bool] = True

    def run(self, x: Any) -> Any:
        raise NotImplementedError

    def forward(self, x: Any) -> Any:
        return outside(self.run(x))

    @property
    def state_type(self) -> str:
        raise TypeError(
            "an accelerated model is packed for this processor and has no state: "
            "save and load the model that was given to accelerate()"
        )


def reshaped(x: Any, how: Callable[[NDArray[Any]], NDArray[Any]]) -> Any:
    """x, codes or reals, with its array in another shape."""
    if not has_codes(x):
        return Tensor(how(x.data))
    return Codes(how(x.q), x.qparams, x.kind if isinstance(x, Codes) else type(x))
