"""The options of `tito quantize`, and what of them makes no sense together."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from tinytorch.deployment.published.images import FITS, INTERVALS
from tinytorch.deployment.published.schemes import ACTIVATIONS
from tinytorch.quantization import (
    INT4,
    INT8,
    HistogramObserver,
    IntType,
    MinMaxObserver,
    MovingAverageObserver,
    Observer,
    PercentileObserver,
)

OBSERVERS: dict[str, Callable[[], Observer]] = {
    "min-max": MinMaxObserver,
    "moving-average": MovingAverageObserver,
    "percentile": PercentileObserver,
    "mse": lambda: HistogramObserver("mse"),
    "entropy": lambda: HistogramObserver("entropy"),
}
TYPES = {"int8": INT8, "int7": IntType(7), "int4": INT4}
RULES: dict[str, Any] = {name: name for name in (*ACTIVATIONS, "weights")} | TYPES
NEGATIVE = ("--range", "--mean")  # whose values may begin with a minus


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one sentence, without the list of options before it."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; `{self.prog} --help` lists the options", file=sys.stderr)
        sys.exit(2)


def size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"wanted height x width, as in 224x224, got {text}")
    return int(found[1]), int(found[2])


def numbers(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"wanted one number or one for each channel, as in 0.5,0.5,0.5, got {text}")
    return values


def deviations(text: str) -> tuple[float, ...]:
    values = numbers(text)
    if min(values) <= 0:
        raise argparse.ArgumentTypeError(f"wanted numbers above 0, got {text}")
    return values


def count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 10**9:
        raise argparse.ArgumentTypeError(f"wanted a whole number from 1 on, got {text}")
    return int(text)


def group_size(text: str) -> int:
    if not text.isdecimal() or int(text) < 16 or int(text) & (int(text) - 1):
        raise argparse.ArgumentTypeError(f"wanted 16, 32, 64, ..., got {text}")
    return int(text)


def shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    if not name or not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*|", sizes):
        raise argparse.ArgumentTypeError(f"wanted an input and its sizes, as in images=1,3,224,224, got {text}")
    return name, tuple(int(n) for n in sizes.split(",") if n)


def rule(text: str) -> tuple[str, Any]:
    pattern, _, scheme = text.rpartition("=")
    if not pattern or scheme not in RULES:
        raise argparse.ArgumentTypeError(f"wanted PATTERN= and one of {', '.join(RULES)}, got {text}")
    return pattern, RULES[scheme]


def budget(text: str) -> float:
    """ "1%" -> 0.01, "900000" -> 900000.0, "2MB" -> 2000000.0."""
    found = re.fullmatch(r"([\d.]+)\s*(%|kB|KB|MB|GB)?", text.strip())
    try:
        number = float(found[1]) if found else 0.0
    except ValueError:
        number = 0.0
    value = number * {"%": 0.01, "kb": 1e3, "mb": 1e6, "gb": 1e9}.get((found[2] or "").lower() if found else "", 1)
    percent = bool(found) and text.strip().endswith("%")
    if not (0 < value < 1 if percent else value >= 1):
        raise argparse.ArgumentTypeError(f"wanted an error below 100%, such as 1%, or bytes, such as 2MB, got {text}")
    return value


def parser() -> Parser:
    made = Parser(
        prog="tito quantize",
        description="Write anybody's float ONNX model in int8, and check it in ONNX Runtime. Example: "
        "tito quantize net.onnx --calibrate photos --out net-int8.onnx",
    )
    made.add_argument("model", type=Path, metavar="MODEL.onnx")
    made.add_argument("--out", type=Path, metavar="FILE", help="default: MODEL-int8.onnx, beside the model")
    data = made.add_argument_group("calibration: inputs as the model will get them, a hundred or more")
    source = data.add_mutually_exclusive_group()
    source.add_argument(
        "--calibrate", type=Path, metavar="DATA", help="a folder of images; an .npz of arrays by input name; an .npy"
    )
    source.add_argument("--random", type=count, metavar="N", help="N samples by chance: the ranges are then guesses")
    data.add_argument("--samples", type=count, metavar="N", help="of DATA at most so many; default: all")
    data.add_argument("--batch", type=count, default=8, metavar="N", help="so many at a time; default: 8")
    data.add_argument("--shape", type=shape, action="append", default=[], metavar="NAME=1,3,224,224")
    _add_images(made.add_argument_group("images"))
    _add_schemes(made.add_argument_group("what becomes codes, and how"))
    made.add_argument("--json", type=Path, metavar="FILE", help="also write the whole report")
    made.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw ranges and errors; .png or .svg")
    return made


def _add_images(group: Any) -> None:
    group.add_argument("--size", type=size, metavar="HxW", help="for a model that takes any size")
    told = "; ".join(f"{name}: {what}" for name, what in FITS.items())
    group.add_argument("--fit", choices=list(FITS), default="crop", help=f"{told}; default: crop")
    group.add_argument("--range", choices=list(INTERVALS), default=None, help="of the pixels; default: 0..1")
    group.add_argument("--mean", type=numbers, default=(), metavar="R,G,B", help="subtracted, in units of --range")
    group.add_argument("--std", type=deviations, default=(), metavar="R,G,B", help="divides what is left")
    group.add_argument("--bgr", action="store_true", help="channels in the order of OpenCV")


def _add_schemes(group: Any) -> None:
    group.add_argument("--observer", choices=list(OBSERVERS), default="min-max", help="of ranges; default: min-max")
    group.add_argument("--per-tensor", action="store_true", help="one scale for each weight, not one for each channel")
    told = "inputs; default: static, and finer where the outputs suffer most; with int4: float"
    group.add_argument("--activations", choices=list(ACTIVATIONS), help=told)
    group.add_argument("--type", choices=list(TYPES), default="int8", help="of weights; default: int8")
    group.add_argument(
        "--group-size", type=group_size, metavar="N", help="int4: so many weights share a scale: 16, 32, ..."
    )
    told = "1%%: at most this error of the outputs; 900000 or 2MB: at most so large; products are then chosen"
    group.add_argument("--budget", type=budget, metavar="1%|BYTES", help=told)
    told = "measure what each product alone does to the outputs"
    group.add_argument("--sensitivity", action="store_true", help=told)
    told = "even out ranges of channels between products"
    group.add_argument("--equalize", action="store_true", help=told)
    told = "take from biases what rounding adds on average"
    group.add_argument("--correct-bias", action="store_true", help=told)
    keep: dict[str, Any] = {"dest": "rules", "action": "append", "default": []}
    keep_help = "leave this product in float: its name, a pattern or an operator; may be repeated"
    group.add_argument("--keep", type=lambda text: (text, "float"), metavar="NAME", help=keep_help, **keep)
    rule_help = f"of these: {', '.join(RULES)}; may be repeated"
    group.add_argument("--rule", type=rule, metavar="PATTERN=SCHEME", help=rule_help, **keep)


def parse(argv: list[str]) -> argparse.Namespace:
    """The options; what makes no sense together is refused before anything is read."""
    made = parser()
    args = made.parse_args(_joined(argv))
    args.out = args.out or args.model.with_name(f"{args.model.stem}-{args.type}.onnx")
    mistake = mistake_in(args)
    if mistake:
        made.exit(2, f"{made.prog}: {mistake}\n")
    return args


def mistake_in(args: argparse.Namespace) -> str | None:
    """What is wrong with the files and the options that were named, in a sentence."""
    if not args.model.is_file():
        return f"{args.model}: {'this is a folder' if args.model.is_dir() else 'there is no such file'}"
    if args.calibrate is not None and not args.calibrate.exists():
        return f"{args.calibrate}: there is no such file or folder"
    for path in filter(None, (args.out, args.json, args.plot)):
        if path.is_dir():
            return f"{path}: this is a folder; name a file in it"
        if path.exists() and not path.is_file():
            return f"{path}: this is no file that could be replaced; name another"
        if not path.parent.is_dir():
            return f"{path}: there is no folder {path.parent}"
        if path.exists() and path.samefile(args.model):
            return f"{path}: this is the model itself, which stays as it is; name another file"
    if args.out.suffix.lower() != ".onnx":
        return f"--out wants a file ending in .onnx, which is all that this writes, got {args.out.name}"
    if args.plot and args.plot.suffix.lower() not in (".png", ".svg"):
        return f"--plot wants a file ending in .png or .svg, got {args.plot.name}"
    few = args.type == "int4"
    if (args.budget or args.sensitivity or args.correct_bias) and args.calibrate is None and args.random is None:
        return "--budget, --sensitivity and --correct-bias measure on inputs: name them by --calibrate DATA"
    if args.group_size and not few:
        return "--group-size is for --type int4"
    if few and args.activations not in (None, "float"):
        return f"--type int4 goes with --activations float, got {args.activations}: no engine multiplies it by codes"
    if args.calibrate is None and args.random is None and not few and args.activations in (None, "static"):
        others = "--random N guesses them, and --activations dynamic or float need none"
        return f"ranges are found on inputs as the model will get them: name them by --calibrate DATA; {others}"
    return None


def _joined(argv: list[str]) -> list[str]:
    """`--range -1..1` as one word, or argparse takes the number for an option."""
    words: list[str] = []
    for word in argv:
        if words and words[-1] in NEGATIVE and re.match(r"-[\d.]", word):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words
