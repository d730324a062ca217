"""`tito quantize`: anybody's ONNX model, calibrated on a folder of images or on arrays, written in int8 and checked."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinytorch.deployment.published.images import Pixels, image_samples
from tinytorch.deployment.published.measuring import compared
from tinytorch.deployment.published.model_files import Input, ModelFile, model_file
from tinytorch.deployment.published.options import OBSERVERS, TYPES, parse
from tinytorch.deployment.published.plotting import plot
from tinytorch.deployment.published.progress import Shown
from tinytorch.deployment.published.quantizing import QuantizedOnnx, quantize_onnx
from tinytorch.deployment.published.samples import Feed, Samples, array_samples, random_samples, with_shapes
from tinytorch.deployment.published.schemes import Told
from tinytorch.deployment.published.telling import Outcome, as_json, tell

NOTHING = "nothing was written"


def samples_of(args: argparse.Namespace, inputs: tuple[Input, ...]) -> Samples | None:
    """The calibration data that was asked for."""
    if args.calibrate is None and args.random is None:
        return None
    inputs = with_shapes(inputs, dict(args.shape))
    if args.random is not None:
        return random_samples(inputs, args.random, args.batch)
    if args.calibrate.is_dir():
        interval = args.range or ("0..1" if inputs[0].dtype.kind == "f" else "0..255")
        pixels = Pixels(args.size, args.fit, interval, args.mean, args.std, args.bgr)
        return image_samples(args.calibrate, inputs, args.batch, args.samples, pixels)
    if args.calibrate.suffix not in (".npy", ".npz"):
        raise ValueError(f"{args.calibrate.name}: wanted a folder of images, an .npz or an .npy")
    return array_samples(args.calibrate, inputs, args.batch, args.samples)


class FirstKept:
    """The batches of samples, of which the first is kept, to run the written file on."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self.first: Feed | None = None

    def __iter__(self) -> Iterator[Feed]:
        for feed in self.samples.batches():
            self.first = self.first or feed
            yield feed


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A file of the same name in a folder beside `path`: with what lies there it takes its place if all goes well."""
    with tempfile.TemporaryDirectory(prefix=".quantizing-", dir=path.parent) as folder:
        yield Path(folder, path.name)
        for file in sorted(Path(folder).iterdir(), reverse=True):  # weights, FILE.data, before the file that names them
            file.replace(path.with_name(file.name))


def quantized(args: argparse.Namespace, samples: FirstKept | None, told: Told) -> QuantizedOnnx:
    return quantize_onnx(
        args.model,
        samples,
        observer=OBSERVERS[args.observer],
        axis=None if args.per_tensor else 0,
        rules=dict(args.rules),
        int_type=TYPES[args.type],
        activations=args.activations,
        group_size=args.group_size,
        equalize=args.equalize,
        correct_bias=args.correct_bias,
        budget=args.budget,
        sensitivity=args.sensitivity or args.budget is not None,
        told=told,
    )


def written(args: argparse.Namespace, source: ModelFile, samples: Samples | None) -> Outcome:
    """The file, in its place once it has been opened and run."""
    kept = FirstKept(samples) if samples else None
    with Shown(samples.count if samples else 0) as progress:
        progress.phase("reading the model")
        result = quantized(args, kept, progress.told)
        best = max((row.sqnr_db for row in result.sensitivities if row.scheme), default=None)
        if args.budget and best is not None and not any(product.scheme for product in result.products):
            alone = f"the best product alone errs by {10 ** (-best / 20):.2%}"
            raise ValueError(f"within --budget all stays in float: {alone}; {NOTHING}")
        with beside(args.out) as file:
            progress.phase("running the written file")
            result.save(file)
            first = kept.first if kept else None
            measured = compared(args.model, file, first)
            nbytes = sum(part.stat().st_size for part in file.parent.iterdir())
    data, rows = (samples.told, samples.rows) if samples else ("none", 0)
    return Outcome(str(args.model), str(args.out), data, rows, result, source.nbytes, nbytes, measured)


def report(args: argparse.Namespace, outcome: Outcome) -> None:
    print(f"{args.out}: written and run\n" if outcome.measured else f"{args.out}: written and opened\n")
    tell(outcome)
    sys.stdout.flush()
    if args.json:
        with beside(args.json) as file:
            file.write_text(as_json(outcome), encoding="utf-8")
    if args.plot:
        with beside(args.plot) as file:
            plot(outcome.result.products, file, args.plot.suffix.lower().lstrip("."))


def work(args: argparse.Namespace) -> Outcome:
    """Everything up to the file in its place."""
    source = model_file(args.model)
    weights = args.out.with_name(f"{args.out.name}.data")
    source.check_spared([path for path in (args.out, weights, args.json, args.plot) if path])
    samples = samples_of(args, source.inputs)
    if samples:
        print(samples.told, flush=True)
    if args.random is not None:
        warning = "the ranges of data by chance are guesses; calibrate with DATA before you use this model"
        print(f"tito quantize: WARNING: {warning}", file=sys.stderr)
    return written(args, source, samples)


def main(argv: list[str] | None = None) -> int:
    """The exit status. A mistake is one sentence on standard error: 2 if nothing was tried, 1 if it failed."""
    args = parse(sys.argv[1:] if argv is None else argv)
    so_far = NOTHING
    try:
        outcome = work(args)
        so_far = f"{args.out} is written"
        report(args, outcome)
        return 0
    except BrokenPipeError:  # `tito quantize ... | head`: nobody listens, which is no mistake
        _give_up_output()
        return 1
    except (KeyboardInterrupt, MemoryError, NotImplementedError, OSError, ImportError, ValueError, TypeError) as error:
        _give_up_output()
        print(f"tito quantize: {' '.join(in_words(error, so_far).split())}", file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 1


def in_words(error: BaseException, so_far: str) -> str:
    """What went wrong; where it does not go without saying, with what has become of the file."""
    if isinstance(error, KeyboardInterrupt):
        return f"stopped by Ctrl-C; {so_far}"
    if isinstance(error, MemoryError):
        return f"the memory does not suffice: fewer samples at a time, as in --batch 1, need less; {so_far}"
    if isinstance(error, NotImplementedError):  # of a course whose exercises are not all solved
        return f"this runs what you wrote, and {error}"
    if isinstance(error, OSError):
        return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "") + f"; {so_far}"
    return str(error)


def _give_up_output() -> None:
    """Where standard output cannot be written, let Python not try again, with a complaint, when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
