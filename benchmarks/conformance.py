"""How often tinytorch and its peers differ, counted: one line an operator, type and peer.

    python -m benchmarks.conformance

The first table must be all zeros: the exit status is 1 if it is not. The second shows where conventions part, the third
how well two histogram observers do. What is asked stands in tests/conformance; cases.py lists it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from time import perf_counter

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.conformance.cases import Row, agreements, differences
from tests.conformance.counting import Count
from tests.conformance.frozen import histogram_errors
from tests.conformance.peers import MissingPeer


def counted(rows: Iterator[Row], title: str, console: Console) -> list[Count]:
    """Run the rows, with progress while they run where somebody watches."""
    every = list(rows)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        return [row() for row in progress.track(every, description=title)]


def table(title: str, counts: list[Count]) -> Table:
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("operator", "types"):
        shown.add_column(name)
    for name in ("compared", "differ"):
        shown.add_column(name, justify="right")
    shown.add_column("from")
    for c in counts:
        shown.add_row(c.operator, c.types, f"{c.compared:,}", f"{c.mismatches:,}", c.peer)
    return shown


def histograms() -> Table:
    shown = Table(
        title="HistogramObserver: mean squared error of int8 codes", title_justify="left", box=None, pad_edge=False
    )
    for name in ("data", "ours", "torch, frozen", "min and max"):
        shown.add_column(name, justify="left" if name == "data" else "right")
    for data, *errors in histogram_errors():
        shown.add_row(data, *(f"{error:.3e}" for error in errors))
    return shown


def main() -> int:
    console, start = Console(width=None if sys.stdout.isatty() else 140), perf_counter()
    try:
        must, may = (counted(rows(), "counting", console) for rows in (agreements, differences))
    except MissingPeer as error:
        print(error, file=sys.stderr)
        return 2
    console.print(table("Must not differ", must), "", table("Conventions that part, on values chosen for it", may), "")
    console.print(histograms(), "")
    wrong = [c for c in must if c.mismatches]
    for c in wrong:
        console.print(f"{c.operator} {c.types}: {c.first}", markup=False)
    total, seconds = sum(c.compared for c in must), perf_counter() - start
    console.print(f"{sum(c.mismatches for c in must):,} of {total:,} values differ, in {seconds:.1f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
