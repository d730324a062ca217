"""Given: the state of the quantizers of training. What they saw goes with the model, so that training can go on."""

from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from tinytorch.core import Module, Tensor
from tinytorch.core.checks import float32_array
from tinytorch.core.resuming import object_state, restored
from tinytorch.quantization.qparams import IntType, QParams

__all__: list[str] = []

EARLIER = "the state does not tell what was observed, as none saved by an earlier version does: train again and save"


def under(name: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays, their names behind `name` and a dot."""
    return {f"{name}.{key}": array for key, array in arrays.items()}


def part(name: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays whose names are behind `name` and a dot, without the two."""
    return {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}


def made_again(arrays: dict[str, NDArray[Any]], now: QParams | None, int_type: IntType) -> QParams | None:
    """Quantization parameters of saved arrays; None of none. `now`: those that are there, whose shape they have."""
    if not arrays:
        return None
    if arrays.keys() != {"scale", "zero_point"}:
        raise ValueError(f"qparams are a scale and a zero point, got {sorted(arrays)}")
    qparams = QParams(arrays["scale"], arrays["zero_point"], int_type)
    if now is not None and now.scale.shape != qparams.scale.shape:
        raise ValueError(f"a scale must have shape {now.scale.shape}, got {qparams.scale.shape}")
    return qparams


class Quantizer(Module):
    """What rounds a weight or an input in training."""

    def __getattr__(self, name: str) -> NoReturn:
        """What only a Tensor has, a forward of one's own looks for in a layer's weight, where this module is now."""
        fix = ""
        if hasattr(Tensor, name) or name in ("data", "grad"):
            fix = ': leave a layer whose weight a forward uses in float, by the rule "float"'
        raise AttributeError(f"a {type(self).__name__} rounds weights or inputs and has no {name!r}{fix}")


class RangeQuantizer(Quantizer):
    """What of a FakeQuantize is saved: its qparams, None at first, whether they are frozen, and its observer."""

    keeps: ClassVar[tuple[str, ...]] = ("qparams", "frozen", "observer")
    int_type: IntType
    qparams: QParams | None
    frozen: bool
    observer: Any

    def kept(self) -> dict[str, NDArray[Any]]:
        qparams = {} if self.qparams is None else self.qparams.arrays()
        seen = {} if self.observer is None else object_state(self.observer)
        return {"frozen": np.array(self.frozen), **under("qparams", qparams), **under("observer", seen)}

    def restored(self, kept: dict[str, NDArray[Any]]) -> dict[str, Any]:
        seen = part("observer", kept)
        if "frozen" not in kept:
            raise ValueError(EARLIER)
        if bool(seen) != (self.observer is not None):
            raise ValueError(f"the state is of {'a' if seen else 'no'} quantizer with an observer: make the same kind")
        return {
            "frozen": bool(kept["frozen"]),
            "qparams": made_again(part("qparams", kept), self.qparams, self.int_type),
            "observer": restored(self.observer, seen) if seen else None,
        }


class StepQuantizer(Quantizer):
    """What of a LearnedStepSize is saved: its trained step, None at first, and what started it."""

    keeps: ClassVar[tuple[str, ...]] = ("scale", "seen")
    int_type: IntType
    scale: Tensor | None
    seen: Any

    def kept(self) -> dict[str, NDArray[Any]]:
        scale = {} if self.scale is None else {"scale": self.scale.data}
        return {**scale, **under("seen", object_state(self.seen))}

    def restored(self, kept: dict[str, NDArray[Any]]) -> dict[str, Any]:
        seen = part("seen", kept)
        if not seen:
            raise ValueError(EARLIER)
        scale = None
        if "scale" in kept:
            scale = Tensor(
                float32_array("scale", kept["scale"]).copy(), requires_grad=True
            )  # maybe <= 0: forward mends it
            if self.scale is not None and scale.shape != self.scale.shape:
                raise ValueError(f"scale must have shape {self.scale.shape}, got {scale.shape}")
        return {"scale": scale, "seen": restored(self.seen, seen)}
