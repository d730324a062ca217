"""Ask PyTorch, once, for the gradients of fake quantization, and keep them in torch_gradients.npz.

    pip install torch numpy
    python tests/conformance/make_torch_gradients.py

The same versions on the same kind of processor write the same bytes. The arrays:

    versions                        torch, numpy, and the processor's instructions that torch used
    fake_scale, fake_zero_point     [P]     one a row: codes of `fake_bits` [P] bits, signed
    fake_x, fake_grad               [P, N]  float32: inputs near and beyond the ends; the gradient that comes in
    fake_out, fake_slope            [P, N]  torch.fake_quantize_per_tensor_affine: values, gradient of x
    learned_*                       the same of torch._fake_quantize_learnable_per_tensor_affine, and
    learned_factor, _scale_slope    [P]     its grad_factor; the gradient of scale
    channel_*                       torch._fake_quantize_learnable_per_channel_affine, 6 channels a row: scale,
                                    scale_slope [P, 6]; x, grad, out, slope [P, 6, N / 6]

torch divides by multiplying with 1 / scale, and its learnable operators add the zero point before they round. So x
holds ties for fake_quantize where the scale is a power of two, and else keeps a hundredth of a step away from them.
The learnable operator per tensor is asked for zero points >= 0 only: its backward takes -128 for -127, and so on. Per
channel it does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

N = 240
CHANNELS = 6
SCALES = np.array([1.0, 0.5, 2**-10, 0.1, 1 / 3, 3 / 255, 1 / 127, 7.0], np.float32)
BITS = [8, 8, 8, 4, 3, 2, 8, 4]
ZERO_POINTS = [0, -43, 127, 0, -4, 0, -128, 3]
AT_LEAST_0 = [0, 43, 100, 0, 1, 0, 5, 3]

Arrays = dict[str, Any]


def inputs(scale: Any, zero_point: int, bits: int, ties: bool, rng: np.random.Generator) -> Arrays:
    """x and grad, float32 [N], or [channels, N / channels] for several scales: near the ends, between, and beyond."""
    qmin, qmax = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    near = np.concatenate([end - zero_point + np.linspace(-1.5, 1.5, 31)[:, None] for end in (qmin, qmax)]).ravel()
    steps = np.append(near, rng.uniform(1.3 * qmin - 2, 1.3 * qmax + 2, N - near.size) - zero_point)
    from_tie = steps - np.floor(steps) - 0.5
    steps = steps if ties else np.where(np.abs(from_tie) < 0.01, steps + 0.02, steps)
    steps = rng.permutation(steps).reshape((*np.shape(scale), -1))
    grad = rng.normal(size=steps.shape)
    return {"x": (steps * np.asarray(scale)[..., None]).astype(np.float32), "grad": grad.astype(np.float32)}


def backward(out: torch.Tensor, grad: np.ndarray[Any, Any], **leaves: torch.Tensor) -> Arrays:
    """The values, and the gradient of each leaf as NAMEslope."""
    out.backward(torch.from_numpy(grad))
    slopes = {f"{name}slope": leaf.grad.numpy() for name, leaf in leaves.items() if leaf.grad is not None}
    return {"out": out.detach().numpy(), **slopes}


def leaf(values: Any) -> torch.Tensor:
    return torch.tensor(np.asarray(values, np.float32), requires_grad=True)


def rows(kind: str, rng: np.random.Generator) -> list[Arrays]:
    made = []
    zero_points = AT_LEAST_0 if kind == "learned" else ZERO_POINTS
    for scale, bits, zero_point in zip(SCALES, BITS, zero_points, strict=True):
        scale = scale * 2.0 ** np.arange(CHANNELS) if kind == "channel" else scale
        ties = kind == "fake" and np.frexp(scale)[0] == 0.5
        asked = inputs(scale, zero_point, bits, ties, rng)
        qmin, qmax = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        told: Arrays = {"bits": bits, "zero_point": zero_point}
        x, s, shape = leaf(asked["x"]), leaf(scale), (CHANNELS,) if kind == "channel" else (1,)
        z = torch.full(shape, float(zero_point))
        count = asked["x"].size / s.numel()
        factor = float((count * max(qmax - zero_point, 1)) ** -0.5)
        if kind == "fake":
            out = torch.fake_quantize_per_tensor_affine(x, float(scale), zero_point, qmin, qmax)
            told |= {"scale": scale, **asked, **backward(out, asked["grad"], **{"": x})}
        elif kind == "learned":
            s = leaf([scale])
            out = torch._fake_quantize_learnable_per_tensor_affine(x, s, z, qmin, qmax, factor)
            told |= {"scale": scale, "factor": factor, **asked, **backward(out, asked["grad"], **{"": x, "scale_": s})}
            told["scale_slope"] = told["scale_slope"][0]
        else:
            out = torch._fake_quantize_learnable_per_channel_affine(x, s, z, 0, qmin, qmax, factor)
            told |= {"scale": scale, "factor": factor, **asked, **backward(out, asked["grad"], **{"": x, "scale_": s})}
        made.append(told)
    return made


def main() -> None:
    rng = np.random.default_rng(17)
    versions = [torch.__version__, np.__version__, torch.backends.cpu.get_cpu_capability()]
    answers: Arrays = {"versions": np.array(versions)}
    for kind in ("fake", "learned", "channel"):
        made = rows(kind, rng)
        for name in made[0]:
            column = np.array([row[name] for row in made])
            answers[f"{kind}_{name}"] = (
                column.astype(np.int32) if column.dtype.kind == "i" else column.astype(np.float32)
            )
    path = Path(__file__).with_name("torch_gradients.npz")
    np.savez_compressed(path, **answers)
    print(f"{path.name}: {path.stat().st_size} bytes, torch {versions[0]}")


if __name__ == "__main__":
    main()
