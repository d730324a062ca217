"""How speeds are compared: contestants take turns in short bursts, and each round gives one ratio.

A burst is some calls in a row after one to warm up, as in real use; its median counts. Between bursts there is a rest,
because other libraries' threads go on spinning for a while and would take the next one's processor. The ratio of a case
is the median of its rounds' ratios: noise that lasts longer than a round cancels.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

Contestant = Callable[[], Any]
REST = 0.03  # seconds; ONNX Runtime's threads spin for a few, GNU OpenMP's for 15 ms, OpenBLAS's for 2**26 cycles


@dataclass(frozen=True)
class Row:
    """One comparison: `ours` and `peer_seconds` a call; ratio above 1: ours is faster."""

    case: str
    ours: float
    peer: str
    peer_seconds: float
    ratio: float
    work: float  # operations, or elements, of one call


@dataclass
class Contest:
    """Collects rows. `rounds` bursts of about `burst` seconds each. ceiling: whether to time the bare instruction.
    least: whether the least seconds of a burst count, which other programs can only lengthen, and not the median."""

    rounds: int = 9
    burst: float = 0.004
    rest: float = 0.0
    ceiling: bool = False
    least: bool = False
    tell: Callable[[str], None] = print
    rows: list[Row] = field(default_factory=list)

    def _burst(self, call: Contestant) -> float:
        time.sleep(self.rest)
        call()
        seconds, start = list[float](), time.perf_counter()
        while len(seconds) < 3 or (time.perf_counter() - start < self.burst and len(seconds) < 200):
            before = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - before)
        return min(seconds) if self.least else median(seconds)

    def run(self, case: str, ours: Contestant, peers: Mapping[str, Contestant], work: float) -> None:
        """Time one case and say so in a line."""
        everyone = {"ours": ours, **peers}
        seconds: dict[str, list[float]] = {name: [] for name in everyone}
        for _ in range(self.rounds):
            for name, call in everyone.items():
                seconds[name].append(self._burst(call))
        mine, parts = median(seconds["ours"]), []
        for name in peers:
            ratio = median(theirs / own for theirs, own in zip(seconds[name], seconds["ours"], strict=True))
            self.rows.append(Row(case, mine, name, median(seconds[name]), ratio, work))
            parts.append(f"{name} {ratio:.2f}")
        self.tell(
            f"{case:<36} {mine * 1e6:9.1f} us {work / mine / 1e9:7.1f} G/s   times faster than  " + "  ".join(parts)
        )

    def _best(self, prefix: str, peers: list[str]) -> dict[str, float]:
        """Each case's ratio to the fastest of `peers`."""
        best: dict[str, float] = {}
        for row in self.rows:
            if row.case.startswith(prefix) and row.peer in peers:
                best[row.case] = min(best.get(row.case, row.ratio), row.ratio)
        return best

    def summary(self, prefix: str, peers: list[str]) -> str:
        """Against the fastest of `peers` in each case of this prefix: least ratio and geometric mean."""
        best = self._best(prefix, peers)
        if not best:
            return f"{prefix}: no peer of {', '.join(peers)}"
        least = min(best, key=lambda case: best[case])
        below = sum(ratio < 1 for ratio in best.values())
        return (
            f"{prefix}: {len(best)} cases against the fastest of {', '.join(peers)}: geometric mean "
            f"{geometric_mean(best.values()):.2f}, least {best[least]:.2f} ({least}), {below} below 1"
        )

    def table(self, prefix: str, peers: list[str]) -> str:
        """The same ratio by ratio: a line for each K x N, a column for each M."""
        cells: dict[str, dict[int, str]] = {}
        for case, ratio in self._best(prefix, peers).items():
            m, k, n = case.split()[-1].split("x")
            cells.setdefault(f"{k} x {n}", {})[int(m)] = f"{ratio:.2f}"
        rows = sorted({m for line in cells.values() for m in line})
        lines = [["K x N", *(f"M = {m}" for m in rows)], ["---"] * (len(rows) + 1)]
        lines += [[name, *(line.get(m, "") for m in rows)] for name, line in cells.items()]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@contextmanager
def progress(contest: Contest, cases: int) -> Iterator[None]:
    """Below the contest's lines, on a terminal, a bar of how many cases are done; elsewhere the lines alone.

    It is drawn between cases only: a thread that draws would take the processor from what is timed.
    """
    if not sys.stdout.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(soft_wrap=True)
    columns = (MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=cases)

        def tell(line: str) -> None:
            console.print(line, markup=False, highlight=False)
            bar.update(task, advance=1, refresh=True)

        contest.tell = tell
        yield


def machine() -> str:
    """The processor's name, as far as the system tells, and how many processors this process may use."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {count} processors"


def limit_threads(n: int) -> None:
    """Tell BLAS and OpenMP, which read it when they are imported."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ[variable] = str(n)


def write_json(path: Path, contest: Contest, **head: Any) -> None:
    path.write_text(
        json.dumps({**head, "rows": [asdict(row) for row in contest.rows]}, indent=1) + "\n", encoding="utf-8"
    )


def plot(path: Path, contest: Contest, title: str) -> None:
    """One dot a row: how many times faster, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cases = list(dict.fromkeys(row.case for row in contest.rows))
    figure, axes = plt.subplots(figsize=(8, 1 + 0.2 * len(cases)), layout="constrained")
    for peer in dict.fromkeys(row.peer for row in contest.rows):
        rows = [row for row in contest.rows if row.peer == peer]
        axes.plot([row.ratio for row in rows], [cases.index(row.case) for row in rows], "o", label=peer)
    axes.axvline(1, color="k", lw=0.8)
    axes.set(
        xscale="log", xlabel="times faster than the peer", yticks=range(len(cases)), yticklabels=cases, title=title
    )
    axes.invert_yaxis()
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
