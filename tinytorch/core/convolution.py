"""Convolution as a matrix product: every window of an image becomes a column, every filter a row.

The columns take kh * kw times the memory of the images, so they are not kept: they are made for a few images at a time,
in the forward and again in the backward pass. That is faster, too: they stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .checks import whole_number
from .layers import Module
from .products import operand, wide_dtype
from .tensor import Array, Tensor
from .windows import Both, Pair, add_patches, checked_pair, count_both, padded, patches, shown, unpadded

COLUMN_VALUES = 1 << 18  # that exist at one time: 1 MB in float32
ONE_CORE = 1 << 18  # multiplications: OpenBLAS spreads a larger product over all cores, and waits where one is busy


def _parts(n: int, each: int, limit: int) -> Iterator[slice]:
    """Slices that cover range(n), each of as many items of size `each` as `limit` allows, but at least one."""
    size = max(1, limit // max(1, each))
    return (slice(start, start + size) for start in range(0, n, size))


def _multiply(a: Array, b: Array, out: Array) -> Array:
    """out[...] = a [..., M, K] @ b [..., K, N], in steps that BLAS takes on one core: more gain nothing here."""
    for part in _parts(b.shape[-1], a.shape[-2] * a.shape[-1], ONE_CORE):
        np.matmul(a, b[..., part], out=out[..., part])
    return out


@np.errstate(over="ignore")  # a float16 result beyond 65504 is infinity
def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Both = 1,
    padding: Both = 0,
    groups: int = 1,
    dilation: Both = 1,
) -> Tensor:
    """x [N, C, H, W], weight [out, C / groups, kh, kw], bias [out] -> [N, out, rows, columns], a value a window.

    Cross-correlation, as in every network library: y[n, o, r, s] = bias[o] + the sum over c, i, j of
    x[n, c, r * stride + i * dilation, s * stride + j * dilation] * weight[o, c, i, j], x padded with zeros. stride,
    padding and dilation are one integer, or two: down and right. Group g of the output channels sees only group g of
    the input channels. Sums are in float32 at least. Shapes are trusted: `Conv2d` checks them.
    """
    x, weight, bias = operand(x), operand(weight), None if bias is None else operand(bias)
    n, c = x.shape[:2]
    n_out, kernel = weight.shape[0], (weight.shape[2], weight.shape[3])
    edged = padded(x.data[:0], padding).shape[1:]
    rows, columns = count_both(edged, kernel, stride, dilation)
    dtype = np.result_type(x.dtype, weight.dtype)
    wide = wide_dtype(x.data, weight.data)
    filters = weight.data.reshape(groups, n_out // groups, -1).astype(wide, copy=False)
    parts = list(_parts(n, c * kernel[0] * kernel[1] * rows * columns, COLUMN_VALUES))

    def columns_of(part: slice) -> Array:
        """[images, groups, values of a filter, windows]"""
        images = padded(x.data[part].astype(wide, copy=False), padding)
        return patches(images, kernel, stride, dilation).reshape(len(images), groups, -1, rows * columns)

    def slope_of_images(grad: Array) -> Array:
        slope = np.zeros((len(grad), *edged), wide)
        by_column = np.empty((len(grad), groups, filters.shape[2], rows * columns), wide)
        _multiply(filters.mT, grad, by_column)
        add_patches(by_column.reshape(len(grad), c, -1, rows, columns), slope, kernel, stride, dilation)
        return unpadded(slope, padding)

    out = np.empty((n, groups, n_out // groups, rows * columns), dtype)
    for part in parts:
        _multiply(filters, columns_of(part), out[part])
        if bias is not None:
            out[part] += bias.data.reshape(groups, -1, 1)

    def backward(grad: Array) -> tuple[Array | None, ...]:
        grad = grad.reshape(out.shape).astype(wide, copy=False)
        slope = np.empty(x.shape, wide) if x.requires_grad else None  # not for the images a network begins with
        slope_of_filters = np.zeros(filters.shape, wide)
        for part in parts:
            by_image = np.empty((len(grad[part]), *filters.shape), wide)
            slope_of_filters += _multiply(grad[part], columns_of(part).mT, by_image).sum(axis=0)
            if slope is not None:
                slope[part] = slope_of_images(grad[part])
        slopes = slope, slope_of_filters.reshape(weight.shape)
        return slopes if bias is None else (*slopes, grad.sum(axis=(0, 3)).ravel())

    parents = (x, weight) if bias is None else (x, weight, bias)
    return Tensor.from_op(out.reshape(n, n_out, rows, columns), parents, backward)


def _first_weights(
    owner: str, n_in: int, n_out: int, kernel: tuple[int, ...], groups: int, bias: bool, rng: np.random.Generator | None
) -> tuple[Tensor, Tensor | None]:
    """Weights [n_out, n_in / groups, *kernel] and biases [n_out], uniform in +-1/sqrt(values a filter)."""
    rng = np.random.default_rng(rng)  # a Generator passes as it is
    n_in, n_out = whole_number(owner, "n_in", n_in), whole_number(owner, "n_out", n_out)
    if n_in % groups or n_out % groups:
        raise ValueError(f"groups must divide n_in and n_out, got {groups} for {n_in} and {n_out}")
    shape = (n_out, n_in // groups, *kernel)
    bound = 1 / np.sqrt(np.prod(shape[1:]))
    shapes: list[tuple[int, ...]] = [shape, (n_out,)] if bias else [shape]
    made = [Tensor(rng.uniform(-bound, bound, s).astype(np.float32), requires_grad=True) for s in shapes]
    return made[0], made[1] if bias else None


def _shown_convolution(layer: Conv1d | Conv2d, kernel: str, **options: str) -> str:
    """The repr: the sizes, then each option that is not the usual one."""
    n_out, n_in = layer.weight.shape[:2]
    usual = {"stride": "1", "padding": "0", "groups": "1", "dilation": "1"}
    extra = [f"{name}={value}" for name, value in options.items() if value != usual[name]]
    extra += ["bias=False"] if layer.bias is None else []
    return f"{type(layer).__name__}({', '.join([str(n_in * layer.groups), str(n_out), kernel, *extra])})"


class Conv2d(Module):
    """y = conv2d(x, weight, bias), for images [N, channels, height, width].

    weight  float32 [n_out, n_in / groups, kh, kw], uniform in +-1/sqrt(values a filter)
    bias    float32 [n_out], likewise; or None
    kernel_size, stride, padding, dilation  one integer, or two: down and right
    groups  1: every output sees every input; n_in: depthwise, every output sees one input channel
    rng     where the first weights come from; None: another start at every call
    """

    of_one_tensor = True

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel_size: Both,
        stride: Both = 1,
        padding: Both = 0,
        bias: bool = True,
        rng: np.random.Generator | None = None,
        groups: int = 1,
        dilation: Both = 1,
    ) -> None:
        kernel = checked_pair("Conv2d", "kernel_size", kernel_size)
        self.stride, self.dilation = (
            checked_pair("Conv2d", *each) for each in (("stride", stride), ("dilation", dilation))
        )
        self.padding, self.groups = (
            checked_pair("Conv2d", "padding", padding, 0),
            whole_number("Conv2d", "groups", groups),
        )
        self.weight, self.bias = _first_weights("Conv2d", n_in, n_out, kernel, self.groups, bias, rng)

    def forward(self, x: Tensor) -> Tensor:
        """[N, n_in, H, W] -> [N, n_out, rows, columns]; ValueError for another shape, or images below the kernel."""
        n_in, kernel = self.weight.shape[1] * self.groups, self.weight.shape[2:]
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, self.dilation, strict=True)]
        sizes = zip(x.shape[2:], self.padding, reach, strict=False)
        if x.ndim != 4 or x.shape[1] != n_in or any(size + 2 * p < r for size, p, r in sizes):
            wanted = f"(N, {n_in}, height, width), at least {shown((reach[0], reach[1]))} pixels with the padding"
            raise ValueError(f"{self!r} wants images of shape {wanted}, got {x.shape}: reshape the input")
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, self.groups, self.dilation)

    def __repr__(self) -> str:
        kernel: Pair = (self.weight.shape[2], self.weight.shape[3])
        options = {"stride": shown(self.stride), "padding": shown(self.padding), "groups": str(self.groups)}
        return _shown_convolution(self, shown(kernel), **options, dilation=shown(self.dilation))


class Conv1d(Module):
    """A convolution along signals [N, channels, length], as a Conv2d of images that are one row high.

    weight  float32 [n_out, n_in / groups, kernel_size]; bias float32 [n_out], or None; all else as in Conv2d
    """

    of_one_tensor = True

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        rng: np.random.Generator | None = None,
        groups: int = 1,
        dilation: int = 1,
    ) -> None:
        sizes = {"kernel_size": kernel_size, "stride": stride, "groups": groups, "dilation": dilation}
        kernel_size, self.stride, self.groups, self.dilation = (whole_number("Conv1d", *size) for size in sizes.items())
        self.padding = whole_number("Conv1d", "padding", padding, 0)
        self.weight, self.bias = _first_weights("Conv1d", n_in, n_out, (kernel_size,), self.groups, bias, rng)

    def forward(self, x: Tensor) -> Tensor:
        """[N, n_in, L] -> [N, n_out, windows]; ValueError for another shape, or signals below the kernel."""
        n_out, each, kernel = self.weight.shape
        reach = self.dilation * (kernel - 1) + 1
        if x.ndim != 3 or x.shape[1] != each * self.groups or x.shape[2] + 2 * self.padding < reach:
            wanted = f"(N, {each * self.groups}, length), at least {reach} values with the padding"
            raise ValueError(f"{self!r} wants signals of shape {wanted}, got {x.shape}: reshape the input")
        n, n_in, length = x.shape
        images, filters = x.reshape(n, n_in, 1, length), self.weight.reshape(n_out, each, 1, kernel)
        across = (1, self.stride), (0, self.padding), self.groups, (1, self.dilation)
        return conv2d(images, filters, self.bias, *across)[:, :, 0]

    def __repr__(self) -> str:
        options = {"stride": self.stride, "padding": self.padding, "groups": self.groups, "dilation": self.dilation}
        return _shown_convolution(self, str(self.weight.shape[2]), **{name: str(v) for name, v in options.items()})
