"""Write a quantized network as a file for another engine, run it there, and print what differs.

Run it with `tito deploy 17_quantization --to onnx --out FILE.onnx --check`; `--help` lists the options.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from demo import Parser, Step, cnn, folded, mlp, progress, train, whole
from rich.console import Console
from rich.table import Table

from tinytorch.acceleration import accelerate, set_num_threads
from tinytorch.core import (
    Dataset,
    Module,
    Sequential,
    Tensor,
    accuracy,
    fashion_mnist_available,
    load_digits,
    load_fashion_mnist,
    load_state,
    save_state,
)
from tinytorch.deployment import CFiles, Comparison, compare, to_c, to_coreml, trace, with_output_codes
from tinytorch.deployment.engines import ENGINES
from tinytorch.deployment.extras import library
from tinytorch.deployment.targets import TARGETS, Target
from tinytorch.deployment.tflite_engines import least_arena
from tinytorch.quantization import (
    QuantizedTensor,
    quantize_static,
    speedup,
    time_interleaved,
)

EPOCHS = 4  # of the network that is trained here, if no file is given
COMPARED, TIMED, ROUNDS = 200, 32, 15  # images of which every layer is compared; of a timed batch; rounds in turns
NETWORKS: dict[str, Callable[[Dataset, np.random.Generator], tuple[str, Sequential]]] = {
    "convolutional": cnn,
    "linear": mlp,
}


@dataclass(frozen=True)
class Report:
    """What was written, and what was found. accuracies: shares of test images; None where no engine runs the file here.

    speed: ours / theirs, median of rounds in turns, above 1 where the engine is faster.
    """

    target: str
    file: str
    nbytes: int
    float_accuracy: float
    accuracy: float
    engine: str | None
    engine_accuracy: float | None
    differing: int | None
    speed: float | None
    faults: list[str]


Told = tuple[int, list[str | Table]]  # the exit status, and what a person is told


def steps_of(args: argparse.Namespace) -> int:
    """How many steps are reported: those of training, of writing, and of the engine's run."""
    checked = args.check and args.to in TARGETS and TARGETS[args.to].engine is not None
    return (EPOCHS if args.file is None else 0) + 2 + (3 if checked else 0)


def libraries_of(args: argparse.Namespace) -> list[str]:
    """What has to be installed for it, which is better known before a network is trained."""
    if args.to not in TARGETS:
        return ["coremltools"] if args.to == "coreml" else []
    target = TARGETS[args.to]
    return [target.library, *([ENGINES[target.engine].library] if args.check and target.engine else [])]


def float_network(args: argparse.Namespace, data: Dataset, step: Step) -> Module:
    """The float network: trained here, or with the weights of a file."""
    _, model = NETWORKS[args.network](data, np.random.default_rng(args.seed))
    if args.file is None:
        return train(data, model, EPOCHS, args.seed, step)
    loaded = folded(model)
    load_state(loaded, args.file)
    return loaded


def quantized(model: Module, data: Dataset, target: Target, axis: int | None) -> Module:
    """The network in integers, as the target wants it."""
    batches = np.array_split(data.x_train[:1024], 8)
    result = quantize_static(model, batches, axis=axis, symmetric=not target.zero_points)
    return with_output_codes(result, batches) if target.codes_out else result


def predicts(content: bytes, model: Module, x: np.ndarray, engine: str) -> Callable[[Any], np.ndarray]:
    """What gives the file's output for a batch in the engine."""
    steps, chosen = trace(model, x[:1]), ENGINES[engine]
    opened = chosen.opened(content)
    last = "output" if "output" in chosen.values_in(opened) else steps.steps[-1].x.name
    predict = chosen.prepare(opened, steps, [last])
    return lambda batch: predict(batch.data if isinstance(batch, Tensor) else batch)[0]


def examined(
    args: argparse.Namespace, content: bytes, floats: Module, model: Module, data: Dataset, step: Step
) -> tuple[Report, Comparison | None]:
    """The file beside the network: accuracy of both, every layer's codes, and time."""
    target = TARGETS[args.to]
    found: Comparison | None = None
    theirs = speed = None
    if args.check and target.engine is not None:
        step(f"running it in {target.engine}")
        predict = predicts(content, model, data.x_test, target.engine)
        answers = np.concatenate([predict(part) for part in np.array_split(data.x_test, -(-len(data.x_test) // 256))])
        theirs = float(np.mean(answers.argmax(1) == data.y_test))
        step("comparing every layer")
        found = compare(model, content, data.x_test[:COMPARED], target.engine)
        step("timing both in turn")
        batch = Tensor(data.x_test[:TIMED])
        ours = accelerate(model)
        seconds = time_interleaved([ours, predict], batch, ROUNDS)
        speed = speedup(seconds[0], seconds[1])
    report = Report(
        target=args.to,
        file=str(args.out),
        nbytes=len(content),
        float_accuracy=accuracy(floats, data.x_test, data.y_test),
        accuracy=share_right(model, data),
        engine=target.engine if found else None,
        engine_accuracy=theirs,
        differing=found.differing if found else None,
        speed=speed,
        faults=target.faults(content),
    )
    return report, found


def share_right(model: Module, data: Dataset) -> float:
    y = model(data.x_test)
    answers = y.dequantize() if isinstance(y, QuantizedTensor) else y.data
    return float(np.mean(answers.argmax(1) == data.y_test))


def layer_by_layer(found: Comparison) -> Table:
    """A row for each layer."""
    table = Table(title=f"in {found.engine}, {COMPARED} images", title_justify="left", box=None, pad_edge=False)
    for heading in ("layer", "step"):
        table.add_column(heading, no_wrap=True)
    for heading in ("codes", "differ", "by at most"):
        table.add_column(heading, justify="right")
    for row in found.rows:
        table.add_row(row.layer, row.kind, f"{row.values:,}", f"{row.differing:,}", f"{row.largest:g}")
    return table


def write(args: argparse.Namespace, floats: Module, data: Dataset, step: Step) -> Told:
    """The file of a target, whole or not at all."""
    target = TARGETS[args.to]
    step("quantizing")
    model = quantized(floats, data, target, None if args.per_tensor else 0)
    step(f"writing {args.out.name}")
    content = target.write(model, data.x_test.shape[1:])
    report, found = examined(args, content, floats, model, data, step)
    with whole(args.out) as beside:
        beside.write_bytes(content)
    if args.json:
        with whole(args.json) as beside:
            beside.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    said: list[str | Table] = [layer_by_layer(found)] if found else []
    said.append(f"{args.out}: {report.nbytes:,} bytes, for {args.to}")
    if args.check and args.to == "tflite-micro":
        arena = f"{least_arena(content):,} bytes, pointers of 8 bytes among them"
        said.append(f"TFLite Micro takes it with an arena of {arena}")
    theirs = "" if report.engine_accuracy is None else f", {report.engine_accuracy:.2%} in {report.engine}"
    said.append(f"accuracy: {report.float_accuracy:.2%} in float32, {report.accuracy:.2%} in int8 here{theirs}")
    if report.speed is not None:
        said.append(f"speed: {report.speed:.2f} times ours, batches of {TIMED} images on one thread, in turns")
    elif args.check and target.engine is None:
        said.append(f"Nothing here runs a file for {args.to}: its written rules were checked, no engine.")
    said += [f"{args.to} would not take it as it is: {fault}" for fault in report.faults]
    return (1 if report.faults or report.differing else 0), said


def write_c(args: argparse.Namespace, floats: Module, data: Dataset, step: Step) -> Told:
    """The two files of C."""
    step("quantizing")
    model = quantized(floats, data, Target(lambda m, s: b"", ".c", "", codes_out=True), None if args.per_tensor else 0)
    step(f"writing {args.out.name}")
    files: CFiles = to_c(model, data.x_test.shape[1:], args.out.stem, args.rounding)
    for path, text in ((args.out, files.source), (args.out.with_suffix(".h"), files.header)):
        with whole(path) as beside:
            beside.write_text(text, encoding="utf-8", newline="\n")
    both = f"{args.out} and {args.out.with_suffix('.h').name}"
    arena = f"{files.arena:,} bytes of RAM beside input and output, sums rounded as {args.rounding!r}"
    return 0, [f"{both}: {files.constants:,} bytes of constants in flash, {arena}"]


def write_coreml(args: argparse.Namespace, floats: Module, data: Dataset, step: Step) -> Told:
    """A package, which is a folder: whole or not at all."""
    step("quantizing")
    model = quantized(floats, data, TARGETS["onnx"], None if args.per_tensor else 0)
    step(f"writing {args.out.name}")
    package = to_coreml(model, data.x_test.shape[1:])
    with tempfile.TemporaryDirectory(dir=args.out.parent) as folder:
        beside = Path(folder) / "net.mlpackage"
        package.save(str(beside))
        beside.replace(args.out)
    size = sum(file.stat().st_size for file in args.out.rglob("*") if file.is_file())
    return 0, [f"{args.out}: {size:,} bytes, for coreml; it runs on Apple's systems, and was not run here"]


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="tito deploy 17_quantization",
        description=(__doc__ or "").splitlines()[0],
        epilog="Example: tito deploy 17_quantization --to onnx --out net.onnx --check",
    )
    weights = "weights of the demo's network, as save_state writes them; left out: a network is trained"
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE.npz", help=weights)
    parser.add_argument("--to", choices=[*TARGETS, "coreml", "c"], required=True, help="the engine that will run it")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="run it there, and compare every layer's codes")
    parser.add_argument("--network", choices=list(NETWORKS), default="convolutional")
    parser.add_argument("--data", choices=["digits", "fashion-mnist"], default="digits")
    parser.add_argument("--per-tensor", action="store_true", help="one scale for each weight, not one for each output")
    parser.add_argument("--rounding", choices=["float", "gemmlowp", "single"], default="float", help="of the C file")
    parser.add_argument("--save", type=Path, metavar="FILE.npz", help="also keep the float weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was found as JSON")
    args = parser.parse_args(argv)
    if args.to == "coreml" and (args.out.exists() or args.out.suffix != ".mlpackage"):
        parser.error(f"{args.out}: wanted the name of a new folder, such as net.mlpackage")
    if args.out.is_dir():
        parser.error(f"{args.out}: this is a folder; name a file in it")
    for path in filter(None, (args.out, args.save, args.json)):
        if not path.parent.is_dir():  # now: after the training would be a pity
            parser.error(f"{path}: there is no folder {path.parent}")
    ending = {"c": ".c", "coreml": ".mlpackage"}.get(args.to) or TARGETS[args.to].ending
    if args.out.suffix != ending:
        parser.error(f"--to {args.to} wants --out FILE{ending}, got {args.out.name}")
    if args.file and (args.file.suffix != ".npz" or not args.file.is_file()):
        wanted = "wanted weights of the demo's network, the .npz that --save writes"
        parser.error(f"{args.file}: {wanted}; an ONNX model is quantized by `tito quantize`")
    if args.to == "c" and not args.out.stem.isidentifier():
        parser.error(f"{args.out}: its name becomes one in C; call it network.c")
    if args.to in ("c", "coreml") and args.check:
        where = "where you compile it" if args.to == "c" else "on Apple's systems"
        parser.error(f"--check runs engines, and this runs {where}: docs/deployment.md says what was checked")
    if args.data == "fashion-mnist" and not fashion_mnist_available():
        print("fetching Fashion-MNIST", file=sys.stderr)
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    for name in libraries_of(args):
        library(name)
    set_num_threads(1)
    data = load_digits() if args.data == "digits" else load_fashion_mnist()
    data = data.images() if args.network == "convolutional" else data
    with progress(Console(stderr=True), steps_of(args)) as step:  # which prints wait for: it stands below them
        floats = float_network(args, data, step)
        if args.save:
            save_state(floats, args.save)
        status, said = {"c": write_c, "coreml": write_coreml}.get(args.to, write)(args, floats, data, step)
    for one in said:
        print(one) if isinstance(one, str) else Console(width=max(Console().width, 100)).print(one)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped before the end: nothing was written")
    except (OSError, ImportError, ValueError, TypeError) as error:
        sys.exit(f"deploy: {error}")
