"""The tables of README.md and docs/results.md, made of the files that measurements wrote.

A page has each between the lines `<!-- table NAME -->` and `<!-- end -->`; `python -m benchmarks.figures` writes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.measured import ROOT, is_there, load, network_ratios, scheme_rows

PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")
TABLE = re.compile(r"(<!-- table (\w+) -->\n).*?<!-- end -->", re.DOTALL)
SHOWN = {  # in README: what a reader calls the demo's schemes
    "float32": "float32",
    "static int8, per channel, min-max": "INT8, static, per channel",
    "W4A4 per tensor, QAT": "INT4, per tensor, QAT",
}


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def overview() -> str:
    """Three models of the linear network: compiled, as they are timed, and as NumPy stores their codes."""
    every = {row.scheme: row for row in scheme_rows()[::-1] if row.model.startswith("784")}
    first = every["float32"]
    rows = []
    for scheme, shown in SHOWN.items():
        row = every[scheme]
        alive, speed = row.compiled_bytes or row.bytes, row.compiled_speed or row.speed
        smaller = "" if row is first else " smaller"
        sizes = f"{first.bytes / alive:.2f}x{smaller}", f"{first.bytes / row.bytes:.2f}x{smaller}"
        rows.append([shown, f"{row.accuracy:.2%}", *sizes, f"{speed:.1f}x"])
    return markdown(["model", "accuracy", "size", "stored", "speed"], rows)


def schemes(kind: str) -> str:
    """Every scheme of one network. kind: how its name begins."""
    rows = [row for row in scheme_rows() if row.model.startswith(kind)]
    first = rows[0]
    lines = [
        [
            row.scheme,
            f"{row.accuracy:.2%} ({row.interval[0]:.1%}-{row.interval[1]:.1%})",
            f"{first.bytes / row.bytes:.2f}x",
            f"{row.speed:.2f}x",
            "" if row.compiled_bytes is None else f"{first.bytes / row.compiled_bytes:.2f}x",
            "" if row.compiled_speed is None else f"{row.compiled_speed:.1f}x",
        ]
        for row in rows
    ]
    numpy = ["NumPy: smaller", "NumPy: speed"]
    return markdown(["scheme", "accuracy (95 %)", *numpy, "compiled: smaller", "compiled: speed"], lines)


def bits() -> str:
    """The mean accuracy over the seeds, and the least and the most."""
    measured = load("bits")

    def told(values: list[float]) -> str:
        return f"{100 * sum(values) / len(values):.1f}% ({100 * min(values):.1f}-{100 * max(values):.1f})"

    lines = [
        [str(bits), *(told(each[i]) for each in measured["ways"].values())] for i, bits in enumerate(measured["bits"])
    ]
    return markdown(["bits", *measured["ways"]], [*lines, ["float32", told(measured["float32"]), "", "", ""]])


def networks() -> str:
    ratios = network_ratios()
    engines = ("ONNX Runtime", "LiteRT")
    lines = [[case, *(f"{each[e]:.2f}" if e in each else "" for e in engines)] for case, each in ratios.items()]
    return markdown(["network", *engines], lines)


def machine(name: str, speeds: bool = True) -> str:
    """What the numbers of a file were measured on. speeds: whether there are some, which other work makes rough."""
    measured = load(name)
    busy = (
        f"\nLoad before the run: {measured['load']:g}, so its speeds are rough."
        if measured["load"] > 1 and speeds
        else ""
    )
    return f"Measured on: {measured['machine']}.{busy}"


TABLES: dict[str, tuple[str, Callable[[], str]]] = {  # which file it is made of, and how
    "overview": ("schemes", lambda: f"{overview()}\n\n{machine('schemes')}"),
    "linear": ("schemes", lambda: schemes("784")),
    "convolutional": ("schemes", lambda: f"{schemes('conv')}\n\n{machine('schemes')}"),
    "bits": ("bits", lambda: f"{bits()}\n\n{machine('bits', speeds=False)}"),
    "networks": ("networks", lambda: f"{networks()}\n\n{machine('networks')}"),
}


def filled(page: str) -> str:
    """A page's text with its tables as what was measured says."""

    def table(found: re.Match[str]) -> str:
        name, make = TABLES[found[2]]
        return f"{found[1]}{make()}\n<!-- end -->" if is_there(name) else found[0]

    return TABLE.sub(table, page)


def write_tables(pages: Sequence[Path] = PAGES) -> None:
    for page in pages:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
