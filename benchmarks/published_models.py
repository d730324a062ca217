"""Published models, quantized with defaults: accuracy, size and speed beside ONNX Runtime's own tool.

    python -m benchmarks.published_models [--only NAME] [--write]

The models lie in packages (extra `[models]`; nothing is downloaded when this runs), their tasks in
`benchmarks/published/`: evaluation data is made, or found on this machine, from fixed seeds, and none of it is
calibration data. Every quantizer gets the same calibration data. Ours is `quantize_onnx(model, batches)` without
options. ONNX Runtime's tool has two lines a model, of the settings in `benchmarks/published/quantizers.py`: the
smallest file that is accurate, or, if none is, the most accurate. Accurate is a share of right answers within the float
model's interval of 95 %. Times are taken in turns on one thread; speed is float's time over the model's. `--write` puts
the tables into docs/published_models.md. The goals of a model, each yes or no:

accurate  its share is within the float model's interval, or at least the best line of ONNX Runtime's tool
small     its file is no larger than the rival's: the smallest accurate one of these lines (or the most accurate)
fast      its time is at most FAST times the rival's
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.published import audio, chinese, faces, files, text
from benchmarks.published.machine import machine
from benchmarks.published.quantizers import DYNAMIC, STATIC, Refused, Setting, quantized, runner
from benchmarks.published.tasks import Array, Score, Task
from tinytorch.deployment import quantize_onnx
from tinytorch.quantization import speedup, time_interleaved

FAST, ROUNDS = 1.1, 25
PAGE = Path("docs/published_models.md")
TASKS: dict[str, Callable[[], Task]] = {
    "file types": files.file_types,
    "text direction": text.direction,
    "text detection": text.detection,
    "text recognition": text.recognition,
    "page orientation": text.orientation,
    "faces": faces.faces,
    "voice activity": audio.voice_activity,
    "speech quality": audio.speech_quality,
    "packet loss": audio.packet_loss,
    "Chinese words": chinese.word_tags,
}


@dataclass(frozen=True)
class Row:
    """A quantized (or the float) model of a task. nbytes: of its file. seconds: one for each round."""

    name: str
    score: Score
    nbytes: int
    seconds: NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """A task's lines, and which of ONNX Runtime's settings gave no model."""

    task: Task
    of_float: Row
    ours: Row
    theirs: list[Row]
    refused: list[str]

    def goals(self) -> dict[str, bool]:
        ours, rival = self.ours, best_line(self.theirs, self.of_float.score)
        best = max(row.score.value for row in self.theirs)
        return {
            "accurate": accurate(ours.score, self.of_float.score) or ours.score.value >= best,
            "small": ours.nbytes <= rival.nbytes,
            "fast": speedup(rival.seconds, ours.seconds) >= 1 / FAST,
        }


@dataclass(frozen=True)
class Candidate:
    """A model and its score, before its time is taken."""

    name: str
    model: onnx.ModelProto
    score: Score

    @property
    def nbytes(self) -> int:
        return int(self.model.ByteSize())


Line = TypeVar("Line", Row, Candidate)


def accurate(score: Score, of_float: Score) -> bool:
    return score.value >= of_float.interval[0]


def best_line(lines: list[Line], of_float: Score) -> Line:
    """The smallest that is accurate, or, if none is, the most accurate."""
    good = [line for line in lines if accurate(line.score, of_float)]
    return min(good, key=lambda line: line.nbytes) if good else max(lines, key=lambda line: line.score.value)


def judged(task: Task, name: str, model: onnx.ModelProto, of_float: Array) -> Candidate:
    return Candidate(name, model, task.score(task.answers(runner(model)), of_float))


def best_of(task: Task, settings: list[Setting], of_float: Array) -> tuple[list[Candidate], list[str]]:
    """The best line of the settings, if any gave a model, and who refused."""
    made, refused = [], []
    for name, model in quantized(task.model, task.calibration, settings):
        if isinstance(model, Refused):
            refused.append(f"{name}: {model.why}")
        else:
            made.append(judged(task, name, model, of_float))
    return ([best_line(made, task.score(of_float, of_float))] if made else []), refused


def measured(task: Task) -> Result:
    of_float = task.answers(runner(task.model))
    candidates = [
        Candidate("float", task.model, task.score(of_float, of_float)),
        judged(task, "ours", quantize_onnx(task.model, task.calibration).model, of_float),
    ]
    refused = []
    for settings in (DYNAMIC, STATIC):
        best, complaints = best_of(task, settings, of_float)
        candidates += best
        refused += complaints
    seconds = time_interleaved([runner(c.model) for c in candidates], task.timed, ROUNDS)
    rows = [Row(c.name, c.score, c.nbytes, s) for c, s in zip(candidates, seconds, strict=True)]
    return Result(task, rows[0], rows[1], rows[2:], refused)


def table(results: list[Result]) -> str:
    lines = ["| model | quantized by | right (95 %) | bytes | ms | speed |", "|---|---|---|---|---|---|"]
    for result in results:
        first = f"**{result.task.name}**, {result.task.asked}"
        for row in (result.of_float, result.ours, *result.theirs):
            ms, ratio = np.median(row.seconds) * 1e3, speedup(result.of_float.seconds, row.seconds)
            lines.append(f"| {first} | {row.name} | {row.score.text} | {row.nbytes:,} | {ms:.2f} | {ratio:.2f} |")
            first = ""
    return "\n".join(lines)


def goals(results: list[Result]) -> str:
    lines = ["| model | accurate | small | fast |", "|---|---|---|---|"]
    for result in results:
        lines.append(f"| {result.task.name} | {' | '.join('yes' if g else 'no' for g in result.goals().values())} |")
    return "\n".join(lines)


def report(results: list[Result]) -> str:
    refused = [f"- {result.task.name}, {line}" for result in results for line in result.refused]
    gave_none = "Settings of ONNX Runtime's tool that gave no model:\n\n" + "\n".join(refused) if refused else ""
    where = (
        f"Measured with `python -m benchmarks.published_models` on {machine()}, one thread, {ROUNDS} rounds in turns."
    )
    return "\n\n".join(part for part in (where, table(results), goals(results), gave_none) if part)


def write(page: Path, content: str) -> None:
    """Puts the report between the page's two marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition("<!-- measured -->")
    after = rest.partition("<!-- end -->")[2]
    page.write_text(f"{before}<!-- measured -->\n{content}\n<!-- end -->{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=list(TASKS), action="append", help="this model alone")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE}")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    results = []
    for name in args.only or TASKS:
        results.append(measured(TASKS[name]()))
        print(report(results[-1:]), file=sys.stderr, flush=True)
    print(report(results))
    if args.write:
        write(PAGE, report(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
