"""How long a person waits: seconds to import the package, to see help, to export, to the first line of a test run.

Each is the median of several fresh processes, beside a bare interpreter's start. Run from the project's root:
`python benchmarks/startup.py`. Exits 1 if a limit is passed by more than half, which noise alone does not explain.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULE = "17_quantization"
TITO = [sys.executable, "-m", "tito"]


def whole(command: list[str]) -> float:
    """Seconds until the process has ended."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def first_line(command: list[str]) -> float:
    """Seconds until the process has printed a line; it is stopped then."""
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - start
        process.terminate()
    return seconds


CASES: list[tuple[str, Callable[[list[str]], float], list[str], float | None]] = [
    ("python -c pass", whole, [sys.executable, "-c", "pass"], None),
    ("import numpy", whole, [sys.executable, "-c", "import numpy"], None),
    ("import tinytorch", whole, [sys.executable, "-c", "import tinytorch"], 0.25),
    ("import tinytorch.quantization", whole, [sys.executable, "-c", "import tinytorch.quantization"], None),
    ("tito --help", whole, [*TITO, "--help"], 0.4),
    (f"tito export {MODULE}", whole, [*TITO, "export", MODULE], 1.5),
    (f"tito test {MODULE}, first line", first_line, [*TITO, "test", MODULE], 3.0),
]


def main() -> int:
    late = False
    print(f"{'what':<40}{'seconds':>9}{'limit':>8}")
    for name, measure, command, limit in CASES:
        seconds = statistics.median(measure(command) for _ in range(5))
        late |= limit is not None and seconds > 1.5 * limit
        print(f"{name:<40}{seconds:>9.3f}{'' if limit is None else f'{limit:.2f}':>8}")
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
