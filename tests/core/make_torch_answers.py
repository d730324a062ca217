"""Write torch_answers.npz: what PyTorch computes, on inputs of its own, for the layers that have conventions.

Run by hand with PyTorch installed: python tests/core/make_torch_answers.py
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

CASES = {
    "conv": (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 7, 8)),
    "conv_groups": (nn.Conv2d(4, 6, 3, padding=2, groups=2), (2, 4, 5, 6)),
    "conv_depthwise": (nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), (2, 4, 5, 6)),
    "batch_norm": (nn.BatchNorm2d(3), (4, 3, 5, 6)),
    "layer_norm": (nn.LayerNorm(5), (2, 3, 5)),
    "max_pool": (nn.MaxPool2d(3, stride=2), (2, 2, 7, 8)),
    "max_pool_ties": (nn.MaxPool2d(2), (2, 2, 6, 7)),
    "avg_pool": (nn.AvgPool2d(2), (2, 2, 5, 6)),
    "gelu": (nn.GELU(), (3, 40)),
}


def main() -> None:
    torch.manual_seed(0)
    answers = dict[str, Any]()
    for name, (layer, shape) in CASES.items():
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
        x = torch.randn(shape) * 2
        x = (x.round() if name.endswith("ties") else x).requires_grad_()
        out = layer(x)
        grad = torch.randn(out.shape)
        out.backward(grad)
        arrays = {"x": x, "out": out, "grad": grad, "x_grad": x.grad}
        arrays |= {key: value for key, value in layer.state_dict().items() if "num" not in key}  # as after the forward
        arrays |= {f"{key}_grad": parameter.grad for key, parameter in layer.named_parameters()}
        answers |= {f"{name}.{key}": value.detach().numpy() for key, value in arrays.items()}
        if name == "batch_norm":
            answers[f"{name}.eval_out"] = layer.eval()(x).detach().numpy()
    np.savez_compressed(Path(__file__).with_name("torch_answers.npz"), **answers)


if __name__ == "__main__":
    main()
