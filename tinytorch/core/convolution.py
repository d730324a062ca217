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
from .windows import add_patches, count_windows, padded, patches

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
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0, groups: int = 1
) -> Tensor:
    """x [N, C, H, W], weight [out, C / groups, kh, kw], bias [out] -> [N, out, rows, columns], a value a window.

    Cross-correlation, as in every network library: y[n, o, r, s] = bias[o] + the sum over c, i, j of
    x[n, c, r * stride + i, s * stride + j] * weight[o, c, i, j], x padded with zeros. Group g of the output channels
    sees only group g of the input channels. Sums are in float32 at least. Shapes are trusted: `Conv2d` checks them.
    """
    x, weight, bias = operand(x), operand(weight), None if bias is None else operand(bias)
    n, c, h, w = x.shape
    n_out, kernel = weight.shape[0], (weight.shape[2], weight.shape[3])
    rows, columns = (count_windows(size + 2 * padding, k, stride) for size, k in zip((h, w), kernel, strict=True))
    dtype = np.result_type(x.dtype, weight.dtype)
    wide = wide_dtype(x.data, weight.data)
    filters = weight.data.reshape(groups, n_out // groups, -1).astype(wide, copy=False)
    parts = list(_parts(n, c * kernel[0] * kernel[1] * rows * columns, COLUMN_VALUES))

    def columns_of(part: slice) -> Array:
        """[images, groups, values of a filter, windows]"""
        images = padded(x.data[part].astype(wide, copy=False), padding)
        return patches(images, kernel, stride).reshape(len(images), groups, -1, rows * columns)

    def slope_of_images(grad: Array) -> Array:
        slope = np.zeros((len(grad), c, h + 2 * padding, w + 2 * padding), wide)
        by_column = np.empty((len(grad), groups, filters.shape[2], rows * columns), wide)
        _multiply(filters.mT, grad, by_column)
        add_patches(by_column.reshape(len(grad), c, -1, rows, columns), slope, kernel, stride)
        return slope[:, :, padding : padding + h, padding : padding + w]

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


class Conv2d(Module):
    """y = conv2d(x, weight, bias), for images [N, channels, height, width].

    weight  float32 [n_out, n_in / groups, kernel_size, kernel_size], uniform in +-1/sqrt(values a filter)
    bias    float32 [n_out], likewise; or None
    groups  1: every output sees every input; n_in: depthwise, every output sees one input channel
    rng     where the first weights come from; None: another start at every call
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
    ) -> None:
        sizes = {"n_in": n_in, "n_out": n_out, "kernel_size": kernel_size, "stride": stride, "groups": groups}
        n_in, n_out, kernel_size, stride, groups = (whole_number("Conv2d", *size) for size in sizes.items())
        padding = whole_number("Conv2d", "padding", padding, 0)
        if n_in % groups or n_out % groups:
            raise ValueError(f"groups must divide n_in and n_out, got {groups} for {n_in} and {n_out}")
        rng = np.random.default_rng(rng)  # a Generator passes as it is
        shape = (n_out, n_in // groups, kernel_size, kernel_size)
        bound = 1 / np.sqrt(np.prod(shape[1:]))
        self.weight = Tensor(rng.uniform(-bound, bound, shape).astype(np.float32), requires_grad=True)
        self.bias = Tensor(rng.uniform(-bound, bound, n_out).astype(np.float32), requires_grad=True) if bias else None
        self.stride, self.padding, self.groups = int(stride), int(padding), int(groups)

    def forward(self, x: Tensor) -> Tensor:
        """[N, n_in, H, W] -> [N, n_out, rows, columns]; ValueError for another shape, or images below the kernel."""
        n_in, kernel = self.weight.shape[1] * self.groups, self.weight.shape[-1]
        if x.ndim != 4 or x.shape[1] != n_in or min(x.shape[2:]) + 2 * self.padding < kernel:
            wanted = f"(N, {n_in}, height, width), at least {kernel} pixels with the padding"
            raise ValueError(f"{self!r} wants images of shape {wanted}, got {x.shape}: reshape the input")
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, self.groups)

    def __repr__(self) -> str:
        n_out, n_in, kernel, _ = self.weight.shape
        shown = {"stride": (self.stride, 1), "padding": (self.padding, 0), "groups": (self.groups, 1)}
        extra = [f"{name}={value}" for name, (value, usual) in shown.items() if value != usual]
        extra += ["bias=False"] if self.bias is None else []
        return f"Conv2d({', '.join([str(n_in * self.groups), str(n_out), str(kernel), *extra])})"
