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
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from tinytorch.core import (
    Adam,
    Dataset,
    Linear,
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
    MovingAverageObserver,
    PercentileObserver,
    accuracy_interval,
    model_arrays,
    model_nbytes,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
    speedup,
    time_interleaved,
)

BATCH = 256  # inputs a timed call
ROUNDS = 15
HIDDEN = 512
EPOCHS = {"digits": 20, "fashion-mnist": 6}
Step = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """A line of the table. Accuracies in [0, 1]; bytes of all arrays kept alive; latency as a multiple of float32's."""

    data: str
    model: str
    scheme: str
    accuracy: float
    interval: tuple[float, float]
    bytes: int
    file_bytes: int
    latency_ratio: float


def schemes(calibration: list[np.ndarray]) -> dict[str, Callable[[Module], Module]]:
    """Every way to quantize: its name, and model -> quantized model."""
    static = partial(quantize_static, batches=calibration)
    return {
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
        "static int4, per tensor, min-max": lambda m: static(m, int_type=INT4, axis=None),
        "static int4, per channel, min-max": lambda m: static(m, int_type=INT4),
    }


def train(data: Dataset, seed: int, step: Step) -> Module:
    """A float32 network of two hidden layers, trained on the data; the same seed gives the same weights."""
    rng, inputs, epochs = np.random.default_rng(seed), data.x_train.shape[1], EPOCHS[data.name]
    model = Sequential(
        Linear(inputs, HIDDEN, rng=rng), ReLU(), Linear(HIDDEN, HIDDEN, rng=rng), ReLU(), Linear(HIDDEN, 10, rng=rng)
    )

    def report(epoch: int, loss: float) -> None:
        step(f"{data.name}: training, epoch {epoch + 1} of {epochs}, loss {loss:.3f}")

    optimizer = Adam(model.parameters())
    fit(model, data.x_train, data.y_train, epochs, optimizer, batch_size=64, seed=seed, on_epoch=report)
    optimizer.zero_grad()  # gradients are memory too
    return model


def file_bytes(model: Module) -> int:
    """The size of the model's arrays as an .npz file."""
    file = io.BytesIO()
    np.savez(file, **model_arrays(model))
    return file.getbuffer().nbytes


def measure(data: Dataset, seed: int, step: Step) -> list[Row]:
    """Train on the data, quantize in every way, measure all models side by side."""
    float_model = train(data, seed, step)
    models: dict[str, Module] = {"float32": float_model}
    for name, quantize in schemes(np.array_split(data.x_train[:1024], 8)).items():
        models[name] = quantize(float_model)
        step(f"{data.name}: {name}")
    step(f"{data.name}: timing {len(models)} models in turn")
    seconds = time_interleaved(list(models.values()), Tensor(data.x_test[:BATCH]), ROUNDS)
    shape = "-".join(map(str, [data.x_train.shape[1], HIDDEN, HIDDEN, 10]))
    total = len(data.x_test)
    rows = []
    for (name, model), own in zip(models.items(), seconds, strict=True):
        share = accuracy(model, data.x_test, data.y_test)
        interval = accuracy_interval(round(share * total), total)
        ratio = speedup(own, seconds[0])
        rows.append(Row(data.name, shape, name, share, interval, model_nbytes(model), file_bytes(model), ratio))
    return rows


def table(rows: list[Row], samples: int) -> Table:
    """The rows of one data set, for the terminal."""
    first = rows[0]
    title = f"{first.data}, network {first.model}, {samples} held-out images"
    result = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    result.add_column("scheme", no_wrap=True)
    for heading in ("accuracy", "95 % interval", "bytes alive", "smaller", "on disk", "latency"):
        result.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        lo, hi = row.interval
        result.add_row(
            row.scheme,
            f"{row.accuracy:.2%}",
            f"{lo:.1%}-{hi:.1%}",
            f"{row.bytes:,}",
            f"{first.bytes / row.bytes:.2f}x",
            f"{row.file_bytes:,}",
            f"{row.latency_ratio:.2f}x",
        )
    return result


def machine() -> str:
    """What the numbers were measured on."""
    cpu = platform.processor() or platform.machine()
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}"
    return f"{platform.system()} {cpu}, {os.cpu_count()} cores, {versions}"


def plot(rows: list[Row], path: Path) -> None:
    """A line a scheme: accuracy with its interval, against float32's (grey), and the bytes; one panel a data set."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(row.data for row in rows))
    figure, panels = plt.subplots(1, len(names), figsize=(8 * len(names), 6), squeeze=False)
    for panel, name in zip(panels[0], names, strict=True):
        own = [row for row in rows if row.data == name]
        lines = -np.arange(len(own))
        share = 100 * np.array([row.accuracy for row in own])
        reach = np.abs(100 * np.array([row.interval for row in own]).T - share)
        kinds = [row.scheme.split()[0] for row in own]
        panel.axvspan(share[0] - reach[0, 0], share[0] + reach[1, 0], color="0.9")
        panel.errorbar(share, lines, xerr=reach, fmt="none", ecolor="0.4", capsize=3)
        panel.scatter(share, lines, c=[f"C{list(dict.fromkeys(kinds)).index(kind)}" for kind in kinds], zorder=3)
        panel.set_yticks(lines, [f"{row.scheme}   {row.bytes / 1e3:,.0f} kB" for row in own])
        panel.set(title=f"{name}, network {own[0].model}", xlabel="accuracy, %, with 95 % interval")
    figure.tight_layout()
    beside = path.with_name(path.name + ".part")
    figure.savefig(beside, dpi=120, format=path.suffix.lstrip("."))
    beside.replace(path)


@contextmanager
def progress(console: Console, total: int) -> Iterator[Step]:
    """A bar on a terminal; plain lines elsewhere."""
    if not console.is_terminal:
        yield lambda text: print(text, file=sys.stderr, flush=True)
        return
    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=total)
        yield lambda text: bar.update(task, advance=1, description=text)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tito demo 17_quantization", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same weights and accuracies")
    parser.add_argument("--data", choices=["all", *EPOCHS], default="all", help="all: what is on this machine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw accuracy against bytes")
    args = parser.parse_args(argv)
    for path in filter(None, (args.json, args.plot)):
        if not path.absolute().parent.is_dir():
            parser.error(f"{path}: the folder {path.parent} is not there; make it first")
    if args.plot and args.plot.suffix.lower() not in (".png", ".pdf", ".svg"):
        parser.error(f"--plot wants a file ending in .png, .pdf or .svg, got {args.plot.name}")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    console = Console(stderr=True)
    loaders: list[Callable[[], Dataset]] = []
    if args.data in ("all", "digits"):
        loaders.append(load_digits)
    if args.data == "fashion-mnist" or (args.data == "all" and fashion_mnist_available()):
        loaders.append(load_fashion_mnist)
    out = Console(width=max(Console().width, 120))
    rows: list[Row] = []
    total = sum(EPOCHS[name] + len(schemes([])) + 1 for name in list(EPOCHS)[: len(loaders)])
    tables = []
    with progress(console, total) as step:
        for load in loaders:
            data = load()
            own = measure(data, args.seed, step)
            rows += own
            tables.append(table(own, len(data.x_test)))
    for one in tables:
        out.print(one)
        out.print()
    out.print(f"latency: a batch of {BATCH}, median of {ROUNDS} rounds in turn, float32 = 1; above 1 is slower")
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
        beside = args.json.with_name(args.json.name + ".part")
        beside.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        beside.replace(args.json)
    if args.plot:
        plot(rows, args.plot)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped before the end: nothing was written")
    except OSError as error:
        sys.exit(f"demo: {error}")
