"""The parts `conv` and `networks` of `benchmarks.kernels`: convolutions and whole quantized networks beside engines.

A convolution takes and gives uint8 codes. A network is quantized once, and what every engine runs is the file that
`tinytorch.deployment` writes of it, floats in and out. Before anything is timed the answers are compared: the codes of
every layer, of which none may differ, and the floats that come out of the very calls that are timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.contest import Contest
from tinytorch.acceleration import Int8Conv2d, accelerate
from tinytorch.core import (
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    Sequential,
    no_grad,
)
from tinytorch.deployment import Convolution as ConvolutionStep
from tinytorch.deployment import Product, Trace, compare_steps, to_onnx, to_tflite, trace, with_output_codes
from tinytorch.deployment.extras import library
from tinytorch.deployment.onnx_engines import exact_options
from tinytorch.deployment.tflite_layout import Layout
from tinytorch.quantization import UINT8, QParams, quantize_static

Call = Callable[[], Any]


@dataclass(frozen=True)
class Convolution:
    """A shape that is measured: `n` images of `size` x `size` pixels."""

    kernel: int
    channels: int
    out: int
    size: int
    n: int = 1
    stride: int = 1
    groups: int = 1

    @property
    def name(self) -> str:
        depthwise, strides = self.groups > 1, f" stride {self.stride}" if self.stride > 1 else ""
        channels = f"depthwise {self.channels}" if depthwise else f"{self.channels}->{self.out}"
        return f"conv {self.kernel}x{self.kernel} {channels}{strides} at {self.size}x{self.size}, batch {self.n}"

    @property
    def work(self) -> int:
        """Operations: a multiplication and an addition count two."""
        return 2 * self.n * (self.size // self.stride) ** 2 * self.out * self.channels // self.groups * self.kernel**2


CONVOLUTIONS = [
    Convolution(3, 64, 64, 56),
    Convolution(1, 64, 256, 56),
    Convolution(3, 128, 128, 28),
    Convolution(3, 16, 32, 28, n=8),
    Convolution(3, 3, 32, 224, stride=2),
    Convolution(3, 32, 32, 112, groups=32),
    Convolution(3, 512, 512, 14, groups=512),
]


def convolutions(contest: Contest, peers: list[Any], cases: list[Convolution]) -> None:
    """Int8Conv2d: uint8 codes in and out, channels last in memory."""
    rng = np.random.default_rng(0)
    for c in cases:
        x = rng.integers(0, 256, (c.n, c.size, c.size, c.channels)).astype(np.uint8).transpose(0, 3, 1, 2)
        q = rng.integers(-127, 128, (c.out, c.channels // c.groups, c.kernel, c.kernel)).astype(np.int8)
        scale, bias = rng.uniform(0.5, 1, c.out).astype(np.float32) / 127, rng.integers(-9000, 9000, c.out)
        given = QParams(np.float32(0.02), 120, UINT8)
        out = QParams(np.float32(0.02 * np.sqrt(q[0].size)), 100, UINT8)
        edge = c.kernel // 2
        layer = Int8Conv2d(
            q, scale, bias.astype(np.int32), given, out, stride=c.stride, padding=edge, groups=c.groups
        )  # fmt: skip
        told = {
            "xs": given.scale, "xz": np.uint8(120), "ws": scale, "wz": np.zeros(c.out, np.int8), "ys": out.scale,
            "yz": np.uint8(100), "b": bias.astype(np.int32), "strides": [c.stride] * 2, "pads": [edge] * 4,
            "group": c.groups,
        }  # fmt: skip
        told = {name: np.asarray(v) if name not in ("strides", "pads", "group") else v for name, v in told.items()}
        others: dict[str, Call] = {}
        for peer in peers:
            if hasattr(peer, "conv"):
                others |= peer.conv(np.ascontiguousarray(x), q, told)
        for name, call in others.items():
            theirs = np.asarray(call())
            theirs = theirs.transpose(0, 3, 1, 2) if name.endswith("channels last") else theirs
            differing = int((theirs != layer(x)).sum())
            assert differing == 0, f"{c.name}: {differing} codes of {name} differ"
        contest.run(c.name, partial(layer, x), others, c.work)


@dataclass(frozen=True)
class Network:
    """A network in float32 with random weights, the shape of a sample, and the batches that it is measured with.

    floats: it has layers that compute in float, which no TFLite file of codes has. adds: it adds codes.
    """

    name: str
    model: Module
    shape: tuple[int, ...]
    batches: tuple[int, ...] = (1, 32, 256)
    floats: bool = False
    adds: bool = False

    def rounds_otherwise(self, engine: str) -> bool:
        """Whether a code may be another one in this engine: float sums are added up in another order there, and LiteRT
        rounds sums of codes twice."""
        return self.floats or (self.adds and engine == "litert")


def networks() -> Iterator[Network]:
    """What is measured."""
    rng = np.random.default_rng(0)
    yield Network("MLP 784-512-512-10", perceptron(rng), (784,))
    yield Network("CNN 32-64", small_images(rng), (1, 28, 28))
    yield Network("VGG 64-128-256", vgg(rng), (3, 32, 32))
    yield Network("ResNet-18 at 32x32", resnet(rng, False), (3, 32, 32), adds=True)
    yield Network("ResNet-18 at 224x224", resnet(rng, True), (3, 224, 224), (1, 32), adds=True)
    yield Network("ResNet-18 with float sums at 32x32", resnet(rng, False, False), (3, 32, 32), floats=True)
    yield Network("MobileNetV2 at 96x96", mobile(rng), (3, 96, 96), adds=True)
    yield Network("keyword spotter", keywords(rng), (1, 49, 10))


def perceptron(rng: np.random.Generator) -> Module:
    return Sequential(
        *(Linear(784, 512, rng=rng), ReLU(), Linear(512, 512, rng=rng), ReLU()), Linear(512, 10, rng=rng)
    )  # fmt: skip


def small_images(rng: np.random.Generator) -> Module:
    return Sequential(
        *(Conv2d(1, 32, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2)),
        *(Conv2d(32, 64, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2)),
        *(Flatten(), Linear(64 * 49, 128, rng=rng), ReLU(), Linear(128, 10, rng=rng)),
    )


def vgg(rng: np.random.Generator) -> Module:
    """Simonyan and Zisserman 2014: two convolutions a size."""
    layers: list[Module] = []
    for channels, out in ((3, 64), (64, 128), (128, 256)):
        for n_in in (channels, out):
            layers += [Conv2d(n_in, out, 3, padding=1, rng=rng), ReLU()]
        layers.append(MaxPool2d(2))
    return Sequential(*layers, Flatten(), Linear(256 * 16, 256, rng=rng), ReLU(), Linear(256, 10, rng=rng))


def resnet(rng: np.random.Generator, of_photographs: bool, on_codes: bool = True) -> Module:
    """He et al. 2015: two blocks for each number of channels; on photographs after a 7x7 convolution and a pool.

    on_codes: what halves the image is a convolution before its blocks, and the end is the largest value of each
    channel. False, as in the paper: the first block has a shortcut of its own, so that its sum is taken in float, and
    the end is the mean. ONNX Runtime computes in float what such a sum takes.
    """
    layers = [Conv2d(3, 64, 3, padding=1, rng=rng), ReLU()]
    if of_photographs:
        layers = [Conv2d(3, 64, 7, stride=2, padding=3, rng=rng), ReLU(), MaxPool2d(3, 2, padding=1)]
    channels, size = 64, 7 if of_photographs else 4
    for out in (64, 128, 256, 512):
        halves = out != channels
        if halves and on_codes:
            layers += [Conv2d(channels, out, 3, stride=2, padding=1, rng=rng), ReLU()]
            channels, halves = out, False
        for stride in (2 if halves else 1, 1):
            block = Sequential(
                *(Conv2d(channels, out, 3, stride=stride, padding=1, rng=rng), ReLU()),
                Conv2d(out, out, 3, padding=1, rng=rng),
            )
            shortcut = Conv2d(channels, out, 1, stride=stride, rng=rng) if channels != out else None
            layers += [Residual(block, shortcut), ReLU()]
            channels = out
    return Sequential(*layers, MaxPool2d(size) if on_codes else GlobalAvgPool2d(), Flatten(), Linear(512, 10, rng=rng))


def mobile(rng: np.random.Generator) -> Module:
    """Sandler et al. 2018, ReLU for ReLU6, the largest value of each channel at the end for their mean."""
    layers: list[Module] = [Conv2d(3, 32, 3, stride=2, padding=1, rng=rng), ReLU()]
    channels = 32
    for expand, out, count, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 3, 2), (6, 96, 2, 1)):
        for i in range(count):
            wide, step = channels * expand, stride if i == 0 else 1
            grown = [Conv2d(channels, wide, 1, rng=rng), ReLU()] if expand > 1 else []
            depthwise = Conv2d(wide, wide, 3, stride=step, padding=1, groups=wide, rng=rng)
            block = Sequential(*grown, depthwise, ReLU(), Conv2d(wide, out, 1, rng=rng))
            layers.append(Residual(block) if step == 1 and channels == out else block)
            channels = out
    layers += [Conv2d(channels, 640, 1, rng=rng), ReLU(), MaxPool2d(6), Flatten(), Linear(640, 100, rng=rng)]
    return Sequential(*layers)


def keywords(rng: np.random.Generator) -> Module:
    """Zhang et al. 2017, DS-CNN: separable convolutions over 49 frames of 10 features; the largest value of each
    channel at the end for their mean."""
    layers: list[Module] = [Conv2d(1, 64, (10, 4), stride=2, padding=(5, 1), rng=rng), ReLU()]
    for _ in range(4):
        layers += [Conv2d(64, 64, 3, padding=1, groups=64, rng=rng), ReLU(), Conv2d(64, 64, 1, rng=rng), ReLU()]
    return Sequential(*layers, MaxPool2d((25, 5)), Flatten(), Linear(64, 12, rng=rng))


def whole_networks(contest: Contest, threads: int, batches: list[int], only: list[Network] | None = None) -> None:
    """Accelerated networks beside ONNX Runtime, in both its forms, and LiteRT."""
    for network in only or networks():
        rng = np.random.default_rng(1)
        few = rng.normal(size=(8, *network.shape)).astype(np.float32)
        model = quantize_static(network.model.eval(), [few])
        steps, fast = trace(model, few[:1]), accelerate(model)
        engines = dict(files(network, model, few, threads))
        for batch in (n for n in network.batches if n in batches):
            x = rng.normal(size=(batch, *network.shape)).astype(np.float32)
            with no_grad():
                others = {name: engine.call(x) for name, engine in engines.items()}
                for name, engine in engines.items():
                    check(network, name, engine.ours(x), np.asarray(others[name]()))
                work = operations(steps) * batch
                contest.run(f"network {network.name}, batch {batch}", partial(fast, x), others, work)


def operations(steps: Trace) -> int:
    """Of the products of one sample: a multiplication and an addition count two."""
    products = (step for step in steps.steps if isinstance(step, (Product, ConvolutionStep)))
    return sum(2 * step.weight.q.size * prod(step.y.shape) // len(step.weight.q) for step in products)


@dataclass(frozen=True)
class Engine:
    """A network in an engine. call: of a batch what is timed, as the engine takes it. ours: what it should give."""

    call: Callable[[NDArray[np.float32]], Call]
    ours: Callable[[NDArray[np.float32]], NDArray[np.float32]]


def files(network: Network, model: Module, few: NDArray[np.float32], threads: int) -> Iterator[tuple[str, Engine]]:
    """The network's files in their engines; AssertionError if a code differs."""
    fast, steps = accelerate(model), trace(model, few[:1])
    for form in ("qdq", "qoperator"):
        file = to_onnx(model, network.shape, form, "uint8")
        check_codes(network, steps, file, f"ort {form}")
        yield f"ort {form}", Engine(in_onnxruntime(file, few, threads), lambda x: fast(x).data)
    if not network.floats:
        ended = with_output_codes(model, [few])
        tflite, steps, ended = to_tflite(ended, network.shape), trace(ended, few[:1]), accelerate(ended)
        check_codes(network, steps, tflite, "litert")
        yield "litert", Engine(in_litert(tflite, steps, threads), lambda x: ended(x).dequantize())


def check_codes(network: Network, steps: Trace, file: Any, engine: str) -> None:
    """No code may differ up to the first layer that another engine rounds otherwise: sums of floats, and in LiteRT, of
    codes."""
    for row in compare_steps(steps, file).layers:
        if row.kind == "FloatLayer" or (row.kind == "Add" and engine == "litert"):
            return
        assert row.differing == 0, f"{network.name} in {engine}: {row}"


def in_onnxruntime(file: Any, few: NDArray[np.float32], threads: int) -> Callable[[NDArray[np.float32]], Call]:
    """With the options that make it exact on every processor only where it is not without them: they cost much."""
    onnxruntime = library("onnxruntime")
    exact, plain = exact_options(file), onnxruntime.SessionOptions()
    plain.log_severity_level = 4
    sessions = []
    for options in (exact, plain):
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        sessions.append(onnxruntime.InferenceSession(file.SerializeToString(), options))
    wanted, got = (session.run(["output"], {"input": few})[0] for session in sessions)
    session = sessions[1 if np.array_equal(wanted, got) else 0]
    return lambda x: lambda: session.run(["output"], {"input": x})[0]


def in_litert(content: bytes, steps: Trace, threads: int) -> Callable[[NDArray[np.float32]], Call]:
    """Images go in with their channels last."""
    interpreters = library("ai_edge_litert.interpreter")

    def call(x: NDArray[np.float32]) -> Call:
        interpreter = interpreters.Interpreter(model_content=content, num_threads=threads)
        given, (out,) = Layout(steps).in_file(steps.x, x), interpreter.get_output_details()
        (into,) = interpreter.get_input_details()
        interpreter.resize_tensor_input(into["index"], given.shape)
        interpreter.allocate_tensors()

        def run() -> Any:
            interpreter.set_tensor(into["index"], given)
            interpreter.invoke()
            return interpreter.get_tensor(out["index"])

        return run

    return call


def check(network: Network, name: str, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    """The floats of the calls that are timed: equal, or near where codes may differ; see `check_codes`."""
    far = np.abs(theirs - ours).max() / np.abs(ours).max()
    most = 0.05 if network.rounds_otherwise(name) else 0.0
    assert far <= most, f"{network.name}: the answers of {name} are {far:.1%} away"
