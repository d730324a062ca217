"""How long a person waits: seconds to import the package, to see help, to export, to the first line of a test run,
and from a save to what `tito watch` says.

Each is the median of several fresh processes, beside a bare interpreter's start. Run from the project's root:
`python benchmarks/startup.py`. Exits 1 if a limit is passed by more than half, which noise alone does not explain.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from tito import course, project

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
    ("tito status", whole, [*TITO, "status"], None),
    (f"tito export {MODULE}", whole, [*TITO, "export", MODULE], 1.5),
    (f"tito test {MODULE}, first line", first_line, [*TITO, "test", MODULE], 3.0),
]


def watch_rounds(saves: int = 5) -> list[float]:
    """Seconds from each save of the first exercise's notebook to the page that tells how it stands."""
    with tempfile.TemporaryDirectory(prefix="watch_") as temporary:
        folder = Path(temporary, "class")
        release = [*TITO, "release", MODULE, "--to", str(folder)]
        subprocess.run(release, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        here = project.find(folder)
        notebook = course.load(here, MODULE).notebooks[0].path
        watch = [*TITO, "--project", str(folder), "watch", MODULE]
        with subprocess.Popen(watch, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as process:
            assert process.stdout is not None and process.stdin is not None
            pages = iter(process.stdout.readline, "")
            next(line for line in pages if line.startswith("not started  (in"))
            seconds = []
            for number in range(saves):
                text = notebook.read_text(encoding="utf-8")
                start = time.perf_counter()
                notebook.write_text(text.replace("YOUR CODE", f"YOUR {number} CODE", 1), encoding="utf-8", newline="\n")
                next(line for line in pages if line.startswith("not started  (in"))
                seconds.append(time.perf_counter() - start)
                time.sleep(0.5)  # what is still written belongs to this save
            process.stdin.write("q\n")
            process.stdin.flush()
            process.stdout.read()
    return seconds


def main() -> int:
    late = False
    print(f"{'what':<40}{'seconds':>9}{'limit':>8}")
    measured: Iterator[tuple[str, list[float], float | None]] = (
        (name, [measure(command) for _ in range(5)], limit) for name, measure, command, limit in CASES
    )
    for name, times, limit in chain(measured, [(f"tito watch {MODULE}, a save", watch_rounds(), 2.0)]):
        seconds = statistics.median(times)
        late |= limit is not None and seconds > 1.5 * limit
        print(f"{name:<40}{seconds:>9.3f}{'' if limit is None else f'{limit:.2f}':>8}", flush=True)
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
