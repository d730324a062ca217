"""A NumPy array that remembers how it was made, so that `backward()` can find the gradient of a result.

>>> w = Tensor([[1.0, 2.0]], requires_grad=True)
>>> loss = ((w - 3.0) ** 2).sum()
>>> loss.backward()
>>> w.grad
array([[-4., -2.]], dtype=float32)

Every operation is one short method: the forward result, and a function `backward(grad)` that turns the gradient of the
result into one gradient for each parent. Broadcasting is undone in one place, `_unbroadcast`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import ArrayLike, NDArray

from .checks import checked_axis, real_array
from .products import current_matmul, operand

Array: TypeAlias = NDArray[Any]
Axis: TypeAlias = int | tuple[int, ...] | None
Backward: TypeAlias = Callable[[Array], tuple[Array | None, ...]]

_recording: ContextVar[bool] = ContextVar("recording", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing inside the block: results do not require gradients and keep no parents alive."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


def _real(data: ArrayLike) -> Array:
    return real_array("a Tensor's data", data)


def _floats(data: Any) -> Array:
    """The array of a Tensor's data: of the type that it has if that is one of floats, else float32."""
    data = data.data if isinstance(data, Tensor) else data
    array = _real(data)
    keeps_dtype = isinstance(data, (np.ndarray, np.generic)) and array.dtype.kind == "f"
    return array if keeps_dtype else array.astype(np.float32)


def _reduced(x: Array, axis: Any, name: str) -> Axis:
    """The axis or axes to reduce over. ValueError where a reduction has no number to take."""
    axes = checked_axis(axis)
    if x.size == 0 and (name == "maximum" or np.sum(x, axes).size):
        raise ValueError(f"the {name} of no numbers is none: shape {x.shape}, axis {axes}")
    return axes


def _unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum `grad` over the axes that broadcasting `shape` to `grad.shape` added or stretched."""
    if grad.shape == shape:
        return grad
    added = grad.ndim - len(shape)
    if added < 0 or any(n not in (1, m) for n, m in zip(shape, grad.shape[added:], strict=True)):
        raise ValueError(f"backward of an operation must return a gradient of shape {shape}, got {grad.shape}")
    stretched = tuple(added + i for i, n in enumerate(shape) if n == 1)
    return np.asarray(grad.sum(axis=(*range(added), *stretched))).reshape(shape)


def _for_parents(grads: tuple[Array | None, ...], parents: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, Array]]:
    """What an operation's backward returned, for those that want it, in their shape and dtype."""
    if not isinstance(grads, tuple) or len(grads) != len(parents):
        got = f"a tuple of {len(grads)}" if isinstance(grads, tuple) else type(grads).__name__
        raise ValueError(f"backward of an operation must return a tuple of {len(parents)}, one a parent, got {got}")
    for parent, grad in zip(parents, grads, strict=True):
        if grad is not None and parent.requires_grad:
            yield parent, _unbroadcast(np.asarray(grad), parent.shape).astype(parent.dtype, copy=False)


def _parents_first(root: Tensor) -> list[Tensor]:
    """Every tensor `root` was made from, parents before children; a loop: graphs are deeper than Python's stack."""
    order: list[Tensor] = []
    seen: set[Tensor] = set()
    stack = [(root, False)]
    while stack:
        node, parents_done = stack.pop()
        if parents_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent in node._parents if parent.requires_grad)
    return order


def _already_used(grad: Array) -> tuple[Array, ...]:
    raise RuntimeError("this graph was already used by backward() and forgotten: compute the result again first")


class Tensor:
    """An array with a gradient.

    Floating NumPy values keep their dtype (and their memory: nothing is copied); Python numbers, lists, and integer or
    boolean arrays become float32; anything that is not real numbers is refused with TypeError.

    data           array of any shape
    grad           array of data's shape and dtype, or None; only tensors made by the user (leaves) hold one
    requires_grad  whether `backward()` should reach this tensor
    """

    __slots__ = ("_backward", "_parents", "data", "grad", "requires_grad")
    __array_ufunc__ = None  # ndarray + Tensor is Tensor.__radd__, not an array of objects

    def __init__(self, data: ArrayLike | Tensor, requires_grad: bool = False) -> None:
        if type(data) is not np.ndarray or data.dtype.kind != "f":
            data = _floats(data)
        self.data: Array = data
        self.grad: Array | None = None
        self.requires_grad = requires_grad
        self._parents: tuple[Tensor, ...] = ()
        self._backward: Backward | None = None

    @staticmethod
    def from_op(data: ArrayLike, parents: tuple[Tensor, ...], backward: Backward) -> Tensor:
        """The result of a differentiable operation: how every method below, and any function of yours, is recorded.

        data      the operation's result, a floating array
        backward  takes the gradient of the result (same shape); returns a tuple with one gradient for each parent,
                  of the parent's shape or of a shape it broadcasts to, or None for a parent that gets no gradient

        A sign function whose gradient passes straight through:
        >>> def sign(x): return Tensor.from_op(np.sign(x.data), (x,), lambda grad: (grad,))
        >>> x = Tensor([-0.3, 2.0], requires_grad=True)
        >>> sign(x).sum().backward()
        >>> x.grad
        array([1., 1.], dtype=float32)
        """
        if not all(isinstance(parent, Tensor) for parent in parents):
            got = ", ".join(type(parent).__name__ for parent in parents)
            raise TypeError(f"the parents of an operation are Tensors, got {got}: wrap an array in Tensor(...)")
        out = Tensor(data)
        if _recording.get() and any(parent.requires_grad for parent in parents):
            out.requires_grad, out._parents, out._backward = True, tuple(parents), backward
        return out

    @np.errstate(over="ignore", invalid="ignore")  # an infinite gradient is an answer: GradScaler looks for it
    def backward(self, grad: ArrayLike | None = None) -> None:
        """Add d(self)/d(leaf) to `.grad` of every leaf that requires it, then forget the graph.

        grad  gradient of self, of self's shape; may be left out when self is one number

        Raises RuntimeError if nothing was recorded, if self is not one number and grad is missing, or if the graph was
        already used; ValueError if grad has another shape, TypeError if it is not real numbers.
        """
        if not self.requires_grad:
            raise RuntimeError("backward() found no record: the result must come from a tensor with requires_grad=True")
        if grad is None and self.data.size != 1:
            raise RuntimeError(f"backward() starts from one number, got shape {self.shape}: use .mean() or pass grad")
        start = np.ones_like(self.data) if grad is None else real_array("grad", grad).astype(self.dtype)
        if start.shape != self.shape:
            raise ValueError(f"grad must have the tensor's shape {self.shape}, got {start.shape}")
        grads: dict[Tensor, Array] = {self: start}
        for node in reversed(_parents_first(self)):
            if (grad_node := grads.pop(node, None)) is None:
                continue
            if node._backward is None:  # a leaf: a copy, because operations may hand the same array to two parents
                node.grad = np.array(grad_node, order="C") if node.grad is None else node.grad + grad_node
                continue
            for parent, g in _for_parents(node._backward(grad_node), node._parents):
                grads[parent] = grads[parent] + g if parent in grads else g
            node._parents, node._backward = (), _already_used

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    @property
    def T(self) -> Tensor:
        return self.transpose()

    def __len__(self) -> int:
        return len(self.data)

    def __bool__(self) -> bool:
        """Of one number, whether it is not 0. ValueError of others, as NumPy's."""
        if self.data.size != 1:
            raise ValueError(
                f"a Tensor of shape {self.shape} is neither true nor false: use .data.any() or .data.all()"
            )
        return bool(self.data)

    def __repr__(self) -> str:
        return f"Tensor({self.data}, dtype={self.dtype}{', requires_grad=True' if self.requires_grad else ''})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.data, dtype=dtype, copy=copy)

    def numpy(self) -> Array:
        """The array itself, not a copy."""
        return self.data

    def item(self) -> float:
        """The one number of a tensor with one element."""
        return float(self.data.item())

    def detach(self) -> Tensor:
        """The same data without a record."""
        return Tensor(self.data)

    # Arithmetic, with broadcasting

    def _lift(self, other: Tensor | ArrayLike) -> Tensor:
        """`other` as a tensor. Numbers and integers take this tensor's dtype: float16 * 2.0 stays float16."""
        if isinstance(other, Tensor):
            return other
        floating = isinstance(other, np.ndarray) and other.dtype.kind == "f"
        return Tensor(other if floating else _real(other).astype(self.dtype))

    def __add__(self, other: Tensor | ArrayLike) -> Tensor:
        other = self._lift(other)
        return Tensor.from_op(self.data + other.data, (self, other), lambda grad: (grad, grad))

    def __mul__(self, other: Tensor | ArrayLike) -> Tensor:
        other = self._lift(other)
        a, b = self.data, other.data
        return Tensor.from_op(a * b, (self, other), lambda grad: (grad * b, grad * a))

    def __truediv__(self, other: Tensor | ArrayLike) -> Tensor:
        other = self._lift(other)
        a, b = self.data, other.data  # a / b, not a * b**-1: rounded once
        return Tensor.from_op(a / b, (self, other), lambda grad: (grad / b, -grad * a / (b * b)))

    def __pow__(self, exponent: float) -> Tensor:
        if not isinstance(exponent, Real):
            raise TypeError(f"exponent must be a number, got {type(exponent).__name__}: use (x.log() * y).exp()")
        x, n = self.data, float(exponent)
        return Tensor.from_op(x**n, (self,), lambda grad: (grad * (n * x ** (n - 1)) if n else np.zeros_like(grad),))

    def __matmul__(self, other: Tensor | ArrayLike) -> Tensor:
        """[..., M, K] @ [..., K, N] -> [..., M, N]; a vector on the left is a row, on the right a column."""
        other = self._lift(other)
        if other.ndim == 1:
            return (self @ other.reshape(-1, 1))[..., 0]
        if self.ndim == 1:
            return (self.reshape(1, -1) @ other)[..., 0, :]
        matmul = current_matmul()
        x, y = operand(self), operand(other)
        a, b = x.data, y.data

        def backward(grad: Array) -> tuple[Array | None, ...]:  # as costly as the product: only what is needed
            return (
                matmul(grad, b.mT) if x.requires_grad else None,
                matmul(grad.mT, a).mT if y.requires_grad else None,  # a.mT @ grad, laid out for x @ weight.T
            )

        return Tensor.from_op(matmul(a, b), (x, y), backward)

    # Functions of one element

    def exp(self) -> Tensor:
        out = np.exp(self.data)
        return Tensor.from_op(out, (self,), lambda grad: (grad * out,))

    def log(self) -> Tensor:
        return Tensor.from_op(np.log(self.data), (self,), lambda grad: (grad / self.data,))

    def sqrt(self) -> Tensor:
        out = np.sqrt(self.data)
        return Tensor.from_op(out, (self,), lambda grad: (grad / (2 * out),))

    def tanh(self) -> Tensor:
        out = np.tanh(self.data)
        return Tensor.from_op(out, (self,), lambda grad: (grad * (1 - out * out),))

    def relu(self) -> Tensor:
        out = np.maximum(self.data, 0)
        return Tensor.from_op(out, (self,), lambda grad: (grad * (out > 0),))  # the slope at 0 is taken as 0

    # Reductions over an axis, a tuple of axes, or everything

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        kept = self.data.sum(axis := checked_axis(axis), keepdims=True)
        out = kept if keepdims else kept.squeeze(axis)
        return Tensor.from_op(out, (self,), lambda grad: (np.broadcast_to(grad.reshape(kept.shape), self.shape),))

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        axis = _reduced(self.data, axis, "mean")
        reduce = np.mean if self.data.size else np.sum  # not sum / n: a float16 sum overflows where its mean does not
        kept = reduce(self.data, axis, keepdims=True)
        out, n = kept if keepdims else kept.squeeze(axis), self.data.size / max(kept.size, 1)
        return Tensor.from_op(out, (self,), lambda grad: (np.broadcast_to(grad.reshape(kept.shape) / n, self.shape),))

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        axis = _reduced(self.data, axis, "maximum")
        kept = self.data.max(axis, keepdims=True)
        out = kept if keepdims else kept.squeeze(axis)

        def backward(grad: Array) -> tuple[Array]:  # equal maxima share the gradient
            hit = self.data == kept
            return (grad.reshape(kept.shape) * hit / hit.sum(axis, keepdims=True),)

        return Tensor.from_op(out, (self,), backward)

    def var(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The mean squared distance from the mean, as NumPy's; PyTorch divides by one less than there are numbers."""
        centred = self - self.mean(axis, keepdims=True)
        return (centred * centred).mean(axis, keepdims)

    # Shape

    def reshape(self, *shape: int | tuple[int, ...]) -> Tensor:
        """The same numbers in another shape, given as numbers or as one tuple; -1: as many as are left."""
        lengths = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        return Tensor.from_op(np.reshape(self.data, lengths), (self,), lambda grad: (grad.reshape(self.shape),))

    def squeeze(self, axis: Axis = None) -> Tensor:
        """Without the axes of length 1, or without these. ValueError for one that is longer."""
        return self.reshape(self.data.squeeze(checked_axis(axis)).shape)

    def transpose(self, *axes: int | tuple[int, ...]) -> Tensor:
        """Axes in the order given, as numbers or as one tuple; without any, reversed. AxisError for one it has not."""
        given: Any = axes[0] if len(axes) == 1 and isinstance(axes[0], tuple) else axes
        order = normalize_axis_tuple(given, self.ndim) or tuple(reversed(range(self.ndim)))
        if len(order) != self.ndim:
            raise ValueError(f"transpose wants an order of all {self.ndim} axes, got {given}")
        return Tensor.from_op(self.data.transpose(order), (self,), lambda grad: (grad.transpose(np.argsort(order)),))

    def __getitem__(self, index: Any) -> Tensor:
        def backward(grad: Array) -> tuple[Array]:
            out = np.zeros_like(self.data, dtype=grad.dtype)
            np.add.at(out, index, grad)  # an element picked twice gets both gradients
            return (out,)

        return Tensor.from_op(self.data[index], (self,), backward)

    # Derived

    def __neg__(self) -> Tensor:
        return self * -1.0

    def __sub__(self, other: Tensor | ArrayLike) -> Tensor:
        return self + -self._lift(other)

    def __radd__(self, other: ArrayLike) -> Tensor:
        return self + other

    def __rsub__(self, other: ArrayLike) -> Tensor:
        return self._lift(other) - self

    def __rmul__(self, other: ArrayLike) -> Tensor:
        return self * other

    def __rtruediv__(self, other: ArrayLike) -> Tensor:
        return self._lift(other) / self

    def __rmatmul__(self, other: ArrayLike) -> Tensor:
        return self._lift(other) @ self
