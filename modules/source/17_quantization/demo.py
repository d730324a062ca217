"""Train float32 networks on real data, quantize them in every way the module knows, and print what it cost.

Run it with `tito demo 17_quantization`; `--help` lists the options.
"""

import argparse
import io
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import NoReturn

import numpy as np
from demo_plot import plot
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from tinytorch.acceleration import accelerate, kernel, kernels, set_num_threads
from tinytorch.core import (
    Adam,
    BatchNorm2d,
    Conv2d,
    Dataset,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    Tensor,
    accuracy,
    fashion_mnist_available,
    fit,
    load_digits,
    load_fashion_mnist,
)
from tinytorch.quantization import (
    INT4,
    INT8,
    HistogramObserver,
    IntType,
    MovingAverageObserver,
    PercentileObserver,
    accuracy_interval,
    assign_bits,
    convert,
    equalize,
    fold_batch_norms,
    freeze,
    model_arrays,
    model_nbytes,
    prepare_qat,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
    sensitivity,
    speedup,
    time_interleaved,
)

BATCH = 256  # inputs a timed call
ROUNDS, COMPILED_ROUNDS = 15, 51  # a compiled call is short, and more easily disturbed
HIDDEN = 512
EPOCHS = {"digits": 20, "fashion-mnist": 6}  # of the network of Linear layers
CNN_EPOCHS = {"digits": 20, "fashion-mnist": 2}
TUNING = 20_000  # images that training with the error sees
KINDS = ("linear", "convolutional")
Step = Callable[[str], None]
Scheme = Callable[[Module], Module]


@dataclass(frozen=True)
class Row:
    """A line of the table. Accuracies in [0, 1]; bytes of all arrays kept alive; speeds as multiples of float32's.

    compiled_speed, compiled_bytes: of the same model on the compiled kernels, which keep codes in 2, 4 or 8 bits; None
    where there are none for it.
    """

    data: str
    model: str
    scheme: str
    accuracy: float
    interval: tuple[float, float]
    bytes: int
    file_bytes: int
    speed: float
    compiled_speed: float | None
    compiled_bytes: int | None


def mlp(data: Dataset, rng: np.random.Generator) -> tuple[str, Sequential]:
    """Two hidden layers of HIDDEN units."""
    widths = [data.x_train.shape[1], HIDDEN, HIDDEN, 10]
    linears = [Linear(n_in, n_out, rng=rng) for n_in, n_out in zip(widths, widths[1:], strict=False)]
    return "-".join(map(str, widths)), Sequential(linears[0], ReLU(), linears[1], ReLU(), linears[2])


def cnn(data: Dataset, rng: np.random.Generator) -> tuple[str, Sequential]:
    """Two convolutions, each with batch normalization and pooling, and two linear layers."""
    side = data.x_train.shape[-1] // 4
    model = Sequential(
        *(Conv2d(1, 16, 3, padding=1, rng=rng), BatchNorm2d(16), ReLU(), MaxPool2d(2)),
        *(Conv2d(16, 32, 3, padding=1, rng=rng), BatchNorm2d(32), ReLU(), MaxPool2d(2)),
        *(Flatten(), Linear(32 * side * side, 64, rng=rng), ReLU(), Linear(64, 10, rng=rng)),
    )
    return f"conv16-conv32-{32 * side * side}-64-10", model


def post_training(calibration: list[np.ndarray], products: str) -> dict[str, Scheme]:
    """Every way to quantize a trained network: its name, and model -> quantized model."""
    static = partial(quantize_static, batches=calibration)
    every: dict[str, Scheme] = {
        "weight-only int8, per tensor": lambda m: quantize_weight_only(m, INT8, None, axis=None),
        "weight-only int8, per channel": lambda m: quantize_weight_only(m, INT8, None),
        "weight-only int4, per tensor": lambda m: quantize_weight_only(m, INT4, None, axis=None),
        "weight-only int4, per channel": lambda m: quantize_weight_only(m, INT4, None),
        "weight-only int4, groups of 32": lambda m: quantize_weight_only(m, INT4, 32),
        "dynamic int8, per tensor": lambda m: quantize_dynamic(m, axis=None),
        "dynamic int8, per channel": quantize_dynamic,
        "dynamic int4, per tensor": lambda m: quantize_dynamic(m, INT4, axis=None),
        "dynamic int4, per channel": lambda m: quantize_dynamic(m, INT4),
        "static int8, per tensor, min-max": lambda m: static(m, axis=None),
        "static int8, per channel, min-max": static,
        "static int8, per channel, moving average": lambda m: static(m, observer=MovingAverageObserver),
        "static int8, per channel, 99.9 %": lambda m: static(m, observer=PercentileObserver),
        "static int8, per channel, mse": lambda m: static(m, observer=HistogramObserver),
        "static int8, per channel, entropy": lambda m: static(m, observer=partial(HistogramObserver, "entropy")),
        "static int4, per tensor, min-max": lambda m: static(m, weight_type=INT4, axis=None),
        "static int4, per channel, min-max": lambda m: static(m, weight_type=INT4),
    }
    return {name: way for name, way in every.items() if products == "linear" or not name.startswith("weight-only")}


def low_bits(data: Dataset, calibration: list[np.ndarray], seed: int) -> dict[str, Scheme]:
    """What two to four bits need: equalization, training with the error, trained steps, bits for each layer."""

    def trained(weights: int, activations: int, learned: bool) -> Scheme:
        def scheme(m: Module) -> Module:
            qat = prepare_qat(m, calibration, IntType(weights), IntType(activations), axis=None, learned=learned)
            epochs = 10 if data.name == "digits" else 1
            for lr in (1e-3, 2e-4):
                x, y = data.x_train[:TUNING], data.y_train[:TUNING]
                fit(qat, x, y, epochs, Adam(qat.parameters(), lr=lr), seed=seed)
                freeze(qat)
            return convert(qat)

        return scheme

    def rounded(weights: int, activations: int) -> Scheme:
        return lambda m: convert(prepare_qat(m, calibration, IntType(weights), IntType(activations), axis=None))

    def assigned(m: Module) -> Module:
        types = [IntType(bits) for bits in (2, 3, 4, 5, 6, 8)]
        rows = sensitivity(m, data.x_train[:1000], data.y_train[:1000], types)
        budget = sum(row.nbytes for row in rows if row.int_type == INT4)
        return quantize_dynamic(m, None, rules=assign_bits(rows, budget))

    return {
        "W4A4 per tensor, rounded": rounded(4, 4),
        "W4A4 per tensor, equalized": lambda m: rounded(4, 4)(equalize(m)),
        "W4A4 per tensor, QAT": trained(4, 4, False),
        "W2A8 per tensor, rounded": rounded(2, 8),
        "W2A8 per tensor, QAT": trained(2, 8, False),
        "W2A8 per tensor, LSQ": trained(2, 8, True),
        "dynamic, bits assigned, size of int4": assigned,
    }


def train(data: Dataset, model: Sequential, epochs: int, seed: int, step: Step) -> Module:
    """The network, trained on the data in float32; batch normalization is folded away."""

    def report(epoch: int, loss: float) -> None:
        step(f"{data.name}: training, epoch {epoch + 1} of {epochs}, loss {loss:.3f}")

    fit(model, data.x_train, data.y_train, epochs, Adam(model.parameters()), seed=seed, on_epoch=report)
    return folded(model)


def folded(model: Module) -> Module:
    """The network in eval mode, its batch normalization, if it has one, part of its convolutions."""
    has_norms = any(isinstance(m, BatchNorm2d) for _, m in model.named_modules())
    return fold_batch_norms(model.eval()) if has_norms else model.eval()


def file_bytes(model: Module) -> int:
    """The size of the model's arrays as an .npz file."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **model_arrays(model))
    return file.getbuffer().nbytes


def measure(data: Dataset, kind: str, seed: int, step: Step) -> list[Row]:
    """Train a network of the kind ("linear" or "convolutional"), quantize it in every way, measure all side by side."""
    build, epochs = (mlp, EPOCHS) if kind == "linear" else (cnn, CNN_EPOCHS)
    data = data if kind == "linear" else data.images()
    name, model = build(data, np.random.default_rng(seed))
    float_model = train(data, model, epochs[data.name], seed, step)
    models: dict[str, Module] = {"float32": float_model}
    calibration = np.array_split(data.x_train[:1024], 8)
    for scheme, quantize in (post_training(calibration, kind) | low_bits(data, calibration, seed)).items():
        step(f"{data.name}: {scheme}")
        models[scheme] = quantize(float_model)
    step(f"{data.name}: timing {len(models)} models in turn")
    fast = {scheme: accelerate(m) for scheme, m in models.items() if is_compiled(scheme)}
    batch = Tensor(data.x_test[:BATCH])
    speeds = speeds_of([*models.values()], batch, ROUNDS)
    compiled = dict(zip(fast, speeds_of([float_model, *fast.values()], batch, COMPILED_ROUNDS)[1:], strict=True))
    total = len(data.x_test)
    rows = []
    for (scheme, quantized), speed in zip(models.items(), speeds, strict=True):
        share = accuracy(quantized, data.x_test, data.y_test)
        interval = accuracy_interval(round(share * total), total)
        size, stored = model_nbytes(quantized), file_bytes(quantized)
        compiled_size = model_nbytes(fast[scheme]) if scheme in fast else None
        fast_one = compiled.get(scheme), compiled_size
        rows.append(Row(data.name, name, scheme, share, interval, size, stored, speed, *fast_one))
    return rows


def speeds_of(models: list[Module], batch: Tensor, rounds: int) -> list[float]:
    """How many times faster than the first each model answers a batch."""
    seconds = time_interleaved(models, batch, rounds)
    return [speedup(seconds[0], own) for own in seconds]


def is_compiled(scheme: str) -> bool:
    """Whether there are compiled kernels here, and the scheme has weights in codes for them."""
    return kernels()[0] != "numpy" and scheme != "float32"


def steps_of(name: str) -> int:
    """How many steps `measure` reports for a data set, both kinds together."""
    schemes = sum(len(post_training([], kind)) + 7 for kind in KINDS)
    return EPOCHS[name] + CNN_EPOCHS[name] + schemes + len(KINDS)


def table(rows: list[Row], samples: int) -> Table:
    """The rows of one data set, for the terminal."""
    first = rows[0]
    title = f"{first.data}, network {first.model}, {samples} held-out images"
    result = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    result.add_column("scheme", no_wrap=True)
    for heading in ("accuracy", "95 % interval", "bytes alive", "smaller", "speed", "compiled", "its bytes"):
        result.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        lo, hi = row.interval
        result.add_row(
            row.scheme,
            f"{row.accuracy:.2%}",
            f"{lo:.1%}-{hi:.1%}",
            f"{row.bytes:,}",
            f"{first.bytes / row.bytes:.2f}x",
            f"{row.speed:.2f}x",
            "" if row.compiled_speed is None else f"{row.compiled_speed:.2f}x",
            "" if row.compiled_bytes is None else f"{row.compiled_bytes:,}",
        )
    return result


def machine() -> str:
    """What the numbers were measured on."""
    cpu, told = platform.processor() or platform.machine(), Path("/proc/cpuinfo")  # Linux alone leaves the name there
    if told.exists():
        lines = [line.partition(":") for line in told.read_text(encoding="utf-8").splitlines()]
        cpu = next((value.strip() for key, _, value in lines if key.strip() == "model name"), cpu)
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}"
    return f"{platform.system()} {cpu}, {os.cpu_count()} cores, {versions}"


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file beside `path`, which takes its place when the block has ended well, and is gone if it has not."""
    beside = path.with_name(path.name + ".part")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def progress(console: Console, total: int) -> Iterator[Step]:
    """A bar on a terminal; plain lines elsewhere."""
    if not console.is_terminal:
        yield lambda text: print(text, file=sys.stderr, flush=True)
        return
    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    # Drawn when a step begins, not by a thread, which would take the processor from what is timed.
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("starting", total=total)
        begun = count()
        yield lambda text: bar.update(task, completed=next(begun), description=text, refresh=True)


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one sentence, without the list of options before it."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; `{self.prog} --help` lists the options", file=sys.stderr)
        sys.exit(2)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="tito demo 17_quantization",
        description=(__doc__ or "").splitlines()[0],
        epilog="Example: tito demo 17_quantization --data digits --plot sizes.svg",
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same weights and accuracies")
    parser.add_argument("--data", choices=["all", *EPOCHS], default="all", help="all: what is on this machine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw size against accuracy")
    args = parser.parse_args(argv)
    if args.seed < 0:
        parser.error(f"--seed wants a number from 0 up, got {args.seed}")
    for path in filter(None, (args.json, args.plot)):
        if path.is_dir():
            parser.error(f"{path}: this is a folder; name a file in it")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)  # now: minutes later would be a pity
        except OSError as error:
            parser.error(f"{path}: its folder cannot be made ({error.strerror})")
    if args.plot and args.plot.suffix.lower() not in (".png", ".pdf", ".svg"):
        parser.error(f"--plot wants a file ending in .png, .pdf or .svg, got {args.plot.name}")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    console = Console(stderr=True)
    threads = int(os.environ.get("OPENBLAS_NUM_THREADS", os.cpu_count() or 1))
    set_num_threads(threads)  # as many as NumPy's products use
    loaders: list[Callable[[], Dataset]] = []
    if args.data in ("all", "digits"):
        loaders.append(load_digits)
    if args.data == "fashion-mnist" or (args.data == "all" and fashion_mnist_available()):
        loaders.append(load_fashion_mnist)
    out = Console(width=max(Console().width, 120))
    rows: list[Row] = []
    names = [args.data] if args.data != "all" else list(EPOCHS)[: len(loaders)]
    tables = []
    with progress(console, sum(map(steps_of, names))) as step:
        for data, kind in ((load(), kind) for load in loaders for kind in KINDS):
            own = measure(data, kind, args.seed, step)
            rows += own
            tables.append(table(own, len(data.x_test)))
    for one in tables:
        out.print(one)
        out.print()
    times = f"a batch of {BATCH}, {threads} threads, median of {ROUNDS} rounds in turn, compiled {COMPILED_ROUNDS}"
    out.print(f"speed: {times}; float32 = 1, above 1 is faster")
    if kernels()[0] == "numpy":
        out.print("compiled: no kernels here; pip install numba brings them")
    else:
        out.print(f"compiled: the same model, the same answers, on the kernel {kernel()}, and the bytes alive there")
    out.print(machine())
    if args.data == "all" and len(loaders) == 1:
        out.print("Fashion-MNIST is not on this machine; --data fashion-mnist fetches it.")
    if args.json:
        report = {
            "module": "17_quantization",
            "seed": args.seed,
            "data": [data for data in dict.fromkeys(row.data for row in rows)],
            "machine": machine(),
            "rows": [asdict(row) for row in rows],
        }
        with whole(args.json) as beside:
            beside.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        with whole(args.plot) as beside:
            plot(rows, beside, args.plot.suffix.lower().lstrip("."))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped before the end: nothing was written")
    except OSError as error:
        sys.exit(f"demo: {error}")
