"""Train two small networks in PyTorch, once, and keep them in torch_models.npz: examples and tests need no PyTorch.

    pip install torch
    python examples/make_torch_models.py

The arrays: `cnn.NAME` and `lstm.NAME`, the state dicts; `cnn.answers` and `lstm.answers`, [500, 10], what PyTorch
computes for the test digits in evaluation mode; `torch`, its version. The LSTM reads an image as eight rows.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tinytorch.core import load_digits


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


class RowReader(nn.Module):  # type: ignore[misc]
    """[N, 8, 8] -> [N, 10]: an LSTM reads row after row, a Linear its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 24, batch_first=True), nn.Linear(24, 10)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(x)[0][:, -1])


def trained(model: nn.Module, x: Any, y: Any, epochs: int) -> nn.Module:
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.eval()


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    digits = load_digits()
    y, arrays = torch.from_numpy(digits.y_train), dict[str, Any](torch=np.array(torch.__version__))
    for name, model, shape, epochs in (("cnn", cnn(), (-1, 1, 8, 8), 8), ("lstm", RowReader(), (-1, 8, 8), 25)):
        x_train, x_test = (torch.from_numpy(x.reshape(shape)) for x in (digits.x_train, digits.x_test))
        trained(model, x_train, y, epochs)
        with torch.no_grad():
            answers = model(x_test).numpy()
        state = {key: value.numpy() for key, value in model.state_dict().items() if value.dtype == torch.float32}
        arrays |= {f"{name}.{key}": value for key, value in (state | {"answers": answers}).items()}
        print(f"{name}: {np.mean(answers.argmax(1) == digits.y_test):.1%} of the test digits")
    np.savez_compressed(Path(__file__).with_name("torch_models.npz"), **arrays)


if __name__ == "__main__":
    main()
