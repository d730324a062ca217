"""A service: many threads share one INT8 model. It is typed throughout, and each answer is what it would be alone."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytorch.acceleration import accelerate
from tinytorch.core import Adam, Linear, Module, ReLU, Sequential, Tensor, fit, load_digits, softmax
from tinytorch.quantization import outputs, quantize_static


@dataclass(frozen=True)
class Answer:
    digit: int
    confidence: float  # in [0, 1]


class Service:
    """Answers images [64] of any number of callers at once, with `threads` threads."""

    def __init__(self, model: Module, threads: int = 8) -> None:
        self.model, self.pool = accelerate(model), ThreadPoolExecutor(threads)

    def answer(self, image: NDArray[np.float32]) -> Answer:
        shares = softmax(Tensor(outputs(self.model, image[None]))).data[0]
        return Answer(int(shares.argmax()), float(shares.max()))


digits, rng = load_digits(), np.random.default_rng(0)
model = Sequential(Linear(64, 64, rng=rng), ReLU(), Linear(64, 10, rng=rng))
fit(model, digits.x_train, digits.y_train, 15, Adam(model.parameters(), lr=3e-3))
int8 = quantize_static(model, [digits.x_train[:256]])
service = Service(int8)
together = list(service.pool.map(service.answer, np.tile(digits.x_test, (4, 1))))
alone = [int(outputs(int8, image[None]).argmax()) for image in digits.x_test]  # in NumPy, one by one
assert [answer.digit for answer in together] == alone * 4
print(f"{len(together)} answers of 8 threads, each as if it had been alone; {together[0]}")
