"""How long a person waits: seconds to import the package, to see help, to export, to the first line of a test run,
from a save to what `tito watch` says, and from a process's start to the first result of a compiled kernel: with nothing
on disk, compilation included, and with the code that an earlier process has left there.

Each is the best of several fresh processes: whatever else the machine does can only add to it. Between any two of them
a yardstick is timed, `python -c "import numpy, pytest"`. The limits are for a machine on which that takes AT_REST
seconds; where it takes longer, because the machine is slower or busy, they stretch with it. The limits are about twice
what is measured at rest, and within what is promised, 0.4 seconds for `tito` to start and 2 for a round of `tito
watch`. For first results they are what is promised.

What is above its limit is timed again, up to TRIES times, and fails if it is still above the limit by more than MARGIN:
on a busy machine the minima of a few processes each differ by up to 40 % with nothing changed.

Run from the project's root: `python -m benchmarks.startup`. Exits 1 if a limit is passed by more than the margin.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from tito.course.module import load_module
from tito.course.project import find_project

ROOT = Path(__file__).parent.parent
MODULE = "17_quantization"
PYTHON = [sys.executable, "-c"]
TITO = [sys.executable, "-m", "tito"]
ROUNDS = 3
TRIES = 3
MARGIN = 2
AT_REST = 0.18  # seconds of the yardstick, on a machine that does nothing else
FIRST = {  # what gives a first result
    "int8_matmul": "int8_matmul(np.ones((8, 64), np.int8), prepack_int8(np.ones((64, 64), np.int8)))",
    "Int8Linear": "Int8Linear(prepack_int8(np.ones((64, 64), np.int8)), np.float32(1))(np.ones((8, 64), np.float32))",
    "bf16_matmul": "bf16_matmul(np.ones((8, 64), np.float32), np.ones((64, 64), np.float32))",
    "quantize": "quantize(np.ones((8, 64), np.float32), QParams(0.5, 0, INT8))",
}
IMPORTS = "import numpy as np; from tinytorch.acceleration import *; from tinytorch.quantization import INT8, QParams"


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


def first_result(code: str, folder: Path, anew: bool = False) -> float:
    """Seconds until a fresh process has run `code`; compiled code is kept in `folder`, which is emptied first if it is
    to be made anew. The process may end by itself: it still writes what its threads have compiled."""
    if anew:
        shutil.rmtree(folder, ignore_errors=True)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    start = time.perf_counter()
    command = [*PYTHON, f"{code}; print(flush=True)"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
    if not line:
        raise subprocess.CalledProcessError(process.returncode, command)
    return seconds


yardstick = partial(whole, [*PYTHON, "import numpy, pytest"])


@contextmanager
def watching() -> Iterator[Callable[[], float]]:
    """`tito watch` on a fresh edition; each call saves the first exercise's notebook and gives the seconds until the
    page tells how it stands."""
    with tempfile.TemporaryDirectory(prefix="watch_") as temporary:
        folder = Path(temporary, "class")
        whole([*TITO, "release", MODULE, "--to", str(folder)])
        notebook = load_module(find_project(folder), MODULE).notebooks[0].path
        watch = [*TITO, "--project", str(folder), "watch", MODULE]
        with subprocess.Popen(watch, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as process:
            assert process.stdout is not None and process.stdin is not None
            pages = iter(process.stdout.readline, "")

            def save() -> float:
                time.sleep(0.5)  # what is still written belongs to the save before
                text = notebook.read_text(encoding="utf-8")
                start = time.perf_counter()
                notebook.write_text(f"{text}# saved\n", encoding="utf-8", newline="\n")
                next(line for line in pages if line.startswith("not started  (in"))
                return time.perf_counter() - start

            next(line for line in pages if line.startswith("not started  (in"))
            yield save
            process.stdin.write("q\n")
            process.stdin.flush()
            process.stdout.read()


@dataclass
class Case:
    """Something that is waited for. limit: seconds at rest; None: shown only."""

    name: str
    measure: Callable[[], float]
    limit: float | None = None
    rounds: int = ROUNDS
    seconds: float = field(default=float("inf"), init=False)
    yard: float = field(default=float("inf"), init=False)

    def run(self) -> None:
        """Time it and the yardstick in turns, and keep the best of each; again while it is above its limit."""
        for _ in range(TRIES):
            for _ in range(self.rounds):
                self.yard = min(self.yard, yardstick())
                self.seconds = min(self.seconds, self.measure())
            if self.share <= 1:
                return

    @property
    def here(self) -> float:
        """The limit on this machine as it is now."""
        return (self.limit or float("inf")) * max(1.0, self.yard / AT_REST)

    @property
    def share(self) -> float:
        """What it takes, as a share of the limit here."""
        return self.seconds / self.here

    def __str__(self) -> str:
        limits = "" if self.limit is None else f"{self.limit:>8.2f}{self.here:>10.2f}"
        verdict = "  too slow" if self.share > MARGIN else "  above the limit" if self.share > 1 else ""
        return f"{self.name:<42}{self.seconds:>9.3f}{limits}{verdict}"


def first_results(folder: Path) -> Iterator[Case]:
    """Each first result with nothing on disk, then with what that has left there; and what of it is not ours."""
    for name, call in FIRST.items():
        code = f"{IMPORTS}; {call}"
        yield Case(f"first {name}, nothing on disk", partial(first_result, code, folder, anew=True), 5.0, rounds=2)
        yield Case(f"first {name}, from disk", partial(first_result, code, folder), 0.5)
    yield Case("import numba alone", partial(first_result, "import numba", folder))


def main() -> int:
    print(f"{'what':<42}{'seconds':>9}{'limit':>8}{'here now':>10}")
    with watching() as save, tempfile.TemporaryDirectory(prefix="first_") as folder:
        cases = [
            Case("python -c pass", partial(whole, [*PYTHON, "pass"])),
            Case("python -c 'import numpy, pytest'", yardstick),
            Case("import tinytorch", partial(whole, [*PYTHON, "import tinytorch"]), 0.1),
            Case("import tinytorch.quantization", partial(whole, [*PYTHON, "import tinytorch.quantization"]), 0.4),
            Case("tito --help", partial(whole, [*TITO, "--help"]), 0.2),
            Case("tito status", partial(whole, [*TITO, "status"]), 1.0),
            Case(f"tito export {MODULE}", partial(whole, [*TITO, "export", MODULE]), 1.5),
            Case(f"tito test {MODULE}, first line", partial(first_line, [*TITO, "test", MODULE]), 3.0),
            Case(f"tito watch {MODULE}, a save", save, 1.2),
            *(first_results(Path(folder, "kernels")) if find_spec("numba") else ()),
        ]
        for case in cases:
            case.run()
            print(case, flush=True)
    return int(any(case.share > MARGIN for case in cases))


if __name__ == "__main__":
    sys.exit(main())
