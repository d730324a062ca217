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
    "conv_uneven": (nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(0, 3), dilation=(2, 1), groups=2), (2, 4, 7, 5)),
    "conv_dilated": (nn.Conv2d(2, 3, 3, padding=2, dilation=2, bias=False), (2, 2, 6, 5)),
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=3, dilation=2, groups=2), (3, 4, 11)),
    "batch_norm1d_rows": (nn.BatchNorm1d(3), (7, 3)),
    "batch_norm1d_signals": (nn.BatchNorm1d(3), (4, 3, 5)),
    "max_pool_padded": (nn.MaxPool2d((3, 2), stride=(2, 1), padding=(1, 0)), (2, 2, 6, 5)),
    "avg_pool_padded": (nn.AvgPool2d(3, stride=2, padding=1), (2, 2, 6, 5)),
    "avg_pool_uncounted": (nn.AvgPool2d((2, 3), stride=1, padding=1, count_include_pad=False), (2, 2, 4, 5)),
    "max_pool1d": (nn.MaxPool1d(4, stride=3, padding=2), (2, 2, 9)),
    "avg_pool1d": (nn.AvgPool1d(2, padding=1), (2, 2, 7)),
}


MODEL = nn.Sequential(  # as tests/core/test_pytorch.py builds it here
    nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(0, 1), bias=False), nn.BatchNorm2d(4), nn.LeakyReLU(0.2)
    ),
    nn.AvgPool2d(2, 1, 1, count_include_pad=False),
    nn.SiLU(),
    nn.Conv2d(4, 6, 3, dilation=(1, 2), groups=2),
    nn.ReLU6(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Dropout(0.5),
    nn.Linear(6, 5),
    nn.LayerNorm(5),
    nn.GELU(),
)


def model_answers() -> dict[str, Any]:
    """What the model gives in evaluation mode, and its state."""
    torch.manual_seed(1)
    x = torch.randn(3, 2, 9, 8)
    MODEL.train()(x)  # sets the running statistics
    arrays = {"x": x, "out": MODEL.eval()(x), **MODEL.state_dict()}
    return {f"model:{key}": value.detach().numpy() for key, value in arrays.items() if "num" not in key}


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
        if name.startswith("batch_norm"):
            answers[f"{name}.eval_out"] = layer.eval()(x).detach().numpy()
    answers |= model_answers()
    np.savez_compressed(Path(__file__).with_name("torch_answers.npz"), **answers)


if __name__ == "__main__":
    main()
