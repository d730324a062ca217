"""This tree beside an earlier commit: are calls, starts, tests and grading as fast as they were?

    python -m benchmarks.since COMMIT [--only calls|commands] [--rounds N]

The commit is checked out; both trees are installed, each in an environment of its own (by uv, or venv and pip), so that
neither loads more of pytest's plugins. Python may keep its bytecode, as it does for everybody. Both trees take turns,
case by case: a round is one burst of calls, or one run of a command, in each, now the one first, now the other. Of
calls the least seconds of all bursts in several processes are compared, which other programs can only lengthen; of
commands the ratio is the median of the rounds' ratios. Above 1 this tree is faster. Results of calls are compared bit
by bit, points of graded submissions one by one. Run from the project's root, on a machine that does nothing else. Exits
1 where answers differ.
"""

import argparse
import csv
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median

ROOT = Path(__file__).parent.parent
MODULE = "17_quantization"
HANDED_IN = 2  # submissions of the timed batch
PROCESSES = 8  # of each tree: one can be slower than the next by half, from its first call to its last
BURST_SECONDS = 0.02

PREPARE = """
import numpy as np
from tinytorch import acceleration
from tinytorch.acceleration import *
from tinytorch.quantization import INT8, QParams
rng = np.random.default_rng(0)
def floats(*shape): return rng.normal(size=shape).astype(np.float32)
def weights(*shape): return rng.integers(-8, 8, shape).astype(np.int8)
qparams = QParams(np.float32(0.02), np.int32(3), INT8)
set_num_threads(1)
if not hasattr(acceleration, "prepack_int8"):  # an earlier tree
    prepack_int8, prepack_int4, prepack_bf16 = pack_int8, pack_int4, pack_bf16
"""
CALLS = {  # name -> what is made before, and the call
    "quantize 8 x 8": ("x = floats(8, 8)", "quantize(x, qparams)"),
    "quantize 64 x 256": ("x = floats(64, 256)", "quantize(x, qparams)"),
    "quantize 1024 x 1024": ("x = floats(1024, 1024)", "quantize(x, qparams)"),
    "dequantize 8 x 8": ("q = weights(8, 8)", "dequantize(q, qparams)"),
    "dequantize 64 x 256": ("q = weights(64, 256)", "dequantize(q, qparams)"),
    "dequantize 1024 x 1024": ("q = weights(1024, 1024)", "dequantize(q, qparams)"),
    "int8_matmul 1 x 64 x 64": ("a, b = weights(1, 64), prepack_int8(weights(64, 64))", "int8_matmul(a, b, 1)"),
    "int8_matmul 8 x 131 x 257": ("a, b = weights(8, 131), prepack_int8(weights(131, 257))", "int8_matmul(a, b, 1)"),
    "int8_matmul 512 x 512 x 512": (
        "a, b = weights(512, 512), prepack_int8(weights(512, 512))",
        "int8_matmul(a, b, 1)",
    ),
    "Int8Linear 1 x 64 x 64": (
        "x, f = floats(1, 64), Int8Linear(prepack_int8(weights(64, 64)), np.float32(1))",
        "f(x)",
    ),
    "Int8Linear 32 x 512 x 512": (
        "x, f = floats(32, 512), Int8Linear(prepack_int8(weights(512, 512)), np.float32(1))",
        "f(x)",
    ),
    "int4_linear 1 x 512 x 512": ("x, b = floats(1, 512), prepack_int4(weights(512, 512))", "int4_linear(x, b)"),
    "bf16_matmul 32 x 512 x 512": ("x, b = floats(32, 512), prepack_bf16(floats(512, 512))", "bf16_matmul(x, b)"),
}
# Reads a line of JSON [name, preparation, call, seconds] and answers [least seconds of a call, digest of its result].
WORKER = f"""{PREPARE}
import hashlib, json, sys, time
known = {{}}
for line in sys.stdin:
    name, prepare, call, length = json.loads(line)
    if name not in known:
        rng = np.random.default_rng(1)
        exec(prepare)
        known[name] = eval(f"lambda: {{call}}", globals() | dict(locals()))
    run = known[name]
    result = np.ascontiguousarray(run())
    seconds, end = [], time.perf_counter() + length
    while len(seconds) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    print(json.dumps([min(seconds), hashlib.sha256(result.tobytes()).hexdigest()]), flush=True)
"""


@dataclass(frozen=True)
class Tree:
    """A checkout with an environment of its own."""

    root: Path
    python: Path

    def run(self, *arguments: str) -> float:
        """Seconds that `tito` takes with these arguments."""
        start = time.perf_counter()
        command = [str(self.python), "-m", "tito", *arguments]
        subprocess.run(command, cwd=self.root, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


@contextmanager
def both(commit: str) -> Iterator[tuple[Tree, Tree]]:
    """An earlier commit and this tree, installed; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="since_", ignore_cleanup_errors=True) as folder:
        root = Path(folder, "earlier")
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(root), commit], check=True)
        try:
            environments = Path(folder, "environments")
            yield _installed(root, environments / "earlier"), _installed(ROOT, environments / "now")
        finally:
            subprocess.run([*git, "remove", "--force", str(root)], check=True)


def _installed(root: Path, environment: Path) -> Tree:
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if uv := shutil.which("uv"):
        subprocess.run([uv, "venv", "-q", "--seed", "--python", sys.executable, environment], check=True)
        install = [uv, "pip", "install", "-q", "-p", str(python)]
    else:
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        install = [str(python), "-m", "pip", "install", "-q"]
    subprocess.run([*install, "-e", ".[test]"], cwd=root, check=True)
    return Tree(root, python)


def in_turns(rounds: int, earlier: Callable[[], float], now: Callable[[], float]) -> float:
    """The median of the rounds' ratios, earlier over now; a first round warms up and is not counted."""
    ratios = list[float]()
    for number in range(rounds + 1):
        pair = [earlier, now][:: 1 if number % 2 else -1]
        seconds = {run: run() for run in pair}
        ratios.append(seconds[earlier] / seconds[now])
    return median(ratios[1:])


@contextmanager
def started(tree: Tree) -> Iterator[Callable[[str], tuple[float, str]]]:
    """A new process of this tree: from the name of a call, the least seconds in a burst of it, and a digest."""
    with subprocess.Popen(
        [tree.python, "-c", WORKER], cwd=tree.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as worker:
        assert worker.stdin and worker.stdout
        asked, answered = worker.stdin, worker.stdout

        def burst(name: str) -> tuple[float, str]:
            print(json.dumps([name, *CALLS[name], BURST_SECONDS]), file=asked, flush=True)
            took, digest = json.loads(answered.readline())
            return float(took), str(digest)

        yield burst
        asked.close()


def calls(earlier: Tree, now: Tree, rounds: int) -> bool:
    """Time every call in several processes of each tree. Returns whether all results were equal."""
    seconds = {(name, tree.root): list[float]() for name in CALLS for tree in (earlier, now)}
    digests = {name: set[str]() for name in CALLS}
    for _ in range(PROCESSES):
        with started(earlier) as then, started(now) as here:
            bursts = [(earlier, then), (now, here)]
            for name, _ in itertools.product(CALLS, range(max(1, rounds // PROCESSES))):
                bursts.reverse()
                for tree, burst in bursts:
                    took, digest = burst(name)
                    seconds[name, tree.root].append(took)
                    digests[name].add(digest)
    ratios = list[float]()
    for name, found in digests.items():
        least = min(seconds[name, now.root])
        ratios.append(min(seconds[name, earlier.root]) / least)
        print(f"{name:28} {least * 1e6:10.1f} us  {ratios[-1]:6.3f}  {'' if len(found) == 1 else 'DIFFERS'}")
    print(f"{'geometric mean':44}  {geometric_mean(ratios):6.3f}")
    return all(len(found) == 1 for found in digests.values())


def points(out: Path) -> list[list[str]]:
    """Of every submission its name and points, as grades.csv says."""
    with (out / "grades.csv").open(encoding="utf-8-sig", newline="") as stream:
        return [[row["submission"], row["points"]] for row in csv.DictReader(stream)]


def commands(earlier: Tree, now: Tree, rounds: int) -> bool:
    """Time what people run. Returns whether both trees gave the same points."""
    with tempfile.TemporaryDirectory(prefix="since_") as name:
        folder, equal = Path(name), True
        for tree, number in itertools.product((earlier, now), range(HANDED_IN)):  # each its own reference
            student = folder / tree.root.name / f"student {number}"
            student.mkdir(parents=True)
            for notebook in (tree.root / "modules" / "source" / MODULE).glob("*_dev.py"):
                text = notebook.read_text(encoding="utf-8") + f"\n# {number}\n"
                (student / notebook.name).write_text(text, encoding="utf-8")

        def grade(tree: Tree, out: Path) -> float:
            shutil.rmtree(out, ignore_errors=True)
            return tree.run("grade", MODULE, str(folder / tree.root.name), "--out", str(out), "--jobs", "1")

        for what, run in {
            "tito --help": lambda tree, out: tree.run("--help"),
            "tito export --check": lambda tree, out: tree.run("export", MODULE, "--check"),
            "tito test": lambda tree, out: tree.run("test", MODULE),
            f"tito grade, {HANDED_IN} submissions": grade,
        }.items():
            ratio = in_turns(
                rounds,
                lambda run=run: run(earlier, folder / "out earlier"),  # type: ignore[misc]
                lambda run=run: run(now, folder / "out now"),  # type: ignore[misc]
            )
            print(f"{what:44}  {ratio:6.3f}", flush=True)
        equal = points(folder / "out earlier") == points(folder / "out now")
        print("points", "equal" if equal else "DIFFER", points(folder / "out now"))
        return equal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commit", help="the earlier one")
    parser.add_argument("--only", choices=["calls", "commands"])
    parser.add_argument("--rounds", type=int, default=0, help="default 41 for calls, 3 for commands")
    asked = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with both(asked.commit) as (earlier, now):
        print(f"{'':44}  {asked.commit} / now")
        good = asked.only == "commands" or calls(earlier, now, asked.rounds or 41)
        good &= asked.only == "calls" or commands(earlier, now, asked.rounds or 3)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
